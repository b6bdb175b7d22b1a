-- The first schema. In every table `sum` is the checksum of the columns before it, in order; rows of
-- the tables are counted and summed in `tail`, so that a missing row shows as well as a changed one.
-- Times are milliseconds since the epoch, money is nano-dollars. An id of a job is 17 bytes: the
-- UUID, then 1 for a job of /runsync; the key of an attempt is the job's id, generation and number,
-- big-endian, so that both sort by time.

-- One row, rewritten in each transaction.
CREATE TABLE tail (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    lineage  BLOB    NOT NULL CHECK (length(lineage) = 16), -- of this file, new for each backup
    commits  INTEGER NOT NULL,                              -- transactions so far
    is_clean INTEGER NOT NULL CHECK (is_clean IN (0, 1)),   -- closed or backed up, nothing in the log
    rows_next INTEGER NOT NULL,                             -- next row of payloads and ledger
    digests  BLOB    NOT NULL,                              -- per table: rows, sum of their sums
    sum      INTEGER NOT NULL
) STRICT;

CREATE TABLE meta (
    name  TEXT    NOT NULL PRIMARY KEY,
    value BLOB    NOT NULL,
    sum   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id           TEXT    NOT NULL PRIMARY KEY,
    kind         TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    scopes       TEXT    NOT NULL, -- JSON list
    endpoints    TEXT,             -- JSON list of names; NULL: all
    digest       BLOB    NOT NULL CHECK (length(digest) = 32),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    revoked_at   INTEGER,
    sum          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Few and seldom written: JSON.
CREATE TABLE endpoints (
    id     INTEGER PRIMARY KEY,
    record TEXT    NOT NULL,
    sum    INTEGER NOT NULL
) STRICT;

CREATE TABLE pools (
    id     INTEGER PRIMARY KEY,
    record TEXT    NOT NULL,
    sum    INTEGER NOT NULL
) STRICT;

CREATE TABLE workers (
    id     BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    record TEXT    NOT NULL,
    sum    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Live jobs.
CREATE TABLE jobs (
    id                BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 17),
    endpoint          INTEGER NOT NULL,
    seq               INTEGER NOT NULL,
    submitted_at      INTEGER NOT NULL,
    expires_at        INTEGER NOT NULL,
    input_bytes       INTEGER NOT NULL,
    execution_timeout INTEGER NOT NULL,
    class             INTEGER NOT NULL,
    generation        INTEGER NOT NULL,
    attempts          INTEGER NOT NULL,
    lost              INTEGER NOT NULL,
    no_result         INTEGER NOT NULL,
    low_priority      INTEGER NOT NULL CHECK (low_priority IN (0, 1)),
    local_only        INTEGER NOT NULL CHECK (local_only IN (0, 1)),
    attempt           INTEGER, -- number of the attempt that has it; NULL: queued
    webhook           TEXT,
    extras            TEXT,    -- what the worker sees beside the input, JSON
    has_extras        INTEGER NOT NULL CHECK (has_extras IN (0, 1)),
    input             INTEGER, -- row of payloads
    sum               INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Live attempts.
CREATE TABLE attempts (
    id           BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 25),
    endpoint     INTEGER NOT NULL,
    pool         INTEGER NOT NULL,
    phase        INTEGER NOT NULL CHECK (phase BETWEEN 0 AND 4), -- local, submitting, unknown, queued, running
    worker       BLOB,    -- incarnation, phase 0
    since        INTEGER, -- phase 2
    cloud_job    TEXT,    -- phases 3 and 4
    cloud_worker TEXT,    -- phase 4
    leased_at    INTEGER NOT NULL,
    started_at   INTEGER,
    deadline     INTEGER NOT NULL,
    fenced       INTEGER CHECK (fenced BETWEEN 0 AND 4),
    sum          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Jobs that ended, until they expire.
CREATE TABLE ended (
    id           BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 17),
    endpoint     INTEGER NOT NULL,
    generation   INTEGER NOT NULL,
    state        INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3), -- completed, failed, cancelled, timed out
    submitted_at INTEGER NOT NULL,
    ended_at     INTEGER NOT NULL,
    delay        INTEGER,
    execution    INTEGER,
    attempts     INTEGER NOT NULL,
    worker       TEXT,
    pool         INTEGER,
    output_bytes INTEGER NOT NULL,
    error        TEXT,
    error_code   TEXT,
    body_sha256  TEXT,
    expires_at   INTEGER NOT NULL,
    webhook      TEXT,
    input        INTEGER, -- row of payloads
    output       INTEGER, -- row of payloads
    sum          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX ended_by_expiry ON ended (expires_at);
CREATE INDEX ended_in_trouble ON ended (endpoint, state) WHERE state <> 0;

-- Attempts that are over, with their jobs.
CREATE TABLE story (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 25),
    pool       INTEGER NOT NULL,
    worker     TEXT,
    leased_at  INTEGER NOT NULL,
    started_at INTEGER,
    ended_at   INTEGER NOT NULL,
    outcome    TEXT    NOT NULL,
    sum        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Inputs and outputs, found by the row that their job names.
CREATE TABLE payloads (
    row   INTEGER PRIMARY KEY,
    job   BLOB    NOT NULL CHECK (length(job) = 17),
    bytes BLOB    NOT NULL,
    sum   INTEGER NOT NULL
) STRICT;

CREATE TABLE chunks (
    attempt BLOB    NOT NULL CHECK (length(attempt) = 25),
    number  INTEGER NOT NULL,
    bytes   BLOB    NOT NULL,
    sum     INTEGER NOT NULL,
    PRIMARY KEY (attempt, number)
) STRICT;

CREATE TABLE progress (
    attempt BLOB    NOT NULL PRIMARY KEY CHECK (length(attempt) = 25),
    bytes   BLOB    NOT NULL,
    sum     INTEGER NOT NULL
) STRICT;

CREATE TABLE idempotency (
    endpoint    INTEGER NOT NULL,
    key         TEXT    NOT NULL,
    job         BLOB    NOT NULL CHECK (length(job) = 17),
    body_sha256 TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL,
    sum         INTEGER NOT NULL,
    PRIMARY KEY (endpoint, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_expiry ON idempotency (expires_at);

CREATE TABLE ledger (
    row         INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    endpoint    INTEGER NOT NULL,
    pool        INTEGER NOT NULL,
    job         BLOB CHECK (length(job) = 17),
    kind        INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 3), -- cold start, run, idle, saved
    worker_time INTEGER NOT NULL,
    amount      INTEGER NOT NULL,
    sum         INTEGER NOT NULL
) STRICT;

-- The ledger's sums per quarter of an hour, written with it.
CREATE TABLE spent (
    bucket      INTEGER NOT NULL, -- quarters of an hour since the epoch
    endpoint    INTEGER NOT NULL,
    pool        INTEGER NOT NULL,
    kind        INTEGER NOT NULL,
    entries     INTEGER NOT NULL,
    worker_time INTEGER NOT NULL,
    amount      INTEGER NOT NULL,
    sum         INTEGER NOT NULL,
    PRIMARY KEY (bucket, endpoint, pool, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    what   TEXT    NOT NULL,
    object TEXT    NOT NULL,
    detail TEXT    NOT NULL,
    sum    INTEGER NOT NULL
) STRICT;

CREATE TABLE counts (
    endpoint  INTEGER PRIMARY KEY,
    completed INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    timed_out INTEGER NOT NULL,
    retried   INTEGER NOT NULL,
    sum       INTEGER NOT NULL
) STRICT;
