"""The crash run's oracle, against stores that were made wrong on purpose: it must find each fault."""

import json
import sqlite3
import uuid
from pathlib import Path

import pytest

from crash.load import Note
from crash.oracle import job_id, judge

MIGRATIONS = Path(__file__).resolve().parents[2] / "crates" / "store" / "migrations" / "sqlite"
RAW = uuid.UUID(int=1).bytes + b"\x00"
JOB = job_id(RAW)
RESULT = {"nonce": "a", "execution": "x", "worker": "w1"}


@pytest.fixture
def store(tmp_path):
    """A store with one acknowledged job that completed, as the server would leave it."""
    path = tmp_path / "overspill.db"
    connection = sqlite3.connect(path)
    for migration in sorted(MIGRATIONS.glob("*.sql")):
        connection.executescript(migration.read_text())
    connection.isolation_level = None
    add_payload(connection, 1, RAW, {"nonce": "a"})
    add_payload(connection, 2, RAW, RESULT)
    add_ended(connection, RAW, 1, 2)
    yield connection, path
    connection.close()


def insert(connection, table, **values):
    """Inserts a row; columns that must have a value and were not given get a zero."""
    columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
    row = {
        name: values.get(name, 0 if must else None)
        for _, name, _, must, _, key in columns
        if name in values or must or key
    }
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", [*row.values()])


def add_payload(connection, row, job, value):
    insert(connection, "payloads", row=row, job=job, bytes=json.dumps(value).encode())


def add_ended(connection, job, given, output):
    insert(connection, "ended", id=job, state=0, ended_at=2000, input=given, output=output)


def note(**changes):
    seen = [{"status": "COMPLETED", "output": RESULT, "error": None}]
    known = {"nonce": "a", "sent_at": 0.5, "acked_at": 1.0, "job": JOB, "seen": seen}
    return Note(**known | changes)


RAN = [(JOB, "w1", 1)]


def test_a_good_run_is_clean(store):
    assert judge([note()], RAN, store[1])[0].is_clean()


def test_an_acknowledged_job_that_is_not_there_is_lost(store):
    missing = job_id(uuid.UUID(int=9).bytes + b"\x00")
    assert len(judge([note(job=missing)], RAN, store[1])[0].lost) == 1


def test_an_acknowledged_job_that_failed_is_lost(store):
    store[0].execute("UPDATE ended SET state = 1")
    assert len(judge([note()], RAN, store[1])[0].lost) == 1


def test_another_jobs_result_is_wrong(store):
    assert judge([note(nonce="b", seen=[])], RAN, store[1])[0].wrong


def test_a_result_without_an_execution_is_wrong(store):
    assert judge([note()], [(JOB, "w2", 1)], store[1])[0].wrong


def test_one_submission_stored_as_two_jobs_is_duplicated(store):
    other = uuid.UUID(int=2).bytes + b"\x00"
    add_payload(store[0], 3, other, {"nonce": "a"})
    add_ended(store[0], other, 3, 2)
    assert len(judge([note()], RAN, store[1])[0].duplicated) == 1


def test_a_result_that_changed_after_it_was_shown_is_duplicated(store):
    shown = [{"status": "COMPLETED", "output": RESULT | {"execution": "y"}, "error": None}]
    assert len(judge([note(seen=shown)], RAN, store[1])[0].duplicated) == 1


def test_two_recorded_results_are_duplicated(store):
    for number in (1, 2):
        attempt = RAW + bytes(4) + number.to_bytes(4, "big")
        insert(store[0], "story", id=attempt, outcome="completed")
    assert len(judge([note()], RAN, store[1])[0].duplicated) == 1


def test_a_second_charge_is_duplicated_and_a_missing_one_lost(store):
    other = uuid.UUID(int=3).bytes + b"\x00"
    insert(store[0], "ledger", row=1, job=other)
    assert len(judge([note()], RAN, store[1])[0].lost) == 1
    insert(store[0], "ledger", row=2, job=RAW)
    assert judge([note()], RAN, store[1])[0].is_clean()
    insert(store[0], "ledger", row=3, job=RAW)
    assert len(judge([note()], RAN, store[1])[0].duplicated) == 1


KEPT = {"status": "COMPLETED", "output": RESULT}


def test_a_webhook_that_came_twice_under_one_id_is_clean(store):
    assert judge([note()], RAN, store[1], {JOB: {"msg_1": [KEPT]}})[0].is_clean()


def test_a_webhook_that_never_came_is_lost(store):
    assert len(judge([note()], RAN, store[1], {})[0].lost) == 1


def test_two_webhook_ids_are_duplicated(store):
    told = {JOB: {"msg_1": [KEPT], "msg_2": [KEPT]}}
    assert len(judge([note()], RAN, store[1], told)[0].duplicated) == 1


def test_a_webhook_with_another_result_or_before_its_record_is_wrong(store):
    told = {JOB: {"msg_1": [KEPT, KEPT | {"output": None}]}, "other-u1": {"msg_3": [KEPT]}}
    assert len(judge([note()], RAN, store[1], told)[0].wrong) == 2
