// The time line: every decision about placement and scaling, with its reason.

import { useState } from "preact/hooks";
import { ApiError, get } from "../data/api";
import { clock } from "../data/format";
import { useLoad } from "../data/load";
import { decisions, now, overview } from "../data/live";
import type { Decision, Sample, Why } from "../data/types";
import { Chart, type Line } from "../ui/chart";
import { DecisionLines } from "../ui/decisions";
import { Card, Page } from "../ui/parts";
import { go, route } from "../ui/route";
import { Failed, Loading } from "../ui/states";
import { TimeLine, within } from "../ui/time-line";
import { WhyLines } from "../ui/why";

const LINES: Line[] = [
  { label: "cloud workers", color: "--cloud", of: (s: Sample) => s.cloud_workers, fill: true },
  { label: "jobs waiting", color: "--wait", of: (s: Sample) => s.queued },
];

/** Decisions that are listed at first, and with each wish for more. */
const SHOWN = 200;

interface Answer { decisions: Decision[]; next: number | null }

function WhyScale({ endpoint }: { endpoint: string }) {
  const { data, error, again } = useLoad<Why>(`/api/v1/why/scale/${encodeURIComponent(endpoint)}`, 2_000);
  return (
    <Card title={`Why ${endpoint} has these cloud workers`}>
      {error && !data ? <Failed error={error} again={again} /> : !data ? <Loading what="the causes" /> : <WhyLines why={data} at={now()} />}
    </Card>
  );
}

export function Decisions() {
  const { data, error, again } = useLoad<Answer>("/api/v1/decisions?limit=1000");
  const [older, setOlder] = useState<Decision[]>([]);
  const [next, setNext] = useState<number | null | undefined>(undefined);
  const [fault, setFault] = useState<ApiError | null>(null);
  const [shown, setShown] = useState(SHOWN);
  const [picked, setPicked] = useState<number | null>(null);
  const endpoint = route.value.query.get("endpoint") ?? "";
  const after = next === undefined ? (data?.next ?? null) : next;
  const more = async () => {
    setShown((count) => count + SHOWN);
    if (shown < lines.length || after === null) return;
    try {
      const answer = await get<Answer>(`/api/v1/decisions?limit=200&before=${after}`);
      setOlder((known) => [...known, ...answer.decisions]);
      setNext(answer.next);
      setFault(null);
    } catch (reason) {
      if (reason instanceof ApiError) setFault(reason);
    }
  };
  const newest = data?.decisions[0]?.number ?? 0;
  const lines = [...decisions.value.filter((line) => line.number > newest), ...(data?.decisions ?? []), ...older].filter(
    (line) => !endpoint || line.endpoint === endpoint,
  );
  const listed = picked === null ? lines.slice(0, shown) : within(lines, picked);
  const hasMore = picked === null && (after !== null || shown < lines.length);
  const names = overview.value?.endpoints.map((line) => line.name) ?? [];
  const whole = (value: number) => (Number.isInteger(value) ? value.toLocaleString("en-US") : "");
  return (
    <Page
      title="Decisions"
      lead="Why it did what it did, newest first. Press a bar for what was decided then; open a line for its numbers."
      actions={
        <label class="pick">
          <span>Endpoint</span>
          <select value={endpoint} onChange={(event) => go(["decisions"], { endpoint: event.currentTarget.value })}>
            <option value="">all</option>
            {names.map((name) => <option key={name} value={name}>{name}</option>)}
          </select>
        </label>
      }
    >
      <div class="stack">
        {endpoint && <WhyScale key={endpoint} endpoint={endpoint} />}
        <Card>
          <Chart title="The last hour" lines={LINES} minutes={60} height={180} show={whole} top={4} />
          {data && <TimeLine lines={lines} now={now()} picked={picked} pick={setPicked} />}
        </Card>
        <Card
          title={picked === null ? "All decisions" : `Decided from ${clock(picked)} on, within five minutes`}
          aside={picked !== null && <button type="button" onClick={() => setPicked(null)}>Show all</button>}
        >
          {error && !data ? <Failed error={error} again={again} /> : !data ? <Loading what="decisions" /> : <DecisionLines lines={listed} />}
          {fault && <Failed error={fault} />}
          {hasMore && <button type="button" onClick={() => void more()}>Show older ones</button>}
        </Card>
      </div>
    </Page>
  );
}
