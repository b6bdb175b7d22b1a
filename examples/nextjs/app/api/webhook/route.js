// POST: Overspill says that a job ended. Whoever knows this address can send anything to it, so that nothing
// counts before its signature is verified.

import { Webhook } from "standardwebhooks";
import { ended } from "../../../lib/jobs.js";

export async function POST(request) {
  const body = await request.text();
  let end;
  try {
    end = new Webhook(process.env.OVERSPILL_WEBHOOK_SECRET).verify(body, {
      "webhook-id": request.headers.get("webhook-id"),
      "webhook-timestamp": request.headers.get("webhook-timestamp"),
      "webhook-signature": request.headers.get("webhook-signature"),
    });
  } catch {
    return new Response("the signature does not fit", { status: 401 });
  }
  ended(request.headers.get("webhook-id"), end);
  return new Response(null, { status: 204 });
}
