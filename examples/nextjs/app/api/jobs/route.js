// POST: a job, and the address of its events for the page that asked.

import { remember, visitor } from "../../../lib/jobs.js";
import { follow, submit } from "../../../lib/overspill.js";

const STEPS_MAX = 50;

export async function POST(request) {
  const { prompt, steps } = await request.json();
  if (typeof prompt !== "string" || !prompt.trim() || prompt.length > 500) {
    return Response.json({ error: "prompt must be a text of 1 to 500 characters" }, { status: 400 });
  }
  const count = Number.isInteger(steps) ? Math.min(Math.max(steps, 1), STEPS_MAX) : 10;
  const id = await submit({ prompt: prompt.trim(), steps: count });
  remember(id, await visitor());
  return Response.json({ id, ...(await follow(id)) });
}
