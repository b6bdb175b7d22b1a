// The time line: every decision about placement and scaling, with its reason.

import { useState } from "preact/hooks";
import { ApiError, get } from "../data/api";
import { useLoad } from "../data/load";
import { decisions, now, overview } from "../data/live";
import type { Decision, Sample, Why } from "../data/types";
import { Chart, type Line } from "../ui/chart";
import { DecisionLines } from "../ui/decisions";
import { Card, Page } from "../ui/parts";
import { go, route } from "../ui/route";
import { Failed, Loading } from "../ui/states";
import { WhyLines } from "../ui/why";

const LINES: Line[] = [
  { label: "cloud workers", color: "--cloud", of: (s: Sample) => s.cloud_workers, fill: true },
  { label: "jobs waiting", color: "--wait", of: (s: Sample) => s.queued },
];

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
  const { data, error, again } = useLoad<Answer>("/api/v1/decisions?limit=200");
  const [older, setOlder] = useState<Decision[]>([]);
  const [next, setNext] = useState<number | null | undefined>(undefined);
  const [fault, setFault] = useState<ApiError | null>(null);
  const endpoint = route.value.query.get("endpoint") ?? "";
  const after = next === undefined ? (data?.next ?? null) : next;
  const more = async () => {
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
  const names = overview.value?.endpoints.map((line) => line.name) ?? [];
  const whole = (value: number) => (Number.isInteger(value) ? value.toLocaleString("en-US") : "");
  return (
    <Page
      title="Decisions"
      lead="Why it did what it did, newest first. Open one for its numbers."
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
        <Card><Chart title="The last hour" lines={LINES} minutes={60} height={180} show={whole} top={4} /></Card>
        <Card>
          {error && !data ? <Failed error={error} again={again} /> : !data ? <Loading what="decisions" /> : <DecisionLines lines={lines} />}
          {fault && <Failed error={fault} />}
          {after !== null && <button type="button" onClick={() => void more()}>Show older ones</button>}
        </Card>
      </div>
    </Page>
  );
}
