"""The run: load, kills, the end, the verdict."""

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from crash.load import Load
from crash.oracle import judge
from support.processes import children
from support.server import Server, endpoint, scripted_pool
from support.wait import until

DEVICES = 4
# The share of kills that must fall between a 200 and the end of that job.
SHARE_MIN = 0.30
DRAIN_S = 180


def arguments():
    parser = argparse.ArgumentParser(prog="crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=None)
    return parser.parse_args()


def serving_process(server):
    """The keeper's child that serves: the one that runs no handler."""
    workers = set(server.workers())
    return next((pid for pid in children(server.child.pid) if pid not in workers), None)


def kill_keeper(server):
    os.kill(server.child.pid, signal.SIGKILL)
    at = time.time()
    server.child.process.wait()
    until(lambda: not server.child.descendants(), "all that the keeper started is gone", 10)
    server.start(f"127.0.0.1:{server.port}")
    return at


def kill_serving(server):
    pid = until(lambda: serving_process(server), "there is a serving process", 30)
    os.kill(pid, signal.SIGKILL)
    at = time.time()
    until(lambda: serving_process(server) not in (None, pid), "a new serving process", 30)
    server.wait_ready(60)
    return at


def run(options, folder):
    pool = scripted_pool(devices=DEVICES)
    load_endpoint = endpoint("load", pool, max_attempts=100, execution_timeout='"60s"')
    server = Server(folder, [load_endpoint], name="crash").start()
    dice = random.Random(options.seed)
    load = Load(server, options.seed)
    load.start()
    kills = []
    pause = threading.Event()
    deadline = time.monotonic() + options.minutes * 60 if options.minutes else None
    try:
        for cycle in range(options.cycles):
            if deadline and time.monotonic() >= deadline:
                break
            pause.wait(dice.uniform(0.05, 2.5))
            what, kill = ("keeper", kill_keeper) if cycle % 2 else ("serving", kill_serving)
            started = time.monotonic()
            at = kill(server)
            kills.append((at, what))
            back = time.monotonic() - started
            print(
                f"cycle {cycle + 1}/{options.cycles}: killed {what}, back after {back:.1f} s, "
                f"{load.open_jobs()} jobs open, {len(load.notes)} submissions",
                flush=True,
            )
        is_drained = load.stop(DRAIN_S)
        server.child.process.terminate()
        server.child.process.wait(timeout=60)
    except BaseException:
        load.stop(0)
        print(server.child.tail(), file=sys.stderr)
        raise
    finally:
        server.child.kill()
    return report(server, load, kills, is_drained)


def report(server, load, kills, is_drained):
    store = next(iter(sorted(server.data_dir.glob("*.db"))), None)
    assert store is not None, f"no store in {sorted(p.name for p in server.data_dir.iterdir())}"
    executions = server.executions()
    verdict, ended = judge(load.notes, executions, store)
    acked = [note for note in load.notes if note.job]
    spans = [
        (note.acked_at, ended[note.job]["ended_at"] / 1000) for note in acked if note.job in ended
    ]
    inside = sum(1 for at, _ in kills if any(start <= at <= end for start, end in spans))
    share = inside / len(kills) if kills else 0.0
    again = sum(1 for count in Counter(job for job, _, _ in executions).values() if count > 1)
    for kind in ("lost", "duplicated", "wrong"):
        for finding in getattr(verdict, kind)[:20]:
            print(f"{kind}: {finding}")
    if not is_drained:
        print(f"not every job ended within {DRAIN_S} s of the last kill")
    print(
        f"{len(kills)} kills ({sum(w == 'keeper' for _, w in kills)} of the keeper), "
        f"{len(acked)} jobs acknowledged of {len(load.notes)} submissions, "
        f"{len(executions)} executions, {again} jobs ran again"
    )
    print(f"kills between a 200 and the job's end: {inside} of {len(kills)} ({share:.0%})")
    print(verdict.summary(), flush=True)
    return verdict.is_clean() and is_drained and share >= SHARE_MIN


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="overspill-crash-") as folder:
        sys.exit(0 if run(options, Path(folder)) else 1)


if __name__ == "__main__":
    main()
