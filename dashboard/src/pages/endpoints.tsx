// Every endpoint: what it may use, how it does, and its limits, which can be changed while it runs.

import { useState } from "preact/hooks";
import { ApiError, call, may } from "../data/api";
import { ago, clock, count, money, span, words } from "../data/format";
import { now, overview } from "../data/live";
import type { Endpoint } from "../data/types";
import { Act } from "../ui/act";
import { Awaited } from "../ui/awaited";
import { Badge, Card, Page, Workers } from "../ui/parts";
import { href } from "../ui/route";
import { Promised } from "../ui/promised";
import { Rule } from "../ui/rule";
import { Empty } from "../ui/states";

function Limits({ endpoint }: { endpoint: Endpoint }) {
  const [min, setMin] = useState(String(endpoint.min));
  const [max, setMax] = useState(String(endpoint.max));
  const [said, setSaid] = useState<{ text: string; isBad: boolean } | null>(null);
  const [isBusy, setBusy] = useState(false);
  const price = Math.max(0, ...endpoint.pools.map((pool) => pool.cloud?.price_nano_usd_per_hour ?? 0));
  const isNew = min !== String(endpoint.min) || max !== String(endpoint.max);
  const id = `limits-${endpoint.name}`;
  const save = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await call("PATCH", `/api/v1/endpoints/${encodeURIComponent(endpoint.name)}`, { workers: { min: Number(min), max: Number(max) } });
      setSaid({ text: "In force.", isBad: false });
    } catch (error) {
      setSaid({ text: error instanceof ApiError ? `${error.message}. ${error.hint ?? ""}` : String(error), isBad: true });
    }
    setBusy(false);
  };
  return (
    <form class="limits" onSubmit={(event) => void save(event)}>
      <div>
        <label for={`${id}-min`}>Always on</label>
        <input id={`${id}-min`} type="number" min={0} max={100000} step={1} required value={min} disabled={!may("endpoints:write")} onInput={(event) => { setMin(event.currentTarget.value); setSaid(null); }} />
      </div>
      <div>
        <label for={`${id}-max`}>At most</label>
        <input id={`${id}-max`} type="number" min={0} max={100000} step={1} required value={max} disabled={!may("endpoints:write")} onInput={(event) => { setMax(event.currentTarget.value); setSaid(null); }} />
      </div>
      {may("endpoints:write") && (
        <button type="submit" class="primary" disabled={!isNew || isBusy}>{isBusy ? "Saving…" : "Save"}</button>
      )}
      <p class="quiet">
        cloud workers{price > 0 && Number(max) > 0 ? `: at most ${money(price * Number(max))} an hour` : ""}
        {price > 0 && Number(min) > 0 ? `, and ${money(price * Number(min))} even with nothing to do` : ""}.
      </p>
      {said && <p class={said.isBad ? "error" : "quiet"} role={said.isBad ? "alert" : "status"}>{said.text}</p>}
      {endpoint.schedule && (
        <p class="quiet">
          A schedule keeps {endpoint.schedule.min} on until {clock(endpoint.schedule.closes_at_ms)}.
        </p>
      )}
      {endpoint.limits_changed && (
        <p class="quiet">
          Changed by {endpoint.limits_changed.by}, {ago(endpoint.limits_changed.at_ms, now())}; the file says {endpoint.limits_changed.file_min} to {endpoint.limits_changed.file_max}.
        </p>
      )}
    </form>
  );
}

function One({ endpoint }: { endpoint: Endpoint }) {
  const path = `/v2/${encodeURIComponent(endpoint.name)}`;
  const { wait, run } = endpoint.recent;
  const isLate = wait !== null && wait.p95_ms > endpoint.max_wait_ms;
  return (
    <Card title={endpoint.name} aside={<a href={href(["jobs"], { endpoint: endpoint.name })}>Its jobs</a>} wide>
      <div class="endpoint">
        <div class="stack">
          <dl class="facts-row">
            <div><dt>Waiting</dt><dd>{endpoint.queued.toLocaleString("en-US")}{endpoint.oldest_wait_ms ? `, longest ${span(endpoint.oldest_wait_ms)}` : ""}</dd></div>
            <div><dt>Running</dt><dd>{endpoint.running.toLocaleString("en-US")}</dd></div>
            <div><dt>Promise</dt><dd>starts within {span(endpoint.max_wait_ms)}</dd></div>
            <div><dt>Scaled by</dt><dd>{words(endpoint.policy)}</dd></div>
            <div><dt>Ended, last hour</dt><dd>{endpoint.recent.completed.toLocaleString("en-US")} done, {endpoint.recent.failed.toLocaleString("en-US")} failed</dd></div>
          </dl>
          <div class="scroll" tabIndex={0} role="region" aria-label={`Times of ${endpoint.name}`}>
            <table>
              <thead>
                <tr><th scope="col">Last hour</th><th scope="col" class="num">50 % within</th><th scope="col" class="num">95 % within</th><th scope="col" class="num">99 % within</th></tr>
              </thead>
              <tbody>
                <tr>
                  <th scope="row">Wait {isLate && <Badge state="late">over the promise</Badge>}</th>
                  <td class="num">{span(wait?.p50_ms)}</td><td class="num">{span(wait?.p95_ms)}</td><td class="num">{span(wait?.p99_ms)}</td>
                </tr>
                <tr>
                  <th scope="row">Run</th>
                  <td class="num">{span(run?.p50_ms)}</td><td class="num">{span(run?.p95_ms)}</td><td class="num">{span(run?.p99_ms)}</td>
                </tr>
              </tbody>
            </table>
          </div>
          <ul class="pools">
            {endpoint.pools.map((pool) => (
              <li key={pool.name}>
                <Badge state={pool.kind === "cloud" ? "cloud" : "running"}>{pool.kind === "cloud" ? "cloud" : "your cards"}</Badge>
                <b>{pool.name}</b>
                <Workers states={pool.workers} />
                <span class="quiet">
                  {pool.cloud?.price_nano_usd_per_hour ? `${money(pool.cloud.price_nano_usd_per_hour)} a worker and hour` : pool.cloud ? "price unknown: not used" : ""}
                </span>
              </li>
            ))}
          </ul>
        </div>
        <div class="stack">
          <h3>Limits of the cloud</h3>
          <Limits key={`${endpoint.min}-${endpoint.max}`} endpoint={endpoint} />
          <h3>Promise</h3>
          <Promised key={`${endpoint.max_wait_ms} ${endpoint.max_wait_changed?.at_ms ?? 0}`} endpoint={endpoint} />
          <h3>Scaling rule</h3>
          <Rule key={endpoint.scaler_changed?.at_ms ?? 0} endpoint={endpoint} />
          {endpoint.queued > 0 && (
            <Act
              label={`Empty the queue (${endpoint.queued.toLocaleString("en-US")})`}
              busy="Emptying…"
              scope="queue:purge"
              tone="danger"
              ask={`Cancel ${count(endpoint.queued, "job")} that wait${endpoint.queued === 1 ? "s" : ""} for ${endpoint.name}? Jobs that run go on.`}
              act={() => call("POST", `${path}/purge-queue`)}
            />
          )}
        </div>
      </div>
    </Card>
  );
}

export function Endpoints() {
  const all = overview.value;
  return (
    <Page title="Endpoints" lead="The names that jobs are sent to. Each uses your own cards first, and the cloud within its limits.">
      {!all && <Awaited what="endpoints" />}
      {all?.endpoints.length === 0 && (
        <Empty title="No endpoint is configured">Add <code>[[endpoint]]</code> with a name to overspill.toml.</Empty>
      )}
      <div class="grid">{all?.endpoints.map((endpoint) => <One key={endpoint.name} endpoint={endpoint} />)}</div>
    </Page>
  );
}
