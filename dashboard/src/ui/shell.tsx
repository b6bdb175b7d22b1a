// The frame around every page: where one can go, how the connection is, who is signed in.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { may, session, signOut } from "../data/api";
import { fault, link, overview, refusal } from "../data/live";
import { href, route } from "./route";
import { type Theme, theme } from "./theme";

export interface Place {
  name: string;
  title: string;
  /** The path of an icon of 20 by 20. */
  icon: string;
  scope?: string;
}

function Connection() {
  const words = {
    connecting: "Connecting…",
    live: "Live",
    offline: fault.value && fault.value.status > 0 ? "Trouble at the server – trying again" : "No connection – trying again",
    refused: "This key may not see it",
  };
  return (
    <p class={`link ${link.value}`} role="status">
      <i aria-hidden="true" />
      {words[link.value]}
    </p>
  );
}

function ThemeChoice() {
  const next: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
  const words = { system: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };
  return (
    <button type="button" class="plain" onClick={() => (theme.value = next[theme.value])}>
      {words[theme.value]}
    </button>
  );
}

export function Shell({ places, children }: { places: Place[]; children: ComponentChildren }) {
  const [isOpen, setOpen] = useState(false);
  const main = useRef<HTMLElement>(null);
  const here = route.value.path[0] ?? "";
  const seen = places.filter((place) => !place.scope || may(place.scope));
  useEffect(() => setOpen(false), [here]);
  useEffect(() => {
    const place = places.find((p) => p.name === here);
    document.title = place ? `${place.title} · Overspill` : "Overspill";
  }, [here]);
  useEffect(() => {
    if (!isOpen) return;
    const close = (event: KeyboardEvent) => event.key === "Escape" && setOpen(false);
    window.addEventListener("keydown", close);
    return () => window.removeEventListener("keydown", close);
  }, [isOpen]);
  return (
    <div class="shell">
      <a class="skip" href="#main" onClick={(event) => {
        event.preventDefault();
        main.current?.focus();
      }}>
        Skip to the page
      </a>
      <aside class={isOpen ? "side open" : "side"}>
        <div class="brand">
          <svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
            <rect width="32" height="32" rx="8" class="brand-ground" />
            <path d="M7 13v6a6 6 0 0 0 6 6h4a6 6 0 0 0 6-6v-6" class="brand-bowl" />
            <path d="M15 17v-5a4 4 0 0 1 4-4h2" class="brand-spill" />
            <circle cx="24.5" cy="8" r="1.9" class="brand-drop" />
          </svg>
          <strong>Overspill</strong>
          <button type="button" class="menu" aria-expanded={isOpen} aria-controls="places" onClick={() => setOpen(!isOpen)}>
            {isOpen ? "Close" : "Menu"}
          </button>
        </div>
        <div class="fold" id="places">
          <nav aria-label="Pages">
            <ul>
              {seen.map((place) => (
                <li key={place.name}>
                  <a href={href(place.name ? [place.name] : [])} aria-current={here === place.name ? "page" : undefined}>
                    <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
                      <path d={place.icon} />
                    </svg>
                    {place.title}
                  </a>
                </li>
              ))}
            </ul>
          </nav>
          <div class="foot">
            <Connection />
            <ThemeChoice />
            {session.value?.auth_required && (
              <button type="button" class="plain" onClick={() => void signOut()}>
                Sign out{session.value.name ? ` (${session.value.name})` : ""}
              </button>
            )}
          </div>
        </div>
      </aside>
      <main id="main" ref={main} tabIndex={-1}>
        {link.value === "offline" && (
          <p class="banner" role="alert">
            {fault.value && fault.value.status > 0 ? `The server answers, but with an error: ${fault.value.message}.` : "The server cannot be reached."} {overview.value ? "What you see is what it said last; jobs and workers go on without this page." : ""}
          </p>
        )}
        {link.value === "refused" && <p class="banner" role="alert">{refusal.value}</p>}
        {children}
      </main>
    </div>
  );
}
