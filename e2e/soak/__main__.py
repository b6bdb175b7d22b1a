"""The run: two local workers and a cloud of real ones, all clients at once, then every job accounted for."""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

from crash.leg import serving_process
from soak.user import chunks
from support.emulator import Emulator
from support.foreign import command
from support.processes import environment, memory_mib
from support.server import HANDLERS, SUITE, Server, cloud_pool, endpoint, local_pool
from support.wait import until

# Jobs at once on a worker: `WIDTH` of handlers/paced.py.
WIDTH = 25
# How much later than its hold an answer may come.
LATE_S = 1.0
# After the last submission every job must end within this.
DRAIN_S = 180
NAME = "paced"


def arguments():
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=200, help="jobs that are followed at once")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


class Run:
    """One soak."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        cloud_log = folder / "executions-cloud"
        worker = [sys.executable, "-u", str(HANDLERS / "paced.py")]
        self.cloud = Emulator(
            folder,
            "--cold-start",
            "1s..2s",
            "--worker-cmd",
            f"EXECUTIONS={cloud_log} exec {' '.join(worker)}",
        )
        pool = cloud_pool(self.cloud.create(NAME, workers_max=2, idle_timeout_s=10), slots=WIDTH)
        self.server = Server(
            folder,
            [
                endpoint(
                    NAME,
                    local_pool(NAME, devices=2, slots=WIDTH),
                    pool,
                    max_wait='"2s"',
                    expected_start='"1500ms"',
                    workers='{ min = 0, max = 2, idle_timeout = "10s" }',
                )
            ],
            cloud=self.cloud,
            name="soak",
        )
        self.logs = [self.server.executions_file, cloud_log]

    def clients(self):
        """The client processes by name, with their users shared out among them."""
        users = self.options.jobs
        shares = {"js": users - 2 * (users // 3), "sync": users // 3, "async": users // 3}
        seconds, seed = str(self.options.minutes * 60), str(self.options.seed)
        started = {}
        for kind, share in shares.items():
            if kind == "js":
                place = [self.server.base, self.server.key, NAME]
                line = command("soak.mjs", *place, str(share), seconds, str(LATE_S), seed)
            else:
                line = [sys.executable, "-m", "soak.python_clients", kind]
                line += ["--base", self.server.base, "--key", self.server.key, "--endpoint", NAME]
                line += ["--users", str(share), "--seconds", seconds]
                line += ["--late", str(LATE_S), "--seed", seed]
            started[kind] = subprocess.Popen(
                line,
                cwd=SUITE,
                env=environment(self.folder / "home"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=(self.folder / f"{kind}.log").open("wb"),
                text=True,
            )
        return started

    def run(self):
        self.server.start()
        warm = {"nonce": "warm-up", "count": 1, "pause_s": 0.0}
        assert self.server.finish(NAME, warm, within_s=120)["output"] == chunks(warm)
        before = memory_mib(serving_process(self.server))
        started = self.clients()
        told = {}

        def collect(kind):
            out, _ = started[kind].communicate(timeout=self.options.minutes * 60 + DRAIN_S)
            told[kind] = out

        readers = [threading.Thread(target=collect, args=(kind,)) for kind in started]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        after = memory_mib(serving_process(self.server))
        tallies = {}
        for kind, process in started.items():
            assert process.returncode == 0, (
                f"{kind} ended with {process.returncode}: {(self.folder / f'{kind}.log').read_text()[-2000:]}"
            )
            tallies[kind] = json.loads(told[kind])
        return self.report(tallies, before, after)

    def report(self, tallies, before, after):
        wanted = {nonce for tally in tallies.values() for nonce in tally["jobs"]}
        until(
            lambda: self.server.health(NAME)["jobs"]["completed"] == len(wanted) + 1,
            lambda: f"{len(wanted)} jobs have ended: {self.server.health(NAME)}",
            30,
        )
        ran = Counter(
            line.split(" ")[0] for log in self.logs if log.exists() for line in log.read_text().splitlines()
        )
        lost = sorted(wanted - set(ran))
        doubled = sorted(nonce for nonce, times in ran.items() if times > 1)
        errors = [error for tally in tallies.values() for error in tally["errors"]]
        late = [f"{kind}: {entry}" for kind, tally in tallies.items() for entry in tally["late"]]
        for word, findings in (("error", errors), ("late", late), ("lost", lost), ("doubled", doubled)):
            for finding in findings[:20]:
                print(f"{word}: {finding}")
        requests = Counter()
        for kind, tally in tallies.items():
            requests.update(tally["requests"])
            print(
                f"{kind}: {len(tally['jobs'])} jobs, {sum(tally['requests'].values())} requests, "
                f"the latest answer {tally['latest_s']:+.2f} s from the end of its hold"
            )
        told = ", ".join(f"{count} {operation}" for operation, count in sorted(requests.items()))
        in_cloud = sum(1 for run in self.cloud.executions() if run["outcome"] == "completed")
        print(f"requests: {told}; memory of the serving process {before:.0f} MiB, then {after:.0f} MiB")
        latest = max(tally["latest_s"] for tally in tallies.values())
        print(
            f"soak: {self.options.minutes:g} minutes, {self.options.jobs} jobs at once: {len(wanted)} jobs "
            f"({in_cloud} in the cloud), {sum(requests.values())} requests, client errors {len(errors)}, "
            f"latest answer {latest:+.2f} s from its hold, lost {len(lost)}, ran twice {len(doubled)}",
            flush=True,
        )
        return in_cloud > 0 and latest <= LATE_S and not (errors or late or lost or doubled)


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="overspill-soak-") as folder:
        run = Run(options, Path(folder))
        try:
            is_clean = run.run()
        except BaseException:
            print(run.server.child.tail() if run.server.child else "", file=sys.stderr)
            raise
        finally:
            if run.server.child:
                run.server.child.kill()
            run.cloud.child.terminate()
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
