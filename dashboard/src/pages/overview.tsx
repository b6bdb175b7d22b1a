// The first page: is all well, and what does it cost?

import { useState } from "preact/hooks";
import { ago, count, money, span } from "../data/format";
import { decisions, overview } from "../data/live";
import type { Device, Endpoint, Overview as Data } from "../data/types";
import { Awaited } from "../ui/awaited";
import { Chart, type Line } from "../ui/chart";
import { DecisionLines } from "../ui/decisions";
import { DeviceCard } from "../ui/device";
import { Badge, Card, Page, Tile, Workers } from "../ui/parts";
import { href } from "../ui/route";
import { Empty } from "../ui/states";

const JOBS: Line[] = [
  { label: "on your cards", color: "--local", of: (s) => s.local, fill: true },
  { label: "in the cloud", color: "--cloud", of: (s) => s.cloud, fill: true, stacked: true },
  { label: "waiting", color: "--wait", of: (s) => s.queued },
];
const WAIT: Line[] = [{ label: "now", color: "--wait", of: (s) => s.oldest_wait_ms, fill: true }];
const COST: Line[] = [{ label: "now", color: "--cloud", of: (s) => s.nano_usd_per_hour, fill: true }];
const ENDS: Line[] = [
  { label: "done", color: "--local", of: (s) => s.completed, fill: true, rate: true },
  { label: "failed", color: "--bad", of: (s) => s.failed, rate: true },
];

/** The state of everything in a sentence or two. */
export function sentence(now: Data): string {
  const cards = now.devices.length;
  const localJobs = now.sample.local;
  const cloud = now.sample.cloud_workers;
  if (now.endpoints.length === 0) return "No endpoint is configured yet.";
  const parts: string[] = [];
  if (now.queued === 0 && now.running === 0) {
    parts.push("All quiet: nothing runs and nothing waits.");
  } else {
    const where =
      localJobs > 0 && now.sample.cloud > 0
        ? `${localJobs} on your cards and ${now.sample.cloud} in the cloud`
        : localJobs > 0
          ? `${now.running === 1 ? "" : "all of them "}on your own cards`
          : `${now.running === 1 ? "" : "all of them "}in the cloud`;
    if (now.running > 0) parts.push(`${count(now.running, "job runs", "jobs run")}${now.running === 1 ? " " : ", "}${where}.`);
    parts.push(now.queued === 0 ? "Nothing waits." : `${count(now.queued, "job waits", "jobs wait")}${now.oldest_wait_ms ? `, the longest for ${span(now.oldest_wait_ms)}` : ""}.`);
  }
  if (cloud > 0) {
    parts.push(`${count(cloud, "cloud worker helps", "cloud workers help")} for ${money(now.money.nano_usd_per_hour)} an hour.`);
  } else {
    parts.push(cards > 0 ? "The cloud is at zero and costs nothing." : "No cloud worker is up, so nothing is being spent.");
  }
  return parts.join(" ");
}

function Tiles({ now }: { now: Data }) {
  const ended = now.recent.completed + now.recent.failed;
  return (
    <dl class="tiles">
      <Tile label="Waiting" value={now.queued.toLocaleString("en-US")} note={now.oldest_wait_ms ? `longest ${span(now.oldest_wait_ms)}` : "nothing waits"} />
      <Tile label="On your cards" tone="local" value={now.sample.local.toLocaleString("en-US")} note={count(now.devices.length, "card")} />
      <Tile label="In the cloud" tone="cloud" value={now.sample.cloud.toLocaleString("en-US")} note={count(now.sample.cloud_workers, "worker")} />
      <Tile label="Spent today" tone="cloud" value={money(now.money.today_nano_usd)} note={`${money(now.money.nano_usd_per_hour)} an hour now`} />
      <Tile label="Saved today" tone="local" value={money(now.money.saved_today_nano_usd)} note="by your own cards" />
      <Tile
        label="Failed, last hour"
        tone={now.recent.failed > 0 ? "bad" : undefined}
        value={now.recent.failed.toLocaleString("en-US")}
        note={`of ${count(ended, "job")}`}
      />
    </dl>
  );
}

function Cards({ devices }: { devices: Device[] }) {
  return (
    <Card title="Your cards" aside={<a href={href(["workers"])}>Workers</a>}>
      {devices.length === 0 ? (
        <Empty title="No card of this machine takes part">Every job goes to the cloud, within its limits.</Empty>
      ) : (
        <ul class="devices">
          {devices.map((device) => (
            <DeviceCard key={device.id} device={device} />
          ))}
        </ul>
      )}
    </Card>
  );
}

export function EndpointTable({ endpoints }: { endpoints: Endpoint[] }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Endpoints">
      <table>
        <thead>
          <tr>
            <th scope="col">Endpoint</th>
            <th scope="col" class="num">Waiting</th>
            <th scope="col" class="num">Running</th>
            <th scope="col">Workers</th>
            <th scope="col" class="num">Wait of 95 %</th>
            <th scope="col" class="num">Typical run</th>
            <th scope="col" class="num">Failed, last hour</th>
          </tr>
        </thead>
        <tbody>
          {endpoints.map((endpoint) => (
            <tr key={endpoint.name}>
              <th scope="row"><a href={href(["endpoints"])}>{endpoint.name}</a></th>
              <td class="num">{endpoint.queued.toLocaleString("en-US")}</td>
              <td class="num">{endpoint.running.toLocaleString("en-US")}</td>
              <td><Workers states={endpoint.workers} /></td>
              <td class="num">
                {endpoint.recent.wait && endpoint.recent.wait.p95_ms > endpoint.max_wait_ms ? (
                  <Badge state="late">{span(endpoint.recent.wait.p95_ms)}</Badge>
                ) : (
                  span(endpoint.recent.wait?.p95_ms)
                )}
              </td>
              <td class="num">{span(endpoint.recent.run?.p50_ms)}</td>
              <td class="num">{endpoint.recent.failed > 0 ? <Badge state="failed">{endpoint.recent.failed}</Badge> : "0"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Overview() {
  const [minutes, setMinutes] = useState(5);
  const now = overview.value;
  if (!now) return <Page title="Overview"><Awaited what="the state of things" /></Page>;
  const whole = (value: number) => (Number.isInteger(value) ? value.toLocaleString("en-US") : "");
  return (
    <Page
      title="Overview"
      lead={sentence(now)}
      actions={
        <div class="choice" role="group" aria-label="Length of the charts">
          {[5, 60].map((length) => (
            <button key={length} type="button" aria-pressed={minutes === length} onClick={() => setMinutes(length)}>
              {length === 60 ? "1 hour" : `${length} min`}
            </button>
          ))}
        </div>
      }
    >
      {now.troubles.map((trouble) => (
        <p key={trouble.code} class="banner" role="alert">{trouble.text}</p>
      ))}
      {now.budget_alerts.map((alert) => (
        <p key={`${alert.scope}/${alert.name ?? ""}/${alert.period}`} class="banner" role="status">
          {alert.threshold_percent >= 100 ? "Reached" : `${alert.threshold_percent} % spent`}: the cap on {alert.scope === "everything" ? "everything" : `${alert.scope} ${alert.name ?? ""}`} of
          this {alert.period}, which ends {ago(alert.ends_at_ms, now.at_ms)}. <a href={href(["money"])}>Caps</a>
        </p>
      ))}
      <Tiles now={now} />
      <div class="grid">
        <Card wide>
          <Chart title="Jobs" lines={JOBS} minutes={minutes} height={240} show={whole} top={4} />
        </Card>
        <Card>
          <Chart title="Longest wait" lines={WAIT} minutes={minutes} height={150} show={span} top={10_000} />
        </Card>
        <Card>
          <Chart title="Cloud cost, an hour" lines={COST} minutes={minutes} height={150} show={money} top={500_000_000} />
        </Card>
        <Card>
          <Chart title="Jobs ended, a minute" lines={ENDS} minutes={minutes} height={150} show={whole} top={4} />
        </Card>
        <Cards devices={now.devices} />
        <Card title="Endpoints" wide>
          {now.endpoints.length === 0 ? (
            <Empty title="No endpoint is configured">Add <code>[[endpoint]]</code> to overspill.toml; a name is enough to begin.</Empty>
          ) : (
            <EndpointTable endpoints={now.endpoints} />
          )}
        </Card>
        <Card title="Why it did what it did" aside={<a href={href(["decisions"])}>All decisions</a>} wide>
          <DecisionLines lines={decisions.value.slice(0, 8)} />
        </Card>
      </div>
    </Page>
  );
}
