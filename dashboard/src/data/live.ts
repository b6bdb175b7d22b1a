// What the server says once a second, as signals.

import { effect, signal } from "@preact/signals";
import { ApiError, get, readSession, session } from "./api";
import type { Decision, Overview, Sample } from "./types";

/** The newest overview; null before the first. */
export const overview = signal<Overview | null>(null);
/** The last hour, oldest first. */
export const samples = signal<Sample[]>([]);
/** Decisions that came in while the page is open, newest first. */
export const decisions = signal<Decision[]>([]);
/** How the connection is. */
export const link = signal<"connecting" | "live" | "offline" | "refused">("connecting");
/** Why the server refuses, in words. */
export const refusal = signal<string>("");
/** Why nothing comes from it; null while it is live. */
export const fault = signal<ApiError | null>(null);
/** The server's clock less this machine's, in milliseconds: ages are told by the server's. */
export const clockAhead = signal(0);

const HOUR = 3_600_000;
/** The server speaks once a second; silence for this long means that the line is dead. */
const SILENCE_MAX = 6_000;

let source: EventSource | null = null;
let watchdog: number | undefined;
let retry: number | undefined;

function close(): void {
  source?.close();
  source = null;
  window.clearTimeout(watchdog);
  window.clearTimeout(retry);
}

function offline(error?: ApiError): void {
  close();
  fault.value = error ?? fault.value ?? new ApiError(0, "offline", "the server cannot be reached", "check that it runs; this page tries again by itself");
  if (link.value !== "refused") link.value = "offline";
  retry = window.setTimeout(() => void open(), 2_000);
}

function listen(): void {
  window.clearTimeout(watchdog);
  watchdog = window.setTimeout(() => offline(), SILENCE_MAX);
}

async function open(): Promise<void> {
  close();
  try {
    const read = (minutes: number) => get<{ samples: Sample[] }>(`/api/v1/series?minutes=${minutes}`);
    const [hour, last] = await Promise.all([read(60), read(5)]);
    // The last minutes second by second, what was before drawn together.
    const from = last.samples[0]?.at_ms ?? Number.POSITIVE_INFINITY;
    samples.value = [...hour.samples.filter((sample) => sample.at_ms < from), ...last.samples];
    const recent = await get<{ decisions: Decision[] }>("/api/v1/decisions?limit=50");
    decisions.value = recent.decisions;
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) {
      link.value = "refused";
      refusal.value = `${error.message}. ${error.hint ?? ""}`;
      return;
    }
    offline(error instanceof ApiError ? error : new ApiError(0, "unknown", String(error), null));
    return;
  }
  if (!session.value?.signed_in) return;
  source = new EventSource("/api/v1/live");
  listen();
  source.addEventListener("overview", (event) => {
    listen();
    const data = JSON.parse((event as MessageEvent<string>).data) as { overview: Overview; decisions: Decision[] };
    take(data.overview, data.decisions);
  });
  source.onerror = () => {
    // A refused stream ends for good, a broken one is opened again: both by us, after a look at the session.
    readSession().catch(() => undefined);
    offline();
  };
}

function take(now: Overview, news: Decision[]): void {
  link.value = "live";
  fault.value = null;
  clockAhead.value = now.at_ms - Date.now();
  overview.value = now;
  const old = samples.value;
  const last = old[old.length - 1];
  if (!last || now.sample.at_ms > last.at_ms) {
    const from = now.sample.at_ms - HOUR;
    const first = old.findIndex((sample) => sample.at_ms >= from);
    samples.value = [...(first > 0 ? old.slice(first) : old), now.sample];
  }
  if (news.length > 0) {
    const newest = decisions.value[0]?.number ?? 0;
    // After a restart of the server, numbers begin again.
    const isFresh = now.last_decision < newest;
    const known = isFresh ? [] : decisions.value;
    const added = news.filter((line) => isFresh || line.number > newest);
    decisions.value = [...added, ...known].slice(0, 200);
  }
}

/** Follows the server for as long as someone is signed in. */
export function follow(): void {
  effect(() => {
    if (session.value?.signed_in) {
      void open();
    } else {
      close();
      overview.value = null;
      samples.value = [];
      decisions.value = [];
      fault.value = null;
      link.value = "connecting";
    }
  });
}

/** Asks again at once, not only after the pause. */
export const openNow = (): void => void open();

/** The server's time. */
export const now = (): number => Date.now() + clockAhead.peek();
