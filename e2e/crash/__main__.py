"""The command: legs, the state between runs, the verdict over all of them."""

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from crash.leg import run_leg
from support.processes import binary

# Kills of one leg. Small enough that little is lost when a run is stopped within one.
LEG_CYCLES = 50
# The share of kills that must fall between a 200 and the end of that job.
SHARE_MIN = 0.30
COUNTS = ("cycles", "keeper", "inside", "jobs", "submissions", "executions", "again", "charges", "hooks")


def arguments():
    parser = argparse.ArgumentParser(prog="crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--state", type=Path, default=None, help="where a run goes on from")
    return parser.parse_args()


def build_id():
    """Names the binary that is killed: verdicts of two builds do not add up unseen."""
    return hashlib.sha256(Path(binary()).read_bytes()).hexdigest()[:12]


def load_state(options):
    if options.state and options.state.exists():
        legs = json.loads(options.state.read_text())["legs"]
        done = sum(leg["cycles"] for leg in legs)
        print(f"going on from {options.state}: {done} of {options.cycles} cycles are done", flush=True)
        return legs
    return []


def save_state(options, legs):
    if options.state:
        options.state.parent.mkdir(parents=True, exist_ok=True)
        new = options.state.with_suffix(".new")
        new.write_text(json.dumps({"seed": options.seed, "legs": legs}, indent=1))
        new.replace(options.state)


def judged_leg(options, number, cycles, deadline):
    """One leg in a folder of its own, which stays when something was wrong."""
    folder = Path(tempfile.mkdtemp(prefix="overspill-crash-"))
    leg, findings = run_leg(folder, cycles, f"{options.seed}/{number}", deadline)
    if findings:
        kept = folder
        if options.state:
            kept = options.state.parent / f"failed-{options.seed}-{number}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, symlinks=True, ignore=shutil.ignore_patterns("*.reserve"))
        print(f"leg {number} of seed {options.seed} failed; its files are in {kept}")
    else:
        shutil.rmtree(folder)
    return leg, findings


def main():
    options = arguments()
    build = build_id()
    legs = load_state(options)
    begun = sum(leg["cycles"] for leg in legs)
    start = time.monotonic()
    deadline = start + options.minutes * 60 if options.minutes else None
    failed = False
    while (done := sum(leg["cycles"] for leg in legs)) < options.cycles and not failed:
        if deadline and time.monotonic() >= deadline:
            break
        cycles = min(LEG_CYCLES, options.cycles - done)
        leg, findings = judged_leg(options, len(legs), cycles, deadline)
        leg["build"] = build
        for kind, what in findings[:40]:
            print(f"{kind}: {what}")
        failed = bool(findings)
        legs.append(leg)
        if not failed:
            save_state(options, legs)
        print(
            f"leg {len(legs)}: {leg['cycles']} kills, {leg['jobs']} jobs, lost {leg['lost']}, "
            f"duplicated {leg['duplicated']}; {sum(leg['cycles'] for leg in legs)} of "
            f"{options.cycles} cycles",
            flush=True,
        )
    sys.exit(0 if report(options, legs, build, begun, start) and not failed else 1)


def report(options, legs, build, begun, start):
    """The lines at the end; whether all legs were clean."""
    total = {name: sum(leg.get(name, 0) for leg in legs) for name in COUNTS}
    sums = {name: sum(leg[name] for leg in legs) for name in ("lost", "duplicated", "wrong")}
    minutes = max((time.monotonic() - start) / 60, 1e-9)
    share = total["inside"] / total["cycles"] if total["cycles"] else 0.0
    elsewhere = sum(leg["cycles"] for leg in legs if leg["build"] != build)
    if elsewhere:
        print(f"{elsewhere} of the cycles were run with another build; remove {options.state} to begin anew")
    if total["cycles"] < options.cycles:
        print(f"stopped after {total['cycles']} of {options.cycles} cycles; the same command goes on from there")
    print(
        f"{total['cycles']} kills ({total['keeper']} of the keeper), {total['jobs']} jobs acknowledged of "
        f"{total['submissions']} submissions, {total['executions']} executions, {total['again']} jobs ran "
        f"again, {total['charges']} charges, {total['hooks']} webhooks; "
        f"{(total['cycles'] - begun) / minutes:.0f} cycles a minute"
    )
    print(f"kills between a 200 and the job's end: {total['inside']} of {total['cycles']} ({share:.0%})")
    wrong = f", wrong {sums['wrong']}" if sums["wrong"] else ""
    print(f"lost {sums['lost']}, duplicated {sums['duplicated']}{wrong}", flush=True)
    return not any(sums.values()) and share >= SHARE_MIN


if __name__ == "__main__":
    main()
