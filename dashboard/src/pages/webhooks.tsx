// Reports of ended jobs to the addresses that asked for them, and sending one again.

import { useState } from "preact/hooks";
import { ApiError, call, get } from "../data/api";
import { ago, inert, short } from "../data/format";
import { useLoad } from "../data/load";
import { now } from "../data/live";
import type { Webhook } from "../data/types";
import { Act } from "../ui/act";
import { Badge, Card, Page } from "../ui/parts";
import { go, href, route } from "../ui/route";
import { Empty, Failed, Loading } from "../ui/states";

const STATES: [string, string][] = [["", "any"], ["due", "due"], ["delivered", "delivered"], ["dead", "given up"]];

interface Answer { webhooks: Webhook[]; next: string | null }

export function Webhooks() {
  const state = route.value.query.get("state") ?? "";
  const path = `/api/v1/webhooks?limit=100${state ? `&state=${encodeURIComponent(state)}` : ""}`;
  const { data, error, again } = useLoad<Answer>(path, 3_000);
  const [older, setOlder] = useState<{ path: string; webhooks: Webhook[]; next: string | null }>({ path, webhooks: [], next: null });
  const [fault, setFault] = useState<ApiError | null>(null);
  const rest = older.path === path ? older : null;
  const next = rest ? rest.next : (data?.next ?? null);
  const more = async () => {
    try {
      const answer = await get<Answer>(`${path}&after=${encodeURIComponent(next ?? "")}`);
      setOlder({ path, webhooks: [...(rest?.webhooks ?? []), ...answer.webhooks], next: answer.next });
      setFault(null);
    } catch (reason) {
      if (reason instanceof ApiError) setFault(reason);
    }
  };
  const seen = new Set<string>();
  const lines = [...(data?.webhooks ?? []), ...(rest?.webhooks ?? [])].filter((line) => !seen.has(line.id) && seen.add(line.id));
  return (
    <Page
      title="Webhooks"
      lead="When a job ends, its receiver is told: again and again for three days, until it answers."
      actions={
        <label class="pick">
          <span>State</span>
          <select value={state} onChange={(event) => go(["webhooks"], { state: event.currentTarget.value })}>
            {STATES.map(([value, word]) => <option key={value} value={value}>{word}</option>)}
          </select>
        </label>
      }
    >
      <Card>
        {error && !data && <Failed error={error} again={again} />}
        {!data && !error && <Loading what="webhooks" />}
        {data && lines.length === 0 && <Empty title="No webhook">A job that is submitted with <code>"webhook": "https://…"</code> is reported there.</Empty>}
        {lines.length > 0 && (
          <div class="scroll" tabIndex={0} role="region" aria-label="Webhooks">
            <table>
              <thead>
                <tr>
                  <th scope="col">Job</th><th scope="col">State</th><th scope="col">Receiver</th><th scope="col" class="num">Attempts</th>
                  <th scope="col">Last answer</th><th scope="col">Next</th><th scope="col"><span class="hidden">Actions</span></th>
                </tr>
              </thead>
              <tbody>
                {lines.map((line) => (
                  <tr key={line.id}>
                    <th scope="row"><a class="mono" href={href(["jobs", line.job])} title={line.job}>{short(line.job)}</a></th>
                    <td><Badge state={line.state}>{line.state === "dead" ? "given up" : line.state}</Badge></td>
                    <td class="mono breaks">{line.url}</td>
                    <td class="num">{line.attempts}</td>
                    <td class="breaks">{line.status ?? inert(line.failure ?? "–")}{line.tried_at_ms ? <span class="quiet"> {ago(line.tried_at_ms, now())}</span> : null}</td>
                    <td class="quiet">{line.next_at_ms ? ago(line.next_at_ms, now()) : "–"}</td>
                    <td class="num">
                      <Act label="Send again" busy="Sending…" scope="jobs:submit" act={() => call("POST", `/api/v1/webhooks/${encodeURIComponent(line.id)}/replay`)} done={again} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        {fault && <Failed error={fault} />}
        {data && next !== null && lines.length > 0 && <button type="button" onClick={() => void more()}>Show older ones</button>}
      </Card>
    </Page>
  );
}
