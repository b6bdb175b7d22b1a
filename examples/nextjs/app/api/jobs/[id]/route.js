// GET: what this app knows of a job by itself, from the webhook.

import { owned, visitor } from "../../../../lib/jobs.js";

export async function GET(_request, { params }) {
  const { id } = await params;
  const job = owned(id, await visitor());
  if (!job) return Response.json({ error: "no such job" }, { status: 404 });
  return Response.json({ id, status: job.status ?? null });
}
