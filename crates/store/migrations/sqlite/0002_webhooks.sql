-- Reports of jobs' ends to the receivers that the jobs named: the outbox. A row is written with the end
-- itself, and goes with its job; a job is kept as long as `keep_until` of one of its rows says.
CREATE TABLE webhooks (
    job        BLOB    NOT NULL CHECK (length(job) = 17),
    generation INTEGER NOT NULL,
    receiver   TEXT    NOT NULL, -- host and port, as the URL has them
    state      INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2), -- due, delivered, dead
    next_at    INTEGER NOT NULL,
    keep_until INTEGER NOT NULL,
    record     TEXT    NOT NULL, -- JSON
    output     INTEGER, -- row of payloads, once a retry has replaced the end that had it
    sum        INTEGER NOT NULL,
    PRIMARY KEY (job, generation)
) STRICT, WITHOUT ROWID;

CREATE INDEX webhooks_due ON webhooks (receiver, next_at) WHERE state = 0;
CREATE INDEX webhooks_open ON webhooks (state, job) WHERE state <> 1;
