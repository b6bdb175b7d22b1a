// What the management API answers (docs/reference/api.md). Times are milliseconds since 1970, money
// is billionths of a dollar.

export interface Percentiles { p50_ms: number; p95_ms: number; p99_ms: number }

export interface Recent {
  completed: number;
  failed: number;
  wait: Percentiles | null;
  run: Percentiles | null;
}

export interface WorkerStates {
  initializing: number;
  idle: number;
  running: number;
  throttled: number;
  unhealthy: number;
  stopping: number;
}

export interface CloudSide {
  runpod_endpoint: string;
  region: string | null;
  gpu: string | null;
  passed_over_until_ms: number | null;
  wanted: number;
  max: number | null;
  price_nano_usd_per_hour: number | null;
  nano_usd_per_hour: number;
  reserved_nano_usd: number;
  failures: number;
  resumes_at_ms: number | null;
}

export interface Pool {
  name: string;
  kind: "local" | "cloud";
  workers: WorkerStates;
  slots_per_worker: number;
  running: number;
  waiting: number;
  cloud: CloudSide | null;
}

export interface NamedWorker {
  id: string;
  jobs: string[];
  device?: number;
  state?: "initializing" | "idle" | "running" | "stopping";
  started_at_ms?: number;
  pid?: number | null;
  results?: number;
}

export interface PoolWithWorkers extends Pool {
  endpoint: string;
  named_workers: NamedWorker[];
}

export interface Ended { completed: number; failed: number; cancelled: number; timed_out: number }

export interface Endpoint {
  name: string;
  min: number;
  max: number;
  schedule: { min: number; opens_at_ms: number; closes_at_ms: number } | null;
  limits_changed: { by: string; at_ms: number; file_min: number; file_max: number } | null;
  policy: string;
  scaler_changed: { by: string; at_ms: number } | null;
  max_wait_ms: number;
  max_wait_changed: { by: string; at_ms: number } | null;
  queued: number;
  running: number;
  oldest_wait_ms: number | null;
  workers: WorkerStates;
  pools: Pool[];
  recent: Recent;
  ended: Ended;
}

/** The scaling rule in force, in the words of the configuration: `policy`, and what that one has. */
export interface Scaler {
  policy: string;
  wait_share?: number;
  lateness_price?: number;
  min_idle?: string;
  queue_delay?: string;
  request_count?: number;
}

export interface Device {
  id: number;
  name: string;
  is_nominal: boolean;
  jobs: number;
  workers: number;
  memory_bytes: number | null;
  memory_used_bytes: number | null;
  busy_percent: number | null;
  temperature_c: number | null;
  power_mw: number | null;
  quarantine: Quarantine | null;
}

/** Why a card must not be used. */
export interface Quarantine {
  fault: string;
  detail: string;
  since_ms: number;
  well_since_ms: number | null;
}

export interface Money {
  nano_usd_per_hour: number;
  reserved_nano_usd: number;
  today_nano_usd: number;
  saved_today_nano_usd: number;
  total_nano_usd: number;
  saved_total_nano_usd: number;
  electricity_today_nano_usd: number;
  electricity_total_nano_usd: number;
}

export interface Sample {
  at_ms: number;
  queued: number;
  local: number;
  cloud: number;
  cloud_workers: number;
  oldest_wait_ms: number;
  nano_usd_per_hour: number;
  submitted: number;
  completed: number;
  failed: number;
}

/** What is wrong now with disk, clock or process. */
export interface Trouble {
  code: string;
  text: string;
}

/** A threshold that a cap has passed. */
export interface BudgetAlert {
  scope: "everything" | "endpoint" | "key";
  name: string | null;
  period: string;
  threshold_percent: number;
  ends_at_ms: number;
}

export interface Overview {
  number: number;
  at_ms: number;
  sample: Sample;
  queued: number;
  running: number;
  oldest_wait_ms: number | null;
  workers: WorkerStates;
  recent: Recent;
  ended: Ended;
  endpoints: Endpoint[];
  devices: Device[];
  money: Money;
  last_decision: number;
  troubles: Trouble[];
  budget_alerts: BudgetAlert[];
}

export interface Decision {
  number: number;
  at_ms: number;
  endpoint: string;
  pool: string | null;
  code: string;
  text: string;
  reason: Record<string, unknown>;
}

export interface Finding {
  code: string;
  trouble: string;
  endpoint: string;
  pool: string | null;
  evidence: string;
  facts: Record<string, unknown>;
  fix: string;
  command: string | null;
  page: string;
}

export interface WhatIf {
  setting: string;
  from: number;
  to: number;
  start_in_ms: number;
  earlier_ms: number | null;
  text: string;
  how: string;
}

/** The answer of `/api/v1/why/…`. */
export interface Why {
  about: "job" | "scale";
  endpoint: string;
  at_ms: number;
  causes: { code: string; text: string; facts: Record<string, unknown> }[];
  start_in_ms: number | null;
  what_if: WhatIf[];
  findings: Finding[];
}

export type JobStatus = "queued" | "running" | "completed" | "failed" | "cancelled" | "timed_out";

export interface Job {
  id: string;
  endpoint: string;
  status: JobStatus;
  submitted_at_ms: number;
  started_at_ms: number | null;
  ended_at_ms: number | null;
  pool: string | null;
  worker: string | null;
  region: string | null;
  attempt: number;
  delay_ms: number | null;
  execution_ms: number | null;
}

export interface Attempt {
  generation: number;
  number: number;
  pool: string;
  worker: string | null;
  leased_at_ms: number;
  started_at_ms: number | null;
  ended_at_ms: number | null;
  outcome: string;
  gpu: string | null;
  region: string | null;
  because_text: string | null;
}

export interface Story extends Job {
  error: string | null;
  error_code: string | null;
  webhook: string | null;
  retries: number;
  cost: Sums;
  attempts: Attempt[];
}

export interface Preview {
  bytes: number;
  text: string;
  is_cut: boolean;
  media: { pointer: string; media_type: string; bytes: number }[];
  links: string[];
}

export interface Webhook {
  id: string;
  job: string;
  endpoint: string;
  url: string;
  state: "due" | "delivered" | "dead";
  job_status: string;
  attempts: number;
  ended_at_ms: number;
  tried_at_ms: number | null;
  next_at_ms: number | null;
  status: number | null;
  failure: string | null;
}

export interface Key {
  id: string;
  kind: string;
  name: string;
  scopes: string[];
  endpoints: string[] | null;
  created_at_ms: number;
  expires_at_ms: number | null;
  last_used_at_ms: number | null;
}

/** Money and worker time of one line of what was spent. */
export interface Sums {
  spent_nano_usd: number;
  cold_start_nano_usd: number;
  run_nano_usd: number;
  idle_nano_usd: number;
  unsettled_nano_usd: number;
  drift_nano_usd: number;
  saved_nano_usd: number;
  electricity_nano_usd: number;
  cold_start_ms: number;
  run_ms: number;
  idle_ms: number;
  local_ms: number;
}

export interface CostLine extends Sums {
  name: string;
  endpoint?: string;
  id?: string;
}

export interface Costs {
  by: string;
  since_ms: number | null;
  until_ms: number | null;
  time_zone: string;
  lines: CostLine[];
  total: Sums;
  left_out: number;
}

export interface Whose {
  scope: "everything" | "endpoint" | "key";
  endpoint?: string;
  key?: string;
  key_name?: string;
}

export interface CapLine extends Whose {
  period: "hour" | "day" | "month";
  cap_nano_usd: number;
  spent_nano_usd: number;
  reserved_nano_usd: number;
  left_nano_usd: number;
  ends_at_ms: number;
  is_reached: boolean;
}

export interface CapTexts { per_hour: string | null; per_day: string | null; per_month: string | null }

export interface CapsLine extends Whose {
  caps: CapTexts;
  file: CapTexts;
  by: string | null;
  at_ms: number | null;
}

export interface Budget {
  time_zone: string;
  caps: CapLine[];
  sources: CapsLine[];
}

export interface Settings {
  version: string;
  config: string;
  warnings: string[];
  not_active: string[];
  time_zone: string;
}

export interface Session {
  auth_required: boolean;
  signed_in: boolean;
  csrf?: string | null;
  key?: string;
  name?: string | null;
  scopes?: string[];
}
