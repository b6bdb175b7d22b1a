// One job with everything that happened to it.

import { call } from "../data/api";
import { bytes, date, inert, money, span, words } from "../data/format";
import { useLoad } from "../data/load";
import { now, overview } from "../data/live";
import type { Attempt, Preview, Story, Why } from "../data/types";
import { Act } from "../ui/act";
import { Badge, Card, Page } from "../ui/parts";
import { href } from "../ui/route";
import { Empty, Failed, Loading } from "../ui/states";
import { WhyLines } from "../ui/why";

const isOver = (job: Story): boolean => job.status !== "queued" && job.status !== "running";

/** About what an attempt cost, by the pool's price; null for cards of this machine. */
function cost(job: Story, attempt: Attempt): number | null {
  const endpoint = overview.value?.endpoints.find((line) => line.name === job.endpoint);
  const pool = endpoint?.pools.find((line) => line.name === attempt.pool);
  const price = pool?.cloud?.price_nano_usd_per_hour;
  if (!pool || !price || attempt.started_at_ms === null) return null;
  const length = (attempt.ended_at_ms ?? now()) - attempt.started_at_ms;
  return (price * length) / 3_600_000 / pool.slots_per_worker;
}

/** What a job cost by the ledger; before that says so, about what it will be. */
function costOf(job: Story): string {
  const { spent_nano_usd: spent, saved_nano_usd: saved, electricity_nano_usd: electricity } = job.cost;
  const guesses = job.attempts.map((attempt) => cost(job, attempt)).filter((amount) => amount !== null);
  const guess = guesses.reduce((sum, amount) => sum + amount, 0);
  const cloud = spent > 0 ? money(spent) : guess > 0 ? `about ${money(guess)}` : null;
  const here = electricity > 0 ? `about ${money(electricity)} of electricity` : null;
  const costs = [cloud, here].filter((part) => part !== null).join(" and ") || (job.attempts.length > 0 ? "nothing: your own card" : "nothing yet");
  return saved > 0 ? `${costs}; ${money(saved)} saved` : costs;
}

function WhyCard({ job }: { job: Story }) {
  const path = `/api/v1/why/job/${encodeURIComponent(job.id)}`;
  const { data, error, again } = useLoad<Why>(path, isOver(job) ? 0 : 2_000);
  const title = job.status === "queued" ? "Why it waits" : "Why";
  return (
    <Card title={title} wide aside={<a href={href(["decisions"], { endpoint: job.endpoint })}>Decisions</a>}>
      {error && !data ? <Failed error={error} again={again} /> : !data ? <Loading what="the causes" /> : <WhyLines why={data} at={now()} />}
    </Card>
  );
}

function Attempts({ job }: { job: Story }) {
  const begin = job.submitted_at_ms;
  const end = Math.max(job.ended_at_ms ?? now(), begin + 1);
  const part = (at: number) => `${Math.min(100, Math.max(0, ((at - begin) / (end - begin)) * 100))}%`;
  return (
    <Card title="What happened" wide>
      <ol class="attempts">
        <li>
          <div class="attempt-head"><b>Came in</b><span class="quiet">{date(begin)}</span></div>
        </li>
        {job.attempts.map((attempt) => {
          const stop = attempt.ended_at_ms ?? end;
          const start = attempt.started_at_ms ?? attempt.leased_at_ms;
          const about = cost(job, attempt);
          return (
            <li key={`${attempt.generation}.${attempt.number}`}>
              <div class="attempt-head">
                <b>Attempt {attempt.number}{attempt.generation > 0 ? `, retry ${attempt.generation}` : ""}</b>
                <Badge state={attempt.outcome} />
                <span>on {attempt.pool || "a pool that is gone"}{[attempt.gpu, attempt.region].filter(Boolean).map((part) => ` · ${part}`)}{attempt.worker ? <> · <span class="mono">{inert(attempt.worker)}</span></> : null}</span>
                <span class="quiet">
                  {attempt.started_at_ms !== null ? `ran ${span(stop - attempt.started_at_ms)}` : `handed over ${span(stop - attempt.leased_at_ms)} ago`}
                  {about !== null ? `, about ${money(about)}` : ""}
                  {attempt.because_text ? `; that pool because ${attempt.because_text}` : ""}
                </span>
              </div>
              {attempt.generation === 0 && (
                <div class="bar" aria-hidden="true">
                  <i class={about !== null ? "cloud" : "local"} style={{ marginLeft: part(start), width: `calc(${part(stop)} - ${part(start)})` }} />
                </div>
              )}
            </li>
          );
        })}
        {isOver(job) && job.ended_at_ms !== null && (
          <li>
            <div class="attempt-head"><b>Ended</b><Badge state={job.status} /><span class="quiet">{date(job.ended_at_ms)}</span></div>
          </li>
        )}
      </ol>
    </Card>
  );
}

function Payload({ id, which, title }: { id: string; which: "input" | "output"; title: string }) {
  const path = `/api/v1/jobs/${encodeURIComponent(id)}/${which}`;
  const { data, error, again } = useLoad<Preview>(`${path}?preview=1`);
  return (
    <Card title={title} aside={data && <a href={path} download={`${id}-${which}.json`}>Save ({bytes(data.bytes)})</a>}>
      {error && (error.code === "payload_missing" ? <Empty title={which === "output" ? "It ended without an output" : "The input is no longer kept"} /> : <Failed error={error} again={again} />)}
      {!data && !error && <Loading what={which} />}
      {data && (
        <>
          {data.media.length > 0 && (
            <ul class="media">
              {data.media.map((medium, n) => {
                const source = `${path}?media=${encodeURIComponent(medium.pointer)}`;
                const what = `${medium.media_type} at ${medium.pointer || "the top"}, ${bytes(medium.bytes)}`;
                const name = `${n + 1} of the ${which}`;
                return (
                  <li key={medium.pointer}>
                    {medium.media_type.startsWith("image/") && <img src={source} alt={`Picture ${name}`} loading="lazy" />}
                    {medium.media_type.startsWith("audio/") && <audio controls preload="metadata" src={source} aria-label={`Sound ${name}`} />}
                    {medium.media_type.startsWith("video/") && <video controls preload="metadata" src={source} aria-label={`Film ${name}`} />}
                    <span class="quiet">{what}</span>
                  </li>
                );
              })}
            </ul>
          )}
          {data.links.length > 0 && (
            <ul class="links">
              {data.links.map((link) => (
                <li key={link}><a href={link} target="_blank" rel="noopener noreferrer">{link}</a></li>
              ))}
            </ul>
          )}
          <pre tabIndex={0} aria-label={`${title}, as text`}>{inert(data.text)}</pre>
          {data.is_cut && <p class="quiet">Long parts are cut here; the saved file has all of it.</p>}
        </>
      )}
    </Card>
  );
}

export function JobPage({ id }: { id: string }) {
  const path = `/api/v1/jobs/${encodeURIComponent(id)}`;
  const { data: job, error, again } = useLoad<Story>(path, 2_000);
  if (!job) {
    return (
      <Page title="Job" lead={<span class="mono">{id}</span>}>
        {error ? <Failed error={error} again={again} /> : <Loading what="the job" />}
      </Page>
    );
  }
  const act = (verb: string) => () => call("POST", `/v2/${encodeURIComponent(job.endpoint)}/${verb}/${encodeURIComponent(id)}`);
  return (
    <Page
      title="Job"
      lead={<><Badge state={job.status} /> <span class="mono">{job.id}</span></>}
      actions={
        <>
          {!isOver(job) && (
            <Act label="Cancel the job" busy="Cancelling…" scope="jobs:cancel" tone="danger" ask="Cancel this job? What it did so far is lost." act={act("cancel")} done={again} />
          )}
          {(job.status === "failed" || job.status === "timed_out") && (
            <Act label="Run it again" busy="Queueing…" scope="jobs:submit" tone="primary" act={act("retry")} done={again} />
          )}
        </>
      }
    >
      <dl class="facts-row">
        <div><dt>Endpoint</dt><dd><a href={href(["jobs"], { endpoint: job.endpoint })}>{job.endpoint}</a></dd></div>
        <div><dt>Waited</dt><dd>{span(job.delay_ms ?? (isOver(job) ? null : now() - job.submitted_at_ms))}</dd></div>
        <div><dt>Ran</dt><dd>{span(job.execution_ms)}</dd></div>
        <div><dt>Where</dt><dd>{job.pool ?? "–"}</dd></div>
        {job.region && <div><dt>Caller in</dt><dd>{job.region}</dd></div>}
        <div><dt>Cost</dt><dd>{costOf(job)}</dd></div>
        <div><dt>Attempts</dt><dd>{job.attempts.length}</dd></div>
        {job.webhook && <div><dt>Reported to</dt><dd class="mono">{job.webhook}</dd></div>}
      </dl>
      <div class="grid">
        {job.error && (
          <Card title={`What went wrong${job.error_code ? `: ${words(job.error_code)}` : ""}`} wide>
            <pre class="failed" tabIndex={0} aria-label="The error">{inert(job.error.length > 8_000 ? `${job.error.slice(0, 8_000)}…` : job.error)}</pre>
          </Card>
        )}
        <WhyCard key={job.status} job={job} />
        <Attempts job={job} />
        {job.status === "completed" && <Payload id={job.id} which="output" title="Output" />}
        <Payload id={job.id} which="input" title="Input" />
      </div>
    </Page>
  );
}
