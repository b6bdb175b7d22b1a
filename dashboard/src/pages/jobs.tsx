// Every job, newest first.

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get } from "../data/api";
import { ago, count, short, span } from "../data/format";
import { now, overview } from "../data/live";
import type { Job, JobStatus } from "../data/types";
import { List } from "../ui/list";
import { Badge, Page } from "../ui/parts";
import { go, href, route } from "../ui/route";
import { Empty, Failed, Loading } from "../ui/states";

const STATES: JobStatus[] = ["queued", "running", "completed", "failed", "cancelled", "timed_out"];
const PAGE = 500;
/** Looks at the newest page this often while the top of the list is in sight. */
const PERIOD = 2_000;

interface Answer { jobs: Job[]; next: string | null }

/** The newest page put before what is known: newer lines win. */
export function merged(known: Job[], newest: Job[]): Job[] {
  const last = newest[newest.length - 1];
  if (!last) return newest;
  const ids = new Set(newest.map((job) => job.id));
  const at = known.findIndex((job) => job.id === last.id);
  // Nothing in common: there may be a gap between them, so what was known is dropped.
  if (at < 0) return newest;
  return [...newest, ...known.slice(at + 1).filter((job) => !ids.has(job.id))];
}

export function Jobs() {
  const query = route.value.query;
  const endpoint = query.get("endpoint") ?? "";
  const status = query.get("status") ?? "";
  const [jobs, setJobs] = useState<Job[] | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [isTop, setTop] = useState(true);
  const next = useRef<string | null>(null);
  const isReading = useRef(false);
  const turn = useRef(0);
  const path = (after: string | null, limit: number) => {
    const wanted = new URLSearchParams({ limit: String(limit) });
    if (endpoint) wanted.set("endpoint", endpoint);
    if (status) wanted.set("status", status);
    if (after) wanted.set("after", after);
    return `/api/v1/jobs?${wanted.toString()}`;
  };

  const read = async (how: "anew" | "more" | "newest") => {
    if (isReading.current && how !== "anew") return;
    if (how === "more" && next.current === null) return;
    const mine = turn.current;
    isReading.current = true;
    try {
      const answer = await get<Answer>(path(how === "more" ? next.current : null, how === "newest" ? 100 : PAGE));
      if (mine !== turn.current) return;
      setError(null);
      if (how !== "newest") next.current = answer.next;
      setJobs((known) => {
        if (how === "anew" || !known) return answer.jobs;
        if (how === "more") return [...known, ...answer.jobs];
        const all = merged(known, answer.jobs);
        // Dropped what was known: what follows is read anew from here.
        if (all === answer.jobs && answer.next) next.current = answer.next;
        return all;
      });
    } catch (reason) {
      if (mine === turn.current && reason instanceof ApiError) setError(reason);
    } finally {
      if (mine === turn.current) isReading.current = false;
    }
  };

  useEffect(() => {
    turn.current += 1;
    next.current = null;
    setJobs(null);
    setError(null);
    void read("anew");
  }, [endpoint, status]);
  useEffect(() => {
    if (!isTop) return;
    const timer = window.setInterval(() => {
      if (!document.hidden) void read("newest");
    }, PERIOD);
    return () => window.clearInterval(timer);
  }, [isTop, endpoint, status]);

  const names = overview.value?.endpoints.map((line) => line.name) ?? [];
  const choose = (wanted: { endpoint?: string; status?: string }) => go(["jobs"], { endpoint, status, ...wanted });
  const at = now();
  return (
    <Page
      title="Jobs"
      lead={jobs ? `${count(jobs.length, "job")}${next.current ? " so far; scroll for older ones" : ""}` : "Every job, newest first"}
      actions={
        <>
          <label class="pick">
            <span>Endpoint</span>
            <select value={endpoint} onChange={(event) => choose({ endpoint: event.currentTarget.value })}>
              <option value="">all</option>
              {names.map((name) => (
                <option key={name} value={name}>{name}</option>
              ))}
            </select>
          </label>
          <label class="pick">
            <span>State</span>
            <select value={status} onChange={(event) => choose({ status: event.currentTarget.value })}>
              <option value="">any</option>
              {STATES.map((state) => (
                <option key={state} value={state}>{state.replace("_", " ")}</option>
              ))}
            </select>
          </label>
        </>
      }
    >
      {error && <Failed error={error} again={() => void read("anew")} />}
      {!jobs && !error && <Loading what="jobs" />}
      {jobs && jobs.length === 0 && (
        <Empty title="No such job">
          {endpoint || status ? <a href={href(["jobs"])}>Show all jobs</a> : <>Send one: <code>overspill run ENDPOINT --input '&#123;…&#125;'</code></>}
        </Empty>
      )}
      {jobs && jobs.length > 0 && (
        <List
          label="Jobs"
          items={jobs}
          rowHeight={46}
          keyOf={(job) => job.id}
          nearEnd={() => void read("more")}
          onTop={setTop}
          head={
            <>
              <span role="columnheader" class="c-id">Job</span>
              <span role="columnheader" class="c-state">State</span>
              <span role="columnheader" class="c-endpoint">Endpoint</span>
              <span role="columnheader" class="c-pool">Ran on</span>
              <span role="columnheader" class="c-num">Waited</span>
              <span role="columnheader" class="c-num">Ran</span>
              <span role="columnheader" class="c-when">Came in</span>
            </>
          }
          row={(job) => (
            <>
              <span role="cell" class="c-id">
                <a class="mono" href={href(["jobs", job.id])} title={job.id}>{short(job.id)}</a>
              </span>
              <span role="cell" class="c-state"><Badge state={job.status} /></span>
              <span role="cell" class="c-endpoint">{job.endpoint}</span>
              <span role="cell" class="c-pool quiet">{job.pool ?? "–"}</span>
              <span role="cell" class="c-num">{span(job.delay_ms)}</span>
              <span role="cell" class="c-num">{span(job.execution_ms)}</span>
              <span role="cell" class="c-when quiet">{ago(job.submitted_at_ms, at)}</span>
            </>
          )}
        />
      )}
    </Page>
  );
}
