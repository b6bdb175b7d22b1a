"""What must hold after the kills, read from four sources that the server does not write for us.

1. The clients' notes: which jobs were acknowledged, and which results were shown.
2. The workers' own log: which job ran in which incarnation.
3. The store, by a connection of our own (`crates/store/migrations/sqlite`).
4. The webhook receiver: which jobs it was told of, under which webhook ids, with which results.
"""

import json
import sqlite3
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field

COMPLETED = 0
STATES = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


@dataclass
class Verdict:
    """Findings, one sentence each."""

    lost: list = field(default_factory=list)
    duplicated: list = field(default_factory=list)
    # Neither lost nor doubled, and wrong all the same.
    wrong: list = field(default_factory=list)
    # Entries of the ledger that name a job.
    charges: int = 0

    def is_clean(self):
        return not (self.lost or self.duplicated or self.wrong)

    def summary(self):
        wrong = f", wrong {len(self.wrong)}" if self.wrong else ""
        return f"lost {len(self.lost)}, duplicated {len(self.duplicated)}{wrong}"


def job_id(raw):
    """The text of a job's id from its 17 bytes."""
    return f"{'sync-' if raw[16] else ''}{uuid.UUID(bytes=bytes(raw[:16]))}-u1"


def read_store(path):
    """Ended jobs by id, nonces of all stored jobs, completed attempts and ledger entries of each job."""
    store = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        check = store.execute("PRAGMA integrity_check").fetchone()[0]
        assert check == "ok", f"integrity_check of {path}: {check}"
        ended = {}
        for raw, state, ended_at, error, output in store.execute(
            "SELECT e.id, e.state, e.ended_at, e.error, p.bytes"
            " FROM ended e LEFT JOIN payloads p ON p.row = e.output"
        ):
            value = json.loads(bytes(output)) if output is not None else None
            ended[job_id(raw)] = {
                "status": STATES[state],
                "ended_at": ended_at,
                "error": error,
                "output": value,
            }
        live = [job_id(raw) for (raw,) in store.execute("SELECT id FROM jobs")]
        nonces = defaultdict(set)
        for raw, given in store.execute(
            "SELECT j.id, p.bytes FROM (SELECT id, input FROM jobs UNION ALL SELECT id, input"
            " FROM ended) j JOIN payloads p ON p.row = j.input"
        ):
            nonces[json.loads(bytes(given))["nonce"]].add(job_id(raw))
        completions = Counter(
            job_id(raw) for (raw,) in store.execute("SELECT id FROM story WHERE outcome = 'completed'")
        )
        charges = Counter(
            job_id(raw) for (raw,) in store.execute("SELECT job FROM ledger WHERE job IS NOT NULL")
        )
    finally:
        store.close()
    return ended, live, nonces, completions, charges


def judge(notes, executions, store_path, told=None, is_priced=False):
    """The verdict, and the ended jobs of the store for the statistics.

    `told` is what the receiver was told, {job: {webhook id: [result, ...]}}; None where no job names one.
    With `is_priced` every completed run must have its charge; else only where some run has one.
    """
    ended, live, nonces, completions, charges = read_store(store_path)
    ran = {(job, incarnation) for job, incarnation, _ in executions}
    verdict = Verdict(charges=charges.total())
    for note in notes:
        if note.job is None:
            continue
        record = ended.get(note.job)
        if record is None:
            where = "still live" if note.job in live else "not in the store"
            verdict.lost.append(f"{note.job} ({note.nonce}): acknowledged, {where}")
            continue
        if record["status"] != "COMPLETED":
            verdict.lost.append(f"{note.job}: {record['status']}, {record['error']}")
            continue
        output = record["output"] or {}
        if output.get("nonce") != note.nonce:
            verdict.wrong.append(f"{note.job}: the result of {output.get('nonce')}, not {note.nonce}")
        if (note.job, output.get("worker")) not in ran:
            verdict.wrong.append(f"{note.job}: a result of a worker that never ran it")
        if len(note.seen) > 1:
            verdict.duplicated.append(f"{note.job}: the client saw {len(note.seen)} final answers")
        for seen in note.seen:
            if seen["status"] != "COMPLETED" or seen["output"] != output:
                verdict.duplicated.append(f"{note.job}: shown {seen}, stored {output}")
    for nonce, jobs in nonces.items():
        if len(jobs) > 1:
            verdict.duplicated.append(f"{nonce}: submitted once, stored as {sorted(jobs)}")
    for job, count in completions.items():
        if count > 1:
            verdict.duplicated.append(f"{job}: {count} attempts were recorded as completed")
    for job, count in charges.items():
        if count > 1:
            verdict.duplicated.append(f"{job}: {count} charges in the ledger")
    if charges or is_priced:
        # Where runs are priced at all, each that is recorded has its charge in the same transaction.
        for job, record in ended.items():
            if record["status"] == "COMPLETED" and job not in charges:
                verdict.lost.append(f"{job}: recorded without its charge")
    if told is not None:
        judge_webhooks(verdict, told, notes, ended)
    return verdict, ended


def judge_webhooks(verdict, told, notes, ended):
    """Each job is told of under one id, however often, and always with the stored result."""
    for note in notes:
        if note.job and note.job not in told:
            verdict.lost.append(f"{note.job}: its webhook never came")
    for job, ids in told.items():
        if len(ids) > 1:
            verdict.duplicated.append(f"{job}: told under {len(ids)} webhook ids, {sorted(ids)}")
        record = ended.get(job)
        if record is None:
            verdict.wrong.append(f"{job}: told of before it was stored")
            continue
        kept = {"status": record["status"], "output": record["output"]}
        for results in ids.values():
            for said in results:
                if said != kept:
                    verdict.wrong.append(f"{job}: told {said}, stored {kept}")
