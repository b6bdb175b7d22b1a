"""The run: all workers busy, the kill, results at their moments, the verdict.

The restart is held back without any door in the server: it runs from a copy of the binary, and that copy
is moved away, so that the keeper finds nothing to start until it is moved back.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from crash.leg import serving_process
from crash.load import Note
from crash.oracle import judge
from support.processes import binary
from support.server import Server, endpoint, local_pool, scripted_pool
from support.wait import until

# The share of jobs that end in the very moment of the kill.
SHARE_AT_KILL = 0.1
READY_S = 300
# Results are posted from shortly after the kill until shortly before the end of the outage.
MARGIN_S = 2.0


def arguments():
    parser = argparse.ArgumentParser(prog="outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--sdk", type=int, default=20, help="workers of RunPod's own package")
    parser.add_argument("--scripted", type=int, default=200, help="workers of the same protocol without it")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


class Run:
    """One outage."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.dice = random.Random(options.seed)
        self.program = folder / "overspill"
        self.away = folder / "overspill.away"
        shutil.copy(binary(), self.program)
        # One job runs on a device at a time over all endpoints, so that each worker has its own.
        sdk = list(range(options.sdk))
        scripted = list(range(options.sdk, options.sdk + options.scripted))
        limit = {"execution_timeout": '"30m"'}
        endpoints = [
            endpoint("sdk", local_pool("held", devices=sdk), **limit),
            endpoint("scripted", scripted_pool(devices=scripted), **limit),
        ]
        self.server = Server(folder, endpoints, name="outage", program=self.program)
        # Per job: its endpoint, its gate, and when the gate was opened.
        self.jobs = {}
        self.opened = {}

    def submit(self):
        for name, count in (("sdk", self.options.sdk), ("scripted", self.options.scripted)):
            for number in range(count):
                nonce = f"{name}-{number}"
                gate = self.folder / f"gate-{nonce}"
                job = self.server.submit(name, {"nonce": nonce, "gate": str(gate)})
                self.jobs[job] = Note(nonce, time.time(), time.time(), job)

    def open(self, job):
        (self.folder / f"gate-{self.jobs[job].nonce}").touch()
        self.opened[job] = time.time()

    def outage(self):
        """Kills the serving process and lets jobs end; returns those of the moment of the kill."""
        order = list(self.jobs)
        self.dice.shuffle(order)
        at_kill = order[: int(len(order) * SHARE_AT_KILL)]
        rest = order[len(at_kill) :]
        self.program.rename(self.away)
        pid = serving_process(self.server)
        for job in at_kill:
            self.open(job)
        os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        span = max(self.options.seconds - 2 * MARGIN_S, 0.5)
        pause = threading.Event()
        for number, job in enumerate(rest):
            due = killed_at + min(MARGIN_S, self.options.seconds / 4) + span * number / len(rest)
            pause.wait(max(0.0, due - time.monotonic()))
            assert serving_process(self.server) is None, "the serving process came back too early"
            self.open(job)
        pause.wait(max(0.0, killed_at + self.options.seconds - time.monotonic()))
        assert serving_process(self.server) is None, "the serving process came back too early"
        self.away.rename(self.program)
        restored_at = time.monotonic()
        self.server.wait_ready(60)
        self.lasted_s = restored_at - killed_at
        self.back_s = time.monotonic() - restored_at
        return set(at_kill)

    def run(self):
        self.server.start()
        self.submit()
        executions = self.server.executions
        until(lambda: len(executions()) == len(self.jobs), lambda: f"all run: {len(executions())}", READY_S)
        at_kill = self.outage()
        for job, note in self.jobs.items():
            name = note.nonce.partition("-")[0]
            status = self.server.wait_final(name, job, READY_S)
            note.seen.append({k: status.get(k) for k in ("status", "output", "error")})
        self.server.child.process.terminate()
        self.server.child.process.wait(timeout=60)
        return self.report(at_kill)

    def report(self, at_kill):
        executions = self.server.executions()
        store = self.server.data_dir / "overspill.db"
        verdict, _ = judge(list(self.jobs.values()), executions, store)
        times = {job: sum(entry[0] == job for entry in executions) for job in self.jobs}
        during = [job for job in self.jobs if job not in at_kill]
        twice = [job for job in during if times[job] > 1]
        again = [job for job in at_kill if times[job] > 1]
        for kind in ("lost", "duplicated", "wrong"):
            for finding in getattr(verdict, kind)[:20]:
                print(f"{kind}: {finding}")
        for job in twice[:20]:
            print(f"ran twice: {self.jobs[job].nonce}, {times[job]} times")
        print(
            f"{self.lasted_s:.0f} s without a serving process, back {self.back_s:.1f} s later; "
            f"{self.options.sdk} workers of RunPod's package, {self.options.scripted} scripted"
        )
        print(
            f"{len(at_kill)} jobs ended in the moment of the kill: {len(again)} of their posts were "
            f"lost by the worker, and the jobs ran again"
        )
        print(
            f"{len(during)} posts begun during the outage, ran twice {len(twice)}; {verdict.summary()}",
            flush=True,
        )
        return verdict.is_clean() and not twice


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="overspill-outage-") as folder:
        run = Run(options, Path(folder))
        try:
            is_clean = run.run()
        except BaseException:
            print(run.server.child.tail() if run.server.child else "", file=sys.stderr)
            raise
        finally:
            if run.server.child:
                run.server.child.kill()
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
