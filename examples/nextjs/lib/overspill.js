// The app's server and Overspill. The key stays here: nothing of this file is in a page.

import runpodSdk from "runpod-sdk";

function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; see .env.example`);
  return value;
}

/** Sends a job with RunPod's own client; only its base address is another. */
export async function submit(input) {
  const client = runpodSdk(setting("OVERSPILL_API_KEY"), { baseUrl: `${setting("OVERSPILL_URL")}/v2` });
  const webhook = `${setting("APP_URL")}/api/webhook`;
  const { id } = await client.endpoint("pictures").run({ input, webhook });
  return id;
}

/** A token by which one page follows this one job, and reads its output, for some minutes. */
export async function follow(id) {
  const answer = await fetch(`${setting("OVERSPILL_URL")}/api/v1/jobs/${id}/token`, {
    method: "POST",
    headers: { Authorization: `Bearer ${setting("OVERSPILL_API_KEY")}` },
    cache: "no-store",
  });
  if (!answer.ok) throw new Error(`no token for job ${id}: ${answer.status}`);
  const { token, events } = await answer.json();
  const base = setting("OVERSPILL_PUBLIC_URL");
  return { events: base + events, output: `${base}/api/v1/jobs/${id}/output?token=${token}` };
}
