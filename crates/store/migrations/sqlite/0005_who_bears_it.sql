-- Lines of the ledger say on which type of GPU, in which region, and for which API key; a job and its
-- attempt know the key. A key is its public id as a number, the last character in the lowest byte.
-- The new columns stand before `sum` and are empty in the old rows: an empty column of these adds nothing
-- to the checksum, so that the old rows keep theirs.
ALTER TABLE jobs RENAME TO jobs_before;

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
    key               INTEGER, -- who submitted or retried it
    sum               INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO jobs
SELECT id, endpoint, seq, submitted_at, expires_at, input_bytes, execution_timeout, class, generation, attempts,
       lost, no_result, low_priority, local_only, attempt, webhook, extras, has_extras, input, NULL, sum
FROM jobs_before;

DROP TABLE jobs_before;

ALTER TABLE attempts RENAME TO attempts_before;

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
    key          INTEGER, -- its job's
    sum          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO attempts
SELECT id, endpoint, pool, phase, worker, since, cloud_job, cloud_worker, leased_at, started_at, deadline, fenced,
       NULL, sum
FROM attempts_before;

DROP TABLE attempts_before;

ALTER TABLE ledger RENAME TO ledger_before;

CREATE TABLE ledger (
    row         INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    endpoint    INTEGER NOT NULL,
    pool        INTEGER NOT NULL,
    job         BLOB CHECK (length(job) = 17),
    -- cold start, run, idle, saved, unsettled, share, drift by cause, cold share, idle share, electricity
    kind        INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 63),
    worker_time INTEGER NOT NULL,
    amount      INTEGER NOT NULL,
    gpu         TEXT,
    region      TEXT,
    key         INTEGER, -- who bears it
    sum         INTEGER NOT NULL
) STRICT;

INSERT INTO ledger
SELECT row, at, endpoint, pool, job, kind, worker_time, amount, NULL, NULL, NULL, sum FROM ledger_before;

DROP TABLE ledger_before;

CREATE INDEX ledger_by_job ON ledger (job) WHERE job IS NOT NULL;

-- Alerts of caps are webhooks without a job; nothing else takes them away.
CREATE INDEX webhooks_alerts ON webhooks (keep_until) WHERE generation = 4294967295;

ALTER TABLE spent RENAME TO spent_before;

-- Columns of a primary key are never NULL: nothing is '' and 0 here.
CREATE TABLE spent (
    bucket      INTEGER NOT NULL, -- quarters of an hour since the epoch
    endpoint    INTEGER NOT NULL,
    pool        INTEGER NOT NULL,
    kind        INTEGER NOT NULL,
    entries     INTEGER NOT NULL,
    worker_time INTEGER NOT NULL,
    amount      INTEGER NOT NULL,
    gpu         TEXT    NOT NULL,
    region      TEXT    NOT NULL,
    key         INTEGER NOT NULL,
    sum         INTEGER NOT NULL,
    PRIMARY KEY (bucket, endpoint, pool, kind, gpu, region, key)
) STRICT, WITHOUT ROWID;

INSERT INTO spent
SELECT bucket, endpoint, pool, kind, entries, worker_time, amount, '', '', 0, sum FROM spent_before;

DROP TABLE spent_before;
