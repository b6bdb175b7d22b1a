// Reading something once, and again when asked, with its states.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get } from "./api";
import { link } from "./live";

export interface Loaded<T> {
  data: T | null;
  error: ApiError | null;
  /** Reads it again. */
  again: () => void;
}

/** Reads `path`; anew when it changes, every `period` milliseconds while the page is seen, and after an error once the server is back. */
export function useLoad<T>(path: string | null, period = 0): Loaded<T> {
  const [data, setData] = useState<T | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [turn, setTurn] = useState(0);
  const shown = useRef<string | null>(null);
  useEffect(() => {
    if (path === null) return;
    if (shown.current !== path) {
      shown.current = path;
      setData(null);
      setError(null);
    }
    let isOver = false;
    get<T>(path).then(
      (answer) => {
        if (isOver) return;
        setData(answer);
        setError(null);
      },
      (reason: unknown) => {
        if (!isOver) setError(reason instanceof ApiError ? reason : new ApiError(0, "unknown", String(reason), null));
      },
    );
    return () => {
      isOver = true;
    };
  }, [path, turn]);
  useEffect(() => {
    if (period <= 0) return;
    const timer = window.setInterval(() => {
      if (!document.hidden) setTurn((n) => n + 1);
    }, period);
    return () => window.clearInterval(timer);
  }, [period]);
  const again = useCallback(() => setTurn((n) => n + 1), []);
  const hasFailed = useRef(false);
  hasFailed.current = error !== null;
  useEffect(() => link.subscribe((state) => {
    if (state === "live" && hasFailed.current) again();
  }), [again]);
  return { data, error, again };
}
