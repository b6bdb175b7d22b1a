"""Many clients that submit jobs and follow them, and write down all they are told.

A client's notes are one of the oracle's sources: what was acknowledged, when, and which result it
was shown. A submission whose answer never came is tried again with the same `Idempotency-Key` by
half of the clients, so that it must be the same job, and given up by the other half.
"""

import itertools
import json
import random
import threading
import time
from dataclasses import dataclass, field

import requests

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
CLIENTS = 10
PAUSE_S = 0.05
# How long a job runs at most: about as long as the time between two kills.
SECONDS_MAX = 0.4


@dataclass
class Note:
    """One job as its client knows it."""

    nonce: str
    sent_at: float
    acked_at: float | None = None
    job: str | None = None
    # Every different final answer that was seen, in order; more than one is a fault.
    seen: list = field(default_factory=list)


class Load:
    """Clients, each with one job at a time, until `stop()`; then they follow theirs to the end."""

    def __init__(self, server, seed, webhook):
        self.server = server
        self.webhook = webhook
        self.notes = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.pause = threading.Event()
        self.numbers = itertools.count()
        self.threads = [
            threading.Thread(target=self._client, args=(number, random.Random(f"{seed}/{number}")))
            for number in range(CLIENTS)
        ]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self, within_s):
        """No more submissions; returns whether every client saw its last job end in time."""
        self.stopping.set()
        deadline = time.monotonic() + within_s
        for thread in self.threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        self.pause.set()
        return not any(thread.is_alive() for thread in self.threads)

    def open_jobs(self):
        """Jobs that were acknowledged and whose end nobody has seen."""
        with self.lock:
            return sum(1 for note in self.notes if note.job and not note.seen)

    def _client(self, number, dice):
        is_stubborn = number % 2 == 0
        while not self.stopping.is_set():
            note = Note(nonce=f"{number}-{next(self.numbers)}", sent_at=time.time())
            with self.lock:
                self.notes.append(note)
            seconds = round(dice.uniform(0.0, SECONDS_MAX), 3)
            self._submit(note, seconds, is_stubborn)
            if note.job:
                self._follow(note)
                # A second look: a final answer must never change.
                self._look(note)

    def _submit(self, note, seconds, is_stubborn):
        body = {"input": {"nonce": note.nonce, "seconds": seconds}, "webhook": self.webhook}
        headers = {"Idempotency-Key": note.nonce} if is_stubborn else {}
        while not note.job and not self.pause.is_set():
            answer = self._call("POST", "/v2/load/run", json=body, headers=headers)
            if answer is not None and answer.status_code == 200:
                note.job = answer.json()["id"]
                note.acked_at = time.time()
            elif not is_stubborn or self.stopping.is_set():
                return
            else:
                self.pause.wait(PAUSE_S)

    def _follow(self, note):
        while not note.seen and not self.pause.is_set():
            self._look(note)
            self.pause.wait(PAUSE_S)

    def _look(self, note):
        answer = self._call("GET", f"/v2/load/status/{note.job}")
        if answer is None or answer.status_code >= 500:
            return
        if answer.status_code != 200:
            self._see(note, {"status": f"HTTP {answer.status_code}"})
            return
        status = answer.json()
        if status["status"] in FINAL:
            kept = {k: status.get(k) for k in ("status", "output", "error")}
            self._see(note, kept)

    def _see(self, note, status):
        with self.lock:
            if json.dumps(status, sort_keys=True) not in (
                json.dumps(seen, sort_keys=True) for seen in note.seen
            ):
                note.seen.append(status)

    def _call(self, method, path, **arguments):
        headers = {"Authorization": f"Bearer {self.server.key}"} | arguments.pop("headers", {})
        try:
            return requests.request(
                method, self.server.base + path, headers=headers, timeout=20, **arguments
            )
        except requests.RequestException:
            return None
