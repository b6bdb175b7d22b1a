// POST: a new token, for a page whose old one has expired. Only the visitor whose job it is gets one.

import { owned, visitor } from "../../../../../lib/jobs.js";
import { follow } from "../../../../../lib/overspill.js";

export async function POST(_request, { params }) {
  const { id } = await params;
  if (!owned(id, await visitor())) return Response.json({ error: "no such job" }, { status: 404 });
  return Response.json(await follow(id));
}
