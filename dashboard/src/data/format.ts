// Numbers as people read them.

/** Billionths of a dollar; small amounts keep the digits that matter. */
export function money(nanos: number): string {
  const dollars = nanos / 1e9;
  const size = Math.abs(dollars);
  if (size === 0) return "$0.00";
  if (size < 0.00005) return "under $0.0001";
  const digits = size < 0.1 ? 4 : 2;
  return dollars.toLocaleString("en-US", {
    style: "currency",
    currency: "USD",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** A length of time in milliseconds. */
export function span(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1_000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} days`;
}

/** A length as the configuration writes it: 90s, 2m, 1500ms. */
export function duration(ms: number): string {
  const units: [number, string][] = [[3_600_000, "h"], [60_000, "m"], [1_000, "s"]];
  const unit = units.find(([length]) => ms > 0 && ms % length === 0);
  if (unit) return `${ms / unit[0]}${unit[1]}`;
  return ms === 0 ? "0s" : `${ms}ms`;
}

/** How long ago, or how soon. */
export function ago(at: number, now: number): string {
  const passed = now - at;
  if (Math.abs(passed) < 2_000) return "just now";
  const whole = (ms: number) => (ms < 60_000 ? `${Math.floor(ms / 1_000)} s` : span(ms));
  return passed > 0 ? `${whole(passed)} ago` : `in ${whole(-passed)}`;
}

export function clock(at: number): string {
  return new Date(at).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
}

export function date(at: number): string {
  return new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
}

/** Memory of a card, in the unit that its maker means: 24 GiB. */
export const memory = (count: number): string => `${(count / 2 ** 30).toFixed(1)} GiB`;

export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = count;
  let unit = 0;
  while (size >= 1_000 && unit < units.length - 1) {
    size /= 1_000;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit] ?? "B"}`;
}

/** `1 job`, `2 jobs`. */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString("en-US")} ${n === 1 ? one : many}`;
}

/** A long id, short enough for a table. */
export function short(id: string): string {
  return id.length > 18 ? `${id.slice(0, 8)}…${id.slice(-6)}` : id;
}

/** `cloud_unavailable` → `cloud unavailable`. */
export const words = (code: string): string => code.replaceAll("_", " ");

/** Somebody else's text, with what could turn or hide other text made visible. */
export function inert(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, (sign) => {
    return `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
