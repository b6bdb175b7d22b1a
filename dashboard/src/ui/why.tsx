// Why something is as it is: causes in order, the expected start, what a changed setting would do, and
// the doctor's findings.

import { ago, inert, span, words } from "../data/format";
import type { Finding, Why } from "../data/types";
import { Badge } from "./parts";

/** Codes that stand in the way, those that only say where things are, and good news. */
const TONES: Record<string, string> = {
  running: "running",
  completed: "completed",
  failed: "failed",
  timed_out: "failed",
  cancelled: "cancelled",
  local_free: "running",
  local_suffices: "running",
  cloud_starting: "initializing",
  local_starting: "initializing",
  max_zero: "late",
  max_reached: "late",
  account_limit: "late",
  pool_max_reached: "late",
  quota_learned: "late",
  price_unknown: "failed",
  cloud_refuses: "failed",
  cloud_throttled: "late",
  cloud_unhealthy: "failed",
  cloud_absent: "late",
  local_crashing: "failed",
  local_silent: "failed",
  card_taken: "late",
  card_quarantined: "failed",
  card_held: "late",
};

export function WhyLines({ why, at }: { why: Why; at: number }) {
  return (
    <div class="stack">
      <ol class="causes">
        {why.causes.map((cause, n) => (
          <li key={`${n}-${cause.code}`}>
            <Badge state={TONES[cause.code] ?? "idle"}>{words(cause.code)}</Badge> <span>{inert(cause.text)}</span>
          </li>
        ))}
      </ol>
      {why.start_in_ms !== null && (
        <p>
          {why.about === "job" ? "It" : "The last waiting job"} should start in about <b>{span(why.start_in_ms)}</b>{" "}
          <span class="quiet">as of {ago(why.at_ms, at)}</span>
        </p>
      )}
      {why.what_if.length > 0 && (
        <div>
          <h3>What would change it</h3>
          <ul class="what-if">
            {why.what_if.map((one) => (
              <li key={one.setting}>
                {one.text} <code>{one.how}</code>
              </li>
            ))}
          </ul>
        </div>
      )}
      {why.findings.length > 0 && <Findings lines={why.findings} />}
    </div>
  );
}

export function Findings({ lines }: { lines: Finding[] }) {
  return (
    <ul class="findings">
      {lines.map((line) => (
        <li key={`${line.endpoint} ${line.pool} ${line.code} ${line.evidence}`}>
          <p>
            <Badge state="failed">{words(line.code)}</Badge> <b>{line.endpoint}</b>
            {line.pool ? <span class="quiet"> · {line.pool}</span> : null}
          </p>
          <p>{inert(line.evidence)}</p>
          <p class="quiet">Fix: {line.fix}</p>
          {line.command && <p><code>{line.command}</code></p>}
        </li>
      ))}
    </ul>
  );
}
