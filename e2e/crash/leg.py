"""One leg: a server, a load, kills at random instants, a quiet end, the oracle."""

import os
import random
import signal
import sys
import threading
import time
from collections import Counter

from crash.hooks import Hooks
from crash.load import Load
from crash.oracle import judge
from support.emulator import Emulator
from support.processes import children
from support.server import Server, cloud_pool, endpoint, scripted_pool
from support.wait import until

DEVICES = 4
DRAIN_S = 180
# Between two kills, in seconds: from the midst of a restart to a load that runs smoothly.
PAUSE_S = (0.0, 0.6)
# How many kills of the serving process do not wait until the last one's successor serves.
SHARE_OF_STORMS = 0.2


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


def kill_serving(server, is_storm):
    pid = until(lambda: serving_process(server), "there is a serving process", 30)
    os.kill(pid, signal.SIGKILL)
    at = time.time()
    until(lambda: serving_process(server) not in (None, pid), "a new serving process", 30)
    if not is_storm:
        server.wait_ready(60)
    return at


def run_leg(folder, cycles, name, deadline=None):
    """Kills `cycles` times, fewer if the deadline passes: (the leg's counts, findings)."""
    dice = random.Random(name)
    # A cloud that is never used: its price is what makes each local run an entry of the ledger.
    cloud = Emulator(folder)
    price = cloud_pool(cloud.create("load", workers_max=1))
    load_endpoint = endpoint(
        "load",
        scripted_pool(devices=DEVICES),
        price,
        max_attempts=100,
        execution_timeout='"60s"',
        workers="{ min = 0, max = 0 }",
    )
    hooks = Hooks(name)
    allow = f'[webhooks]\nallow = ["127.0.0.1:{hooks.port}"]\n'
    server = Server(folder, [load_endpoint], cloud=cloud, top=allow, name="crash").start()
    load = Load(server, name, hooks.url)
    load.start()
    kills = []
    pause = threading.Event()
    try:
        while len(kills) < cycles and not (deadline and time.monotonic() >= deadline):
            pause.wait(dice.uniform(*PAUSE_S))
            if len(kills) % 2:
                kills.append((kill_keeper(server), "keeper"))
            else:
                is_storm = dice.random() < SHARE_OF_STORMS
                kills.append((kill_serving(server, is_storm), "serving"))
        server.wait_ready(60)
        is_drained = load.stop(DRAIN_S)
        is_told = wait_told(load, hooks)
        server.child.process.terminate()
        code = server.child.process.wait(timeout=60)
    except BaseException:
        load.stop(0)
        print(server.child.tail(), file=sys.stderr)
        raise
    finally:
        server.child.kill()
        cloud.child.kill()
        hooks.close()
    leg, findings = count(server, load, kills, hooks.told())
    if not is_drained:
        findings.append(("stuck", f"not every job ended within {DRAIN_S} s of the last kill"))
    if not is_told:
        findings.append(("stuck", f"not every webhook came within {DRAIN_S} s of its job's end"))
    if code != 0:
        findings.append(("exit", f"the keeper ended with {code} after SIGTERM"))
    return leg, findings


def wait_told(load, hooks):
    """Whether the webhook of every acknowledged job came in time."""
    try:
        until(lambda: {n.job for n in load.notes if n.job} <= hooks.jobs(), "all webhooks came", DRAIN_S)
    except AssertionError:
        return False
    return True


def count(server, load, kills, told):
    """What the oracle says of a leg that is over."""
    store = next(iter(sorted(server.data_dir.glob("*.db"))), None)
    assert store is not None, f"no store in {sorted(p.name for p in server.data_dir.iterdir())}"
    executions = server.executions()
    verdict, ended = judge(load.notes, executions, store, told, is_priced=True)
    acked = [note for note in load.notes if note.job]
    spans = [
        (note.acked_at, ended[note.job]["ended_at"] / 1000) for note in acked if note.job in ended
    ]
    leg = {
        "cycles": len(kills),
        "keeper": sum(what == "keeper" for _, what in kills),
        "inside": sum(1 for at, _ in kills if any(start <= at <= end for start, end in spans)),
        "jobs": len(acked),
        "submissions": len(load.notes),
        "executions": len(executions),
        "again": sum(1 for n in Counter(job for job, _, _ in executions).values() if n > 1),
        "charges": verdict.charges,
        "hooks": len(told),
    }
    findings = []
    for kind in ("lost", "duplicated", "wrong"):
        found = getattr(verdict, kind)
        leg[kind] = len(found)
        findings += [(kind, what) for what in found]
    return leg, findings
