// Light or dark: as the system says, unless the reader chose.

import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "overspill-theme";

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system";
  }
}

export const theme = signal<Theme>(stored());
const wantsDark = window.matchMedia("(prefers-color-scheme: dark)");
/** Changes whenever colours do, so that charts are drawn anew. */
export const isDark = signal(wantsDark.matches);

effect(() => {
  const chosen = theme.value;
  document.documentElement.dataset["theme"] = chosen;
  isDark.value = chosen === "system" ? wantsDark.matches : chosen === "dark";
  try {
    if (chosen === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, chosen);
  } catch {
    // A browser that keeps nothing still shows it until it is closed.
  }
});
wantsDark.addEventListener("change", () => {
  if (theme.value === "system") isDark.value = wantsDark.matches;
});
