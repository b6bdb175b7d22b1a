// Small things that several pages show.

import type { ComponentChildren } from "preact";
import { count, words } from "../data/format";
import type { WorkerStates } from "../data/types";

export function Page({ title, lead, actions, children }: {
  title: string;
  lead?: ComponentChildren;
  actions?: ComponentChildren;
  children: ComponentChildren;
}) {
  return (
    <>
      <header class="page-head">
        <div>
          <h1 tabIndex={-1}>{title}</h1>
          {lead && <p class="lead">{lead}</p>}
        </div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

export function Card({ title, aside, children, wide }: {
  title?: string;
  aside?: ComponentChildren;
  children: ComponentChildren;
  wide?: boolean;
}) {
  return (
    <section class={wide ? "card wide" : "card"}>
      {title && (
        <header>
          <h2>{title}</h2>
          {aside}
        </header>
      )}
      {children}
    </section>
  );
}

export function Tile({ label, value, note, tone }: {
  label: string;
  value: string;
  note: ComponentChildren;
  tone?: "local" | "cloud" | "bad" | undefined;
}) {
  return (
    <div class={`tile ${tone ?? ""}`}>
      <dt>{label}</dt>
      <dd>
        <b>{value}</b>
        <span>{note}</span>
      </dd>
    </div>
  );
}

/** A state in a word, with a colour that only repeats it. */
export function Badge({ state, children }: { state: string; children?: ComponentChildren }) {
  return <span class={`badge ${state}`}>{children ?? words(state)}</span>;
}

/** A part of a whole; nothing known shows an empty track. */
export function Meter({ part, label, tone }: { part: number | null; label: string; tone?: string }) {
  const share = part === null ? 0 : Math.max(0, Math.min(1, part));
  return (
    <div
      class={`meter ${tone ?? ""}`}
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(share * 100)}
    >
      <i style={{ width: `${share * 100}%` }} />
    </div>
  );
}

const ORDER: [keyof WorkerStates, string][] = [
  ["running", "at work"],
  ["idle", "idle"],
  ["initializing", "starting"],
  ["throttled", "held back"],
  ["unhealthy", "broken"],
  ["stopping", "stopping"],
];

/** Workers by what they do, without the states that nobody is in. */
export function Workers({ states }: { states: WorkerStates }) {
  const seen = ORDER.filter(([state]) => states[state] > 0);
  if (seen.length === 0) return <span class="quiet">none</span>;
  return (
    <span class="workers">
      {seen.map(([state, word]) => (
        <span key={state} class={`badge ${state}`} title={count(states[state], "worker")}>
          {states[state]} {word}
        </span>
      ))}
    </span>
  );
}

export const workersOf = (states: WorkerStates): number =>
  states.initializing + states.idle + states.running + states.throttled + states.unhealthy + states.stopping;
