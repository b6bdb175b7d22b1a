// Whose job is whose, and how it ended. In a real app these are two columns of a table, and the visitor is
// whoever signed in; here a map that a restart forgets, and a random number in a cookie.

import { randomUUID } from "node:crypto";
import { cookies } from "next/headers";

const COOKIE = "visitor";

// Route handlers may be bundled apart from each other: what they share hangs on the process.
const jobs = (globalThis.overspillJobs ??= new Map());
const heard = (globalThis.overspillWebhooks ??= new Set());

/** The visitor of this request; a new one gets a cookie. */
export async function visitor() {
  const jar = await cookies();
  const known = jar.get(COOKIE)?.value;
  if (known) return known;
  const made = randomUUID();
  jar.set(COOKIE, made, { httpOnly: true, sameSite: "lax", path: "/" });
  return made;
}

export function remember(id, owner) {
  jobs.set(id, { ...jobs.get(id), owner });
}

/** The job, if it is this visitor's. */
export function owned(id, owner) {
  const job = jobs.get(id);
  return job?.owner === owner ? job : undefined;
}

/** Notes how a job ended. A webhook comes at least once: the same one again changes nothing. */
export function ended(webhookId, { id, status }) {
  if (heard.has(webhookId)) return;
  heard.add(webhookId);
  jobs.set(id, { ...jobs.get(id), status });
}
