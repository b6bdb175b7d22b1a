"""The scenario, and what must be true after it.

A client submits jobs with names of its own (`Idempotency-Key`), follows them to their ends, and does not
give up: it asks again until it is answered. One job has a webhook, one is cancelled. Then the server is
asked to end. Whatever was spoilt meanwhile, a clean start must have all that was acknowledged.
"""

import os
import re
import signal
import threading
import time
from dataclasses import dataclass

import requests

from crash.leg import serving_process
from crash.load import Note
from crash.oracle import judge
from support.processes import Child
from support.receiver import Receiver
from support.server import Server, endpoint, scripted_pool
from support.wait import until
from syscalls import trace

JOBS = 3
# The server is started again up to four times, with pauses of up to some seconds.
PATIENCE_S = 60


@dataclass(frozen=True)
class Point:
    """One call to spoil."""

    phase: str
    call: str
    number: int
    how: str

    def __str__(self):
        return f"{self.phase}: {self.call} {self.number}, {self.how}"


@dataclass
class Outcome:
    """What became of one run."""

    is_hit: bool
    # The server ended by itself and said why.
    has_stopped: bool
    findings: list


class Run:
    """A server in a folder of its own, with its receiver and its client's notes."""

    def __init__(self, folder):
        self.folder = folder
        self.receiver = Receiver()
        top = f'[webhooks]\nallow = ["127.0.0.1:{self.receiver.port}"]\n'
        self.server = Server(folder, [endpoint("tts", scripted_pool(1))], top=top)
        self.notes = []
        self.cancelled = None

    def call(self, method, path, **arguments):
        """Asks until there is an answer that is no «try again»."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self.server.call(method, path, timeout=20, **arguments)
                if answer.status_code < 500:
                    return answer
            except requests.RequestException:
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"{method} {path}: nobody answers within {PATIENCE_S} s")
            self.pause()

    @staticmethod
    def pause():
        """As long as a client waits before it asks again."""
        threading.Event().wait(0.05)

    def submit(self, number, **given):
        note = Note(nonce=f"n{number}", sent_at=time.time())
        self.notes.append(note)
        body = {"input": {"nonce": note.nonce}} | given
        headers = {"Idempotency-Key": note.nonce}
        answer = self.call("POST", "/v2/tts/run", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        note.job = answer.json()["id"]
        note.acked_at = time.time()
        return note

    def follow(self, note):
        while not note.seen:
            answer = self.call("GET", f"/v2/tts/status/{note.job}?wait=1000")
            assert answer.status_code == 200, f"{note.job}: {answer.text}"
            status = answer.json()
            if status["status"] in ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"):
                note.seen.append({k: status.get(k) for k in ("status", "output", "error")})
            else:
                self.pause()

    def work(self):
        """The client's part."""
        for number in range(JOBS):
            hook = {"webhook": self.receiver.url} if number == 0 else {}
            self.follow(self.submit(number, **hook))
        gate = self.folder / "gate"
        held = Note(nonce="held", sent_at=time.time())
        body = {"input": {"nonce": "held", "gate": str(gate)}}
        answer = self.call("POST", "/v2/tts/run", json=body, headers={"Idempotency-Key": "held"})
        held.job = answer.json()["id"]
        self.call("POST", f"/v2/tts/cancel/{held.job}")
        self.cancelled = held.job
        gate.touch()

    def end(self):
        """Asks the server to end; whether it or a serving process of it stopped for a reason it named."""
        if self.server.child.process.poll() is None:
            os.kill(self.server.child.pid, signal.SIGTERM)
        try:
            self.server.child.process.wait(60)
        finally:
            self.server.child.kill()
        return "storage_fsync_failed" in self.server.child.text()

    def judged(self):
        """Starts it cleanly once more and looks at everything; findings, one sentence each."""
        findings = []
        listen = f"127.0.0.1:{self.server.port}" if self.server.base else "127.0.0.1:0"
        self.server.start(listen)
        acked = [note for note in self.notes if note.job]
        for note in acked:
            self.follow(note)
        if self.cancelled:
            state = self.call("GET", f"/v2/tts/status/{self.cancelled}").json()["status"]
            if state != "CANCELLED":
                findings.append(f"the cancelled job is {state}")
        if acked:
            until(lambda: self.receiver.deliveries, "the webhook arrives", 30)
        os.kill(self.server.child.pid, signal.SIGTERM)
        code = self.server.child.process.wait(60)
        if code != 0:
            findings.append(f"after a clean start, the server ended with {code}")
        verdict, _ = judge(self.notes, self.server.executions(), self.server.data_dir / "overspill.db")
        for kind in ("lost", "duplicated", "wrong"):
            findings += [f"{kind}: {what}" for what in getattr(verdict, kind)]
        ids = {delivery.id for delivery in self.receiver.deliveries}
        if len(ids) > 1:
            findings.append(f"one job's webhook came under {len(ids)} ids")
        return findings

    def close(self):
        left = self.server.child.kill() if self.server.child else []
        self.receiver.close()
        assert not left, f"processes outlived the keeper: {left}"


def while_it_runs(folder, point=None):
    """The client's work with one call of the engine's thread spoilt: (outcome, counts of calls)."""
    run = Run(folder)
    try:
        run.server.start()
        pid = until(lambda: serving_process(run.server), "there is a serving process")
        tid = trace.thread_named(pid, "engine")
        out = folder / "trace"
        attached = trace.Attached(tid, run.server.data_dir, out, point)
        try:
            run.work()
            has_stopped = run.end()
        finally:
            attached.end()
        counts, is_hit = trace.seen(out)
        findings = [] if has_named_it(run, point, is_hit, has_stopped) else [f"{point} went unnoticed"]
        return Outcome(is_hit, has_stopped, findings + run.judged()), counts
    finally:
        run.close()


def has_named_it(run, point, is_hit, has_stopped):
    """An fsync that failed may have lost what was written: the process must end, and say so (F04)."""
    if not (is_hit and point and point.call in ("fsync", "fdatasync") and point.how.startswith("error")):
        return True
    # At the very end nothing is acknowledged any more; the next start recovers.
    return has_stopped or "could not be closed" in run.server.child.text()


def while_it_starts(folder, point=None, is_first=True):
    """A start with one call spoilt, of a new database or of one that a kill left: likewise."""
    run = Run(folder)
    try:
        if not is_first:
            run.server.start()
            run.work()
            run.server.child.kill()
        out = folder / "trace"
        options = trace.filters(run.server.data_dir) + (trace.spoil(point) if point else [])
        program = folder / "traced"
        words = " ".join(["strace", "-f", "-o", str(out), *options, run.server.program])
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        program.chmod(0o755)
        plain, run.server.program = run.server.program, program
        spoilt_start(run, out, point)
        run.server.program = plain
        has_stopped = bool(re.search(r"cannot be used|storage_|cannot start", run.server.child.text()))
        by_thread = trace.seen_by_thread(out)
        _, is_hit = trace.seen(out)
        findings = run.judged()
        return Outcome(is_hit, has_stopped, findings), by_thread
    finally:
        run.close()


def spoilt_start(run, out, point):
    """Starts it under strace until it serves, or until a serving process has died of the point."""
    server = run.server
    listen = f"127.0.0.1:{server.port}" if server.base else "127.0.0.1:0"
    command = [server.program, "serve", "--config", server.config, "--listen", listen]
    server.child = Child(server.folder, server.name, command, server.env)
    seen = len(server.child.text())

    def is_over():
        text = server.child.text()[seen:]
        if re.search(r"listening on http://[0-9.:]+", text) and not point:
            return True
        if server.child.process.poll() is not None:
            return True
        if point and out.exists():
            return trace.seen(out)[1] or "listening on" in text
        return False

    until(is_over, "it serves, or has died", 60)
    if not point:
        found = re.search(r"listening on (http://[0-9.:]+)", server.child.text()[seen:])
        server.base = found.group(1)
    # strace is the child here, and lets go of all that it traced when it is killed.
    for pid in server.child.descendants():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    server.child.process.wait(20)
    until(lambda: not server.child.descendants(), "nothing of that start is left", 20)
