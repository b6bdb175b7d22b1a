// What is shown where there is nothing to show, or not yet.

import type { ComponentChildren } from "preact";
import type { ApiError } from "../data/api";

export function Loading({ what }: { what: string }) {
  return (
    <div class="state" role="status">
      <span class="spinner" aria-hidden="true" />
      Reading {what}…
    </div>
  );
}

export function Failed({ error, again }: { error: ApiError; again?: () => void }) {
  return (
    <div class="state failed" role="alert">
      <strong>That did not work: {error.message}.</strong>
      {error.hint && <span>{error.hint}</span>}
      {again && (
        <button type="button" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="state empty">
      <strong>{title}</strong>
      {children && <span>{children}</span>}
    </div>
  );
}
