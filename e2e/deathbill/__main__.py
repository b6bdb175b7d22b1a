"""Kills every real process of Overspill with work in flight and min 2, and compares what the emulated cloud
bills from then on with the bound that `serve` printed at its start. In every other seed the guard dies too."""

import argparse
import random
import re
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from support.emulator import Emulator
from support.processes import Child, binary, environment
from support.server import Server, cloud_pool, endpoint
from support.wait import until

AFTER_S = 10
MIN = 2
PRICE = "0.44"
PRINTED = re.compile(r"at most \$([0-9.]+) with a guard .* and \$([0-9.]+) if the guard died too")


def arguments():
    parser = argparse.ArgumentParser(prog="deathbill", description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=0)
    return parser.parse_args()


def total(emulator):
    return Decimal(emulator.bill()["total_usd"])


def run(seed, folder):
    """One death: (guard lives, jobs in flight, bound, billed after)."""
    dice = random.Random(seed)
    guard_lives = seed % 2 == 0
    emulator = Emulator(folder, "--cold-start", "1s..2s", "--seed", str(seed), "--no-rate-limits")
    cloud = emulator.create("tts", workers_max=0, idle_timeout_s=1)
    emulator.call("POST", f"/emulator/endpoints/{cloud}", json={"price_usd_per_h": PRICE})
    server = Server(
        folder,
        [
            endpoint(
                "tts",
                cloud_pool(cloud, price=f"${PRICE}/h"),
                max_wait='"1s"',
                expected_execution='"2s"',
                execution_timeout='"20s"',
                workers=f'{{ min = {MIN}, max = 4, idle_timeout = "1s" }}',
            )
        ],
        cloud=emulator,
        runpod=f'guard_after = "{AFTER_S}s"\n',
        name=f"deathbill-{seed}",
    )
    guard = None
    try:
        server.start()
        command = [binary(), "guard", "--config", server.config, "--server", server.base]
        guard = Child(folder, "guard", command, environment(folder / "home"))
        until(lambda: emulator.limits(cloud)["min"] == MIN, "min is in force", 60)
        printed = PRINTED.search(server.child.text())
        assert printed, server.child.tail()
        bound = Decimal(printed.group(1 if guard_lives else 2))
        for _ in range(dice.randint(3, 12)):
            server.submit("tts", {"seconds": dice.uniform(1, 15)})
        until(lambda: emulator.health(cloud)["jobs"]["inProgress"] > 0, "work is in flight", 60)
        time.sleep(dice.uniform(0, 5))
        jobs = emulator.health(cloud)["jobs"]
        before = total(emulator)
        # Everything at once; what outlives the keeper would be found by the harness.
        server.child.kill()
        if not guard_lives:
            guard.kill()
        else:
            lowered = {"min": 0, "max": 0}

            def is_lowered():
                limits = emulator.limits(cloud)
                return {key: limits[key] for key in lowered} == lowered

            until(is_lowered, "the guard lowers", 90)
        emulator.call("POST", "/emulator/clock", json={"advance": "9d"})
        until(lambda: emulator.live_workers(cloud) == 0, "nothing is on any more", 10)
        billed = total(emulator) - before
        return guard_lives, jobs["inProgress"] + jobs["inQueue"], bound, billed
    finally:
        if guard is not None:
            guard.kill()
        server.stop()
        emulator.stop()


def main():
    options = arguments()
    failed = []
    for seed in range(options.first, options.first + options.seeds):
        with tempfile.TemporaryDirectory(prefix="deathbill-") as folder:
            guard_lives, jobs, bound, billed = run(seed, Path(folder))
        verdict = "ok" if billed <= bound else "OVER THE BOUND"
        who = "the guard lives" if guard_lives else "the guard dies too"
        print(f"seed {seed}: {who}, {jobs} jobs in flight: ${billed} billed, bound ${bound}: {verdict}", flush=True)
        if billed > bound:
            failed.append(seed)
    if failed:
        sys.exit(f"over the bound: seeds {failed}")
    print(f"real processes: {options.seeds} deaths, none billed more than was printed")


main()
