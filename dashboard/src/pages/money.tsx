// What was spent on what, what your own cards saved, and the caps.

import { useState } from "preact/hooks";
import { date, money, span } from "../data/format";
import { useLoad } from "../data/load";
import { overview } from "../data/live";
import type { CostLine, Costs, Sample } from "../data/types";
import { Awaited } from "../ui/awaited";
import { Chart, type Line } from "../ui/chart";
import { Card, Meter, Page, Tile } from "../ui/parts";
import { Empty, Failed, Loading } from "../ui/states";
import { Caps } from "./caps";

const COST: Line[] = [{ label: "now", color: "--cloud", of: (s: Sample) => s.nano_usd_per_hour, fill: true }];
const SIDES: [string, string][] = [
  ["endpoint", "endpoint"], ["pool", "pool"], ["gpu", "type of GPU"], ["region", "region"], ["key", "API key"],
  ["kind", "kind"], ["job", "job"], ["day", "day"], ["hour", "hour"],
];
const SINCE: [string, string][] = [["today", "Today"], ["7d", "7 days"], ["30d", "30 days"], ["always", "All time"]];

const nameOf = (line: CostLine): string => (line.endpoint ? `${line.endpoint} · ${line.name}` : line.name);

function CostTable({ costs }: { costs: Costs }) {
  const hasUnsettled = costs.lines.some((line) => line.unsettled_nano_usd !== 0 || line.drift_nano_usd !== 0);
  const hasElectricity = costs.lines.some((line) => line.electricity_nano_usd !== 0);
  const cells = (line: CostLine | Costs["total"]) => (
    <>
      <td class="num">{money(line.cold_start_nano_usd)}</td>
      <td class="num">{money(line.run_nano_usd)}</td>
      <td class="num">{money(line.idle_nano_usd)}</td>
      {hasUnsettled && <td class="num">{money(line.unsettled_nano_usd + line.drift_nano_usd)}</td>}
      <td class="num cloud-ink">{money(line.spent_nano_usd)}</td>
      <td class="num local-ink">{money(line.saved_nano_usd)}</td>
      {hasElectricity && <td class="num">{money(line.electricity_nano_usd)}</td>}
      <td class="num">{span(line.cold_start_ms + line.run_ms + line.idle_ms)}</td>
      <td class="num">{span(line.local_ms)}</td>
    </>
  );
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Spent and saved">
      <table>
        <thead>
          <tr>
            <th scope="col">By {SIDES.find(([side]) => side === costs.by)?.[1]}</th><th scope="col" class="num">Starts</th><th scope="col" class="num">Jobs</th>
            <th scope="col" class="num">Idle</th>{hasUnsettled && <th scope="col" class="num">Unsettled</th>}<th scope="col" class="num">Spent</th>
            <th scope="col" class="num">Saved</th>{hasElectricity && <th scope="col" class="num">Electricity</th>}
            <th scope="col" class="num">In the cloud</th><th scope="col" class="num">Here</th>
          </tr>
        </thead>
        <tbody>
          {costs.lines.map((line) => (
            <tr key={`${line.endpoint ?? ""}/${line.id ?? ""}/${line.name}`}><th scope="row">{nameOf(line)}</th>{cells(line)}</tr>
          ))}
          <tr class="total"><th scope="row">All</th>{cells(costs.total)}</tr>
        </tbody>
      </table>
    </div>
  );
}

function Spent() {
  const [by, setBy] = useState("endpoint");
  const [since, setSince] = useState("today");
  const path = `/api/v1/cost?by=${by}&since=${since}&limit=200`;
  const { data, error, again } = useLoad<Costs>(path, 5_000);
  return (
    <Card
      title="Spent and saved"
      aside={
        <div class="choices">
          <span class="pick">
            <label for="cost-by">By</label>
            <select id="cost-by" value={by} onChange={(event) => setBy(event.currentTarget.value)}>
              {SIDES.map(([side, words]) => <option key={side} value={side}>{words}</option>)}
            </select>
          </span>
          <div class="choice" role="group" aria-label="Since when">
            {SINCE.map(([value, words]) => (
              <button key={value} type="button" aria-pressed={since === value} onClick={() => setSince(value)}>{words}</button>
            ))}
          </div>
          <a href={`${path}&format=csv`} download={`cost-by-${by}.csv`}>CSV</a>
        </div>
      }
    >
      {error && !data && <Failed error={error} again={again} />}
      {!data && !error && <Loading what="the ledger" />}
      {data && data.lines.length === 0 && <Empty title="Nothing was spent or saved in this time">Jobs on your own cards count as saved where a cloud pool has a price.</Empty>}
      {data && data.lines.length > 0 && <CostTable costs={data} />}
      {data && data.left_out > 0 && <p class="quiet note">{data.left_out} more lines are in the CSV.</p>}
      {data?.since_ms != null && <p class="quiet note">Since {date(data.since_ms)} here; days are those of {data.time_zone}.</p>}
    </Card>
  );
}

export function MoneyPage() {
  const now = overview.value;
  if (!now) return <Page title="Money"><Awaited what="the ledger" /></Page>;
  const m = now.money;
  const all = m.total_nano_usd + m.saved_total_nano_usd;
  const electricity = m.electricity_total_nano_usd;
  return (
    <Page
      title="Money"
      lead={
        all === 0
          ? "Nothing was spent and nothing saved yet."
          : `The cloud cost ${money(m.total_nano_usd)} so far. For what your own cards did, it would have cost ${money(m.saved_total_nano_usd)} more.`
      }
    >
      <dl class="tiles">
        <Tile label="An hour, now" tone="cloud" value={money(m.nano_usd_per_hour)} note={m.nano_usd_per_hour === 0 ? "no cloud worker is up" : "by the cloud workers that are up"} />
        <Tile label="Spent today" tone="cloud" value={money(m.today_nano_usd)} note="on the cloud" />
        <Tile
          label="Saved today"
          tone="local"
          value={money(m.saved_today_nano_usd)}
          note={m.electricity_today_nano_usd > 0 ? `${money(m.saved_today_nano_usd - m.electricity_today_nano_usd)} after electricity` : "by your own cards"}
        />
        <Tile label="Set aside" value={money(m.reserved_nano_usd)} note="for workers that may still come" />
      </dl>
      <div class="stack">
        <Card>
          <Chart title="Cloud cost an hour, last hour" lines={COST} minutes={60} height={180} show={money} top={500_000_000} />
        </Card>
        <Caps />
        <Spent />
        {all > 0 && (
          <Card title="Who did the work">
            <Meter part={m.saved_total_nano_usd / all} label="Share of the work's price that your own cards saved" tone="local" />
            <p class="quiet note">
              Your own cards did {Math.round((m.saved_total_nano_usd / all) * 100)} % of the work, by its price in the cloud.
              {electricity > 0 && ` They took about ${money(electricity)} of electricity for it: ${money(m.saved_total_nano_usd - electricity)} were saved in all.`}
            </p>
          </Card>
        )}
      </div>
    </Page>
  );
}
