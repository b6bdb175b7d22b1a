// How long a job of an endpoint may wait for its start: in force at once.

import { useState } from "preact/hooks";
import { ApiError, call, may } from "../data/api";
import { ago, duration } from "../data/format";
import { now } from "../data/live";
import type { Endpoint } from "../data/types";

export function Promised({ endpoint }: { endpoint: Endpoint }) {
  const inForce = duration(endpoint.max_wait_ms);
  const [text, setText] = useState(inForce);
  const [said, setSaid] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const isAllowed = may("endpoints:write");
  const id = `promise-${endpoint.name}`;
  const changed = endpoint.max_wait_changed;
  const send = async (maxWait: string | null) => {
    setBusy(true);
    try {
      await call("PATCH", `/api/v1/endpoints/${encodeURIComponent(endpoint.name)}`, { max_wait: maxWait });
      setSaid(null);
    } catch (reason) {
      setSaid(reason instanceof ApiError ? `${reason.message}. ${reason.hint ?? ""}` : String(reason));
    }
    setBusy(false);
  };
  const save = (event: Event) => {
    event.preventDefault();
    void send(text.trim());
  };
  return (
    <form class="limits" aria-label={`Promise of ${endpoint.name}`} onSubmit={save}>
      <div>
        <label for={id}>Starts within</label>
        <input id={id} title="from its submission to its start, such as 90s" required value={text} disabled={!isAllowed} onInput={(event) => { setText(event.currentTarget.value); setSaid(null); }} />
      </div>
      {isAllowed && <button type="submit" class="primary" disabled={isBusy || text.trim() === inForce}>{isBusy ? "Setting…" : "Set the promise"}</button>}
      {said && <p class="error" role="alert">{said}</p>}
      {changed && (
        <p class="quiet">
          Set by {changed.by}, {ago(changed.at_ms, now())}.{" "}
          {isAllowed && <button type="button" class="plain" disabled={isBusy} onClick={() => void send(null)}>Back to the file's</button>}
        </p>
      )}
    </form>
  );
}
