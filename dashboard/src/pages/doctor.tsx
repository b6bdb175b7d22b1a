// The doctor: every known fault that is there now, by the trouble that it causes.

import { useLoad } from "../data/load";
import type { Finding } from "../data/types";
import { Card, Page } from "../ui/parts";
import { Empty, Failed, Loading } from "../ui/states";
import { Findings } from "../ui/why";

const TROUBLES: [string, string][] = [
  ["not_scaling_up", "Workers do not scale up"],
  ["high_cost", "The cloud costs too much"],
  ["slow", "Answers are slow"],
  ["idle_but_queued", "Workers idle while jobs wait"],
];

interface Answer { findings: Finding[]; checked: number }

export function Doctor() {
  const { data, error, again } = useLoad<Answer>("/api/v1/doctor", 5_000);
  return (
    <Page title="Doctor" lead="Every known fault is checked; those that are there have evidence and a fix.">
      <div class="stack">
        {error && !data && <Failed error={error} again={again} />}
        {!data && !error && <Loading what="the findings" />}
        {data && data.findings.length === 0 && (
          <Card><Empty title="Nothing is wrong">None of {data.checked} known faults is there.</Empty></Card>
        )}
        {data && TROUBLES.map(([trouble, title]) => {
          const lines = data.findings.filter((line) => line.trouble === trouble);
          return lines.length > 0 && <Card key={trouble} title={title}><Findings lines={lines} /></Card>;
        })}
      </div>
    </Page>
  );
}
