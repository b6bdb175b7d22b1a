// Decisions with their reasons; each opens to show its numbers.

import { clock, money, span, words } from "../data/format";
import type { Decision } from "../data/types";
import { Badge } from "./parts";
import { Empty } from "./states";

/** What a number of a reason means, by its name. */
function shown(name: string, value: unknown): string {
  if (typeof value !== "number") return typeof value === "object" ? JSON.stringify(value) : String(value);
  if (name === "each") return money(value);
  if (name === "latest" || name === "max_wait" || name === "retry_in") return span(value);
  return value.toLocaleString("en-US");
}

const TONES: Record<string, string> = {
  scaled_up: "cloud",
  scaled_down: "idle",
  local_suffices: "running",
  max_reached: "late",
  schedule_holds: "cloud",
  schedule_over: "idle",
  slots_learned: "cloud",
  price_unknown: "failed",
  cloud_unavailable: "failed",
  worker_back_off: "failed",
  card_quarantined: "failed",
  card_returned: "running",
  taken_back: "running",
  reserved: "cloud",
  input_too_large_for_cloud: "late",
};

/** The tone of a decision, by its code. */
export const toneOf = (code: string): string => TONES[code] ?? "idle";

export function DecisionLines({ lines }: { lines: Decision[] }) {
  if (lines.length === 0) {
    return <Empty title="Nothing had to be decided yet">Once jobs come in, every decision is listed here with its reason.</Empty>;
  }
  return (
    <ol class="decisions">
      {lines.map((line) => (
        <li key={line.number}>
          <details>
            <summary>
              <time dateTime={new Date(line.at_ms).toISOString()}>{clock(line.at_ms)}</time>
              <Badge state={toneOf(line.code)}>{words(line.code)}</Badge>
              <span class="why">
                {line.text} <span class="quiet">{line.endpoint}</span>
              </span>
            </summary>
            <dl class="facts">
              {line.pool && (
                <div>
                  <dt>pool</dt>
                  <dd>{line.pool}</dd>
                </div>
              )}
              {Object.entries(line.reason)
                .filter(([name]) => name !== "code" && name !== "pool")
                .map(([name, value]) => (
                  <div key={name}>
                    <dt>{words(name)}</dt>
                    <dd>{shown(name, value)}</dd>
                  </div>
                ))}
            </dl>
          </details>
        </li>
      ))}
    </ol>
  );
}
