// Where the reader is: the part of the address after `#`.

import { computed, signal } from "@preact/signals";

const hash = signal(window.location.hash);
window.addEventListener("hashchange", () => {
  hash.value = window.location.hash;
});

export interface Route {
  /** `["jobs", "ID"]`; empty on the first page. */
  path: string[];
  query: URLSearchParams;
}

export const route = computed<Route>(() => {
  const [path = "", query = ""] = hash.value.replace(/^#\/?/, "").split("?", 2);
  return {
    path: path.split("/").filter(Boolean).map(decodeURIComponent),
    query: new URLSearchParams(query),
  };
});

export function href(path: string[], query: Record<string, string> = {}): string {
  const wanted = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ""));
  const text = wanted.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export function go(path: string[], query: Record<string, string> = {}): void {
  window.location.hash = href(path, query);
}
