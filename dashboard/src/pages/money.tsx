// What was spent on what, and what your own cards saved.

import { useState } from "preact/hooks";
import { date, money, span } from "../data/format";
import { useLoad } from "../data/load";
import { link, overview } from "../data/live";
import type { Sample, SpentLine } from "../data/types";
import { Chart, type Line } from "../ui/chart";
import { Card, Meter, Page, Tile } from "../ui/parts";
import { Empty, Failed, Loading } from "../ui/states";

const COST: Line[] = [{ label: "now", color: "--cloud", of: (s: Sample) => s.nano_usd_per_hour, fill: true }];

const spent = (line: SpentLine): number => line.cold_start_nano_usd + line.run_nano_usd + line.idle_nano_usd;

export function MoneyPage() {
  const [since, setSince] = useState<"today" | "always">("today");
  const { data, error, again } = useLoad<{ since_ms: number | null; time_zone: string; lines: SpentLine[] }>(`/api/v1/spending?since=${since}`, 5_000);
  const now = overview.value;
  if (!now) return <Page title="Money">{link.value !== "refused" && <Loading what="the ledger" />}</Page>;
  const m = now.money;
  const all = m.total_nano_usd + m.saved_total_nano_usd;
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
        <Tile label="Saved today" tone="local" value={money(m.saved_today_nano_usd)} note="by your own cards" />
        <Tile label="Set aside" value={money(m.reserved_nano_usd)} note="for workers that may still come" />
      </dl>
      <div class="stack">
        <Card>
          <Chart title="Cloud cost an hour, last hour" lines={COST} minutes={60} height={180} show={money} top={500_000_000} />
        </Card>
        <Card
          title="By endpoint and pool"
          aside={
            <div class="choice" role="group" aria-label="Since when">
              <button type="button" aria-pressed={since === "today"} onClick={() => setSince("today")}>Today</button>
              <button type="button" aria-pressed={since === "always"} onClick={() => setSince("always")}>All time</button>
            </div>
          }
        >
          {error && !data && <Failed error={error} again={again} />}
          {!data && !error && <Loading what="the ledger" />}
          {data && data.lines.length === 0 && <Empty title="Nothing was spent or saved in this time">Jobs on your own cards count as saved where a cloud pool has a price.</Empty>}
          {data && data.lines.length > 0 && (
            <div class="scroll" tabIndex={0} role="region" aria-label="Spent and saved">
              <table>
                <thead>
                  <tr>
                    <th scope="col">Endpoint</th><th scope="col">Pool</th><th scope="col" class="num">Starts</th><th scope="col" class="num">Jobs</th>
                    <th scope="col" class="num">Idle</th><th scope="col" class="num">Spent</th><th scope="col" class="num">Saved</th><th scope="col" class="num">Worked</th>
                  </tr>
                </thead>
                <tbody>
                  {data.lines.map((line) => (
                    <tr key={`${line.endpoint}/${line.pool}`}>
                      <th scope="row">{line.endpoint || "removed"}</th>
                      <td>{line.pool || "removed"}</td>
                      <td class="num">{money(line.cold_start_nano_usd)}</td>
                      <td class="num">{money(line.run_nano_usd)}</td>
                      <td class="num">{money(line.idle_nano_usd)}</td>
                      <td class="num cloud-ink">{money(spent(line))}</td>
                      <td class="num local-ink">{money(line.saved_nano_usd)}</td>
                      <td class="num">{span(line.run_ms)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
          {data?.since_ms != null && <p class="quiet note">Since {date(data.since_ms)} here, midnight in {data.time_zone}.</p>}
        </Card>
        {all > 0 && (
          <Card title="Who did the work">
            <Meter part={m.saved_total_nano_usd / all} label="Share of the work's price that your own cards saved" tone="local" />
            <p class="quiet note">Your own cards did {Math.round((m.saved_total_nano_usd / all) * 100)} % of the work, by its price in the cloud.</p>
          </Card>
        )}
      </div>
    </Page>
  );
}
