// Buttons that change something: they say that they work, what came of it, and ask first where it hurts.

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, may } from "../data/api";

/** Does something and says how it went. */
export function Act({ label, busy, ask, scope, tone, act, done }: {
  label: string;
  /** What the button says meanwhile. */
  busy: string;
  /** Asked before, in a dialog; nothing is asked without it. */
  ask?: string;
  /** The right that it needs: without it there is no button. */
  scope: string;
  tone?: "primary" | "danger" | "plain";
  act: () => Promise<unknown>;
  done?: () => void;
}) {
  const [isBusy, setBusy] = useState(false);
  const [isAsking, setAsking] = useState(false);
  const [said, setSaid] = useState("");
  if (!may(scope)) return null;
  const run = async () => {
    setBusy(true);
    setSaid("");
    try {
      await act();
      done?.();
    } catch (error) {
      setSaid(error instanceof ApiError ? `${error.message}. ${error.hint ?? ""}` : String(error));
    }
    setBusy(false);
  };
  return (
    <span class="act">
      <button type="button" class={tone ?? ""} disabled={isBusy} onClick={() => (ask ? setAsking(true) : void run())}>
        {isBusy ? busy : label}
      </button>
      {said && <span class="error" role="alert">{said}</span>}
      {isAsking && ask && (
        <Ask
          question={ask}
          yes={label}
          answer={(isYes) => {
            setAsking(false);
            if (isYes) void run();
          }}
        />
      )}
    </span>
  );
}

function Ask({ question, yes, answer }: { question: string; yes: string; answer: (isYes: boolean) => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-label={question} onCancel={() => answer(false)}>
      <p>{question}</p>
      <div class="actions">
        <button type="button" onClick={() => answer(false)}>
          No, leave it
        </button>
        <button type="button" class="danger" onClick={() => answer(true)}>
          {yes}
        </button>
      </div>
    </dialog>
  );
}
