// Calls of the management API with the browser's session.

import { signal } from "@preact/signals";
import type { Session } from "./types";

/** Who is signed in; null until that is known. */
export const session = signal<Session | null>(null);

/** An error as the server words it. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string | null,
  ) {
    super(message);
  }
}

interface Problem { detail?: string; error?: string; title?: string; code?: string; hint?: string }

/** Sends a request and reads its answer; a 401 signs out. */
export async function call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
  const all: Record<string, string> = { ...headers };
  if (body !== undefined) all["content-type"] = "application/json";
  const csrf = session.value?.csrf;
  if (csrf && method !== "GET") all["x-overspill-csrf"] = csrf;
  const init: RequestInit = { method, headers: all, credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) init.body = JSON.stringify(body);
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch {
    throw new ApiError(0, "offline", "the server cannot be reached", "check that it runs; this page tries again by itself");
  }
  const text = await answer.text();
  if (answer.ok) return (text ? JSON.parse(text) : null) as T;
  let problem: Problem = {};
  try {
    problem = JSON.parse(text) as Problem;
  } catch {
    // A proxy between us may answer in words of its own.
  }
  if (answer.status === 401 && !headers["authorization"]) void readSession();
  const message = problem.detail ?? problem.error ?? problem.title ?? `the server answered ${answer.status}`;
  throw new ApiError(answer.status, problem.code ?? "unknown", message, problem.hint ?? null);
}

export const get = <T>(path: string): Promise<T> => call<T>("GET", path);

/** Asks who is signed in. */
export async function readSession(): Promise<void> {
  session.value = await call<Session>("GET", "/api/v1/session");
}

/** Begins a session with a key; the key itself is not kept. */
export async function signIn(key: string): Promise<void> {
  session.value = await call<Session>("POST", "/api/v1/session", undefined, { authorization: `Bearer ${key}` });
}

export async function signOut(): Promise<void> {
  try {
    await call("DELETE", "/api/v1/session");
  } finally {
    await readSession();
  }
}

/** Whether the signed-in key may do this. */
export function may(scope: string): boolean {
  const scopes = session.value?.scopes ?? [];
  return scopes.includes("admin") || scopes.includes(scope);
}
