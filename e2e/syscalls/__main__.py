"""The command: counts the calls of a clean run, then spoils them one by one."""

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from syscalls import trace
from syscalls.scenario import Point, while_it_runs, while_it_starts

FAULTS = ("signal=KILL", "error=EIO", "error=ENOSPC")
# Clean runs differ by some calls, as heartbeats fall into batches or not: the most of two are taken.
COUNTED = 2
# A few points are not met where a run has fewer calls than those; more means that other calls were counted.
MET_SHARE = 0.8


def arguments():
    parser = argparse.ArgumentParser(prog="syscalls", description=__doc__)
    parser.add_argument("--points", type=int, default=None, help="so many, chosen by the seed; all without it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=3, help="runs at once")
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--only", metavar="PHASE:CALL:NUMBER:FAULT", default=None, help="one point")
    return parser.parse_args()


def in_folder(body, *rest):
    folder = Path(tempfile.mkdtemp(prefix="overspill-syscalls-"))
    try:
        return body(folder, *rest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_point(folder, point):
    if point.phase == "running":
        return while_it_runs(folder, point)[0]
    return while_it_starts(folder, point, point.phase == "first start")[0]


def points():
    """Every point of the scenario, from clean runs under the same eyes."""
    running = Counter()
    for _ in range(COUNTED):
        outcome, counts = in_folder(while_it_runs)
        assert not outcome.findings, outcome.findings
        running |= counts
    phases = {"running": running}
    for phase, is_first in (("first start", True), ("start after a kill", False)):
        outcome, by_thread = in_folder(while_it_starts, None, is_first)
        assert not outcome.findings, outcome.findings
        # Threads count for themselves: a number is that of the thread that makes most of these calls.
        phases[phase] = Counter()
        for counts in by_thread.values():
            phases[phase] |= counts
    found = []
    for phase, counts in phases.items():
        calls = ", ".join(f"{call} {count}" for call, count in sorted(counts.items()))
        print(f"{phase}: {sum(counts.values())} calls ({calls})", flush=True)
        for call, count in sorted(counts.items()):
            found += [Point(phase, call, n, how) for n in range(1, count + 1) for how in FAULTS]
    return found


def main():
    options = arguments()
    allowed = trace.is_allowed()
    if allowed is not True:
        print(f"SKIPPED: {allowed}; no call of the store was spoilt")
        print("syscalls: skipped")
        # A part may be left out; the whole sweep that did nothing has shown nothing.
        return 0 if options.points is not None else 1
    if options.only:
        phase, call, number, how = options.only.split(":")
        todo = [Point(phase, call, int(number), how)]
    else:
        todo = points()
    count_all = len(todo)
    if options.points is not None and options.points < len(todo):
        todo = random.Random(options.seed).sample(todo, options.points)
    begun = time.monotonic()
    deadline = begun + options.minutes * 60 if options.minutes else None
    lock = threading.Lock()
    queue = list(todo)
    done = []

    def work():
        while True:
            with lock:
                if not queue or (deadline and time.monotonic() > deadline):
                    return
                point = queue.pop(0)
            outcome, broken = None, []
            try:
                outcome = in_folder(run_point, point)
            except Exception as error:  # noqa: BLE001 - a run that breaks is a finding
                broken = [f"{type(error).__name__}: {error}"]
            with lock:
                done.append((point, outcome))
                for finding in outcome.findings if outcome else broken:
                    print(f"{point}: {finding}", flush=True)
                if len(done) % 50 == 0:
                    print(f"{len(done)} of {len(todo)} points, {time.monotonic() - begun:.0f} s", flush=True)

    threads = [threading.Thread(target=work) for _ in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return report(done, count_all, len(todo), time.monotonic() - begun)


def report(done, count_all, count, seconds):
    outcomes = [outcome for _, outcome in done if outcome]
    findings = [finding for outcome in outcomes for finding in outcome.findings]
    broken = len(done) - len(outcomes)
    hit = sum(outcome.is_hit for outcome in outcomes)
    stopped = sum(outcome.has_stopped for outcome in outcomes)
    if len(done) < count:
        print(f"stopped after {len(done)} of {count} points")
    print(
        f"{len(done)} of {count_all} points in {seconds:.0f} s, {hit} met, "
        f"{stopped} stopped with a named reason"
    )
    lost = sum(finding.startswith("lost") for finding in findings)
    doubled = sum(finding.startswith("duplicated") for finding in findings)
    rest = len(findings) - lost - doubled + broken
    wrong = f", wrong {rest}" if rest else ""
    print(f"syscalls: lost {lost}, duplicated {doubled}{wrong}", flush=True)
    if hit < MET_SHARE * len(done):
        print(f"only {hit} of {len(done)} points were met: the scenario no longer does what was counted")
        return 1
    return 1 if findings or broken else 0


if __name__ == "__main__":
    sys.exit(main())
