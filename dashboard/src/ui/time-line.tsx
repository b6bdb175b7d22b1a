// The last hour of decisions as a strip: each five minutes are a button, which shows what was decided in them.

import { clock, count, words } from "../data/format";
import type { Decision } from "../data/types";
import { toneOf } from "./decisions";

const MINUTES = 5;
const SLOTS = 12;
const LENGTH_MS = MINUTES * 60_000;

export interface Slot {
  /** When it begins. */
  from: number;
  /** Newest first. */
  decisions: Decision[];
}

/** The five minutes of the last hour, oldest first; the last ones are those that run now. */
export function slots(lines: Decision[], now: number): Slot[] {
  const last = Math.floor(now / LENGTH_MS) * LENGTH_MS;
  const first = last - (SLOTS - 1) * LENGTH_MS;
  const made = Array.from({ length: SLOTS }, (_, n): Slot => ({ from: first + n * LENGTH_MS, decisions: [] }));
  for (const line of lines) made[Math.floor((line.at_ms - first) / LENGTH_MS)]?.decisions.push(line);
  return made;
}

/** How often each code was decided, the most frequent first. */
function kinds(lines: Decision[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const line of lines) counts.set(line.code, (counts.get(line.code) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

export function TimeLine({ lines, now, picked, pick }: {
  lines: Decision[];
  now: number;
  picked: number | null;
  pick: (from: number | null) => void;
}) {
  const all = slots(lines, now);
  const most = Math.max(1, ...all.map((slot) => slot.decisions.length));
  return (
    <div class="time-line" role="group" aria-label="Decisions of the last hour">
      {all.map((slot) => {
        const found = kinds(slot.decisions);
        const times = `${clock(slot.from)} to ${clock(slot.from + LENGTH_MS)}`;
        const what = found.map(([code, times]) => `${times} × ${words(code)}`).join(", ");
        const label = slot.decisions.length === 0 ? `${times}: nothing was decided` : `${times}: ${count(slot.decisions.length, "decision")}: ${what}`;
        return (
          <button
            key={slot.from}
            type="button"
            disabled={slot.decisions.length === 0}
            aria-pressed={picked === slot.from}
            aria-label={label}
            title={label}
            onClick={() => pick(picked === slot.from ? null : slot.from)}
          >
            <span class="stack-of" aria-hidden="true" style={{ height: `${(slot.decisions.length / most) * 100}%` }}>
              {found.map(([code, times]) => <i key={code} class={toneOf(code)} style={{ flexGrow: times }} />)}
            </span>
            <span class="quiet" aria-hidden="true">{clock(slot.from).slice(0, 5)}</span>
          </button>
        );
      })}
    </div>
  );
}

/** The decisions of the five minutes that begin at `from`. */
export const within = (lines: Decision[], from: number): Decision[] =>
  lines.filter((line) => line.at_ms >= from && line.at_ms < from + LENGTH_MS);
