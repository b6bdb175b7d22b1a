-- Drift has a cause: a kind of line each. The columns stay, and so do the rows with their checksums.
ALTER TABLE ledger RENAME TO ledger_before;

CREATE TABLE ledger (
    row         INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    endpoint    INTEGER NOT NULL,
    pool        INTEGER NOT NULL,
    job         BLOB CHECK (length(job) = 17),
    kind        INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 63), -- cold start, run, idle, saved, unsettled, share, drift by cause
    worker_time INTEGER NOT NULL,
    amount      INTEGER NOT NULL,
    sum         INTEGER NOT NULL
) STRICT;

INSERT INTO ledger SELECT * FROM ledger_before;

DROP TABLE ledger_before;
