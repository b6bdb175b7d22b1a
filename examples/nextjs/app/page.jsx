"use client";

import { useEffect, useRef, useState } from "react";

const WORDS = {
  queued: "waits for a worker",
  running: "is being made",
  completed: "is done",
  failed: "failed",
  cancelled: "was cancelled",
  timed_out: "took too long",
};

export default function Page() {
  const [job, setJob] = useState(null);
  const [error, setError] = useState(null);
  const source = useRef(null);

  useEffect(() => () => source.current?.close(), []);

  function change(part) {
    setJob((before) => ({ ...before, ...part }));
  }

  // The browser reads the job's events from Overspill itself, by a token for this one job. It reconnects by
  // itself when the connection is lost, or the server restarts; each event says the whole state again.
  function listen(id, { events, output }) {
    source.current?.close();
    const stream = new EventSource(events);
    source.current = stream;
    stream.addEventListener("status", ({ data }) => change({ status: JSON.parse(data).status }));
    stream.addEventListener("progress", ({ data }) => {
      const { progress } = JSON.parse(data);
      if (typeof progress?.percent === "number") change({ percent: progress.percent });
    });
    stream.addEventListener("end", async ({ data }) => {
      stream.close();
      const end = JSON.parse(data);
      change({ status: end.status, error: end.error });
      if (end.status !== "completed") return;
      const answer = await fetch(output);
      if (answer.ok) change({ percent: 100, output: await answer.json() });
    });
    stream.addEventListener("token_expired", async () => {
      stream.close();
      const answer = await fetch(`/api/jobs/${id}/token`, { method: "POST" });
      if (answer.ok) listen(id, await answer.json());
    });
  }

  async function submit(event) {
    event.preventDefault();
    setError(null);
    setJob(null);
    const prompt = new FormData(event.currentTarget).get("prompt");
    const answer = await fetch("/api/jobs", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt }),
    });
    const made = await answer.json();
    if (!answer.ok) return setError(made.error);
    setJob({ id: made.id, status: "queued", percent: 0 });
    listen(made.id, made);
  }

  return (
    <>
      <h1>Pictures</h1>
      <form onSubmit={submit}>
        <input name="prompt" aria-label="Prompt" placeholder="a quiet sea" required maxLength={500} />
        <button>Make</button>
      </form>
      {error && <p role="alert">{error}</p>}
      {job && (
        <section aria-live="polite" data-job={job.id}>
          <p>
            Your picture {WORDS[job.status] ?? job.status}.{job.error && ` ${job.error}`}
          </p>
          <progress max={100} value={job.percent} aria-label="Progress" />
          {job.output?.picture && <img src={job.output.picture} alt={job.output.prompt} />}
        </section>
      )}
    </>
  );
}
