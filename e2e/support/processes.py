"""Processes as the kernel shows them, read from /proc, and children that end with their test."""

import os
import signal
import subprocess
from pathlib import Path

from support.wait import until

CREDENTIALS = ("RUNPOD_", "OVERSPILL_")


def environment(home, **extra):
    """This process's environment without any key or address of RunPod or Overspill, HOME moved."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(CREDENTIALS)}
    home.mkdir(parents=True, exist_ok=True)
    return kept | {"HOME": str(home)} | extra


def binary():
    """The built `overspill`, which `cargo xtask e2e` names in OVERSPILL_BIN."""
    path = os.environ.get("OVERSPILL_BIN")
    assert path and os.access(path, os.X_OK), (
        f"OVERSPILL_BIN is {path!r}, not the built binary: run the suite with `cargo xtask e2e`"
    )
    return path


def with_variable(name, value):
    """Pids of all live processes that have `name=value` in the environment they started with."""
    wanted = f"{name}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0") and is_alive(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def is_alive(pid):
    """Whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def group_of(pid):
    """The process group of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[2])


def memory_mib(pid):
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def in_group(group):
    """Pids of all live processes in a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if group_of(int(entry.name)) == group and is_alive(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def children(pid):
    """Pids of a process's live children."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


class Child:
    """A process with its own session and a log file, killed with all it started at the end.

    `marker` stands in the environment of the child and so of all its descendants, whatever
    groups and sessions they make: that is how none of them is left behind or forgotten.
    """

    def __init__(self, folder, name, arguments, env):
        self.log = folder / f"{name}.log"
        self.marker = f"{folder}/{name}"
        self.env = env | {"E2E_MARKER": self.marker}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(a) for a in arguments],
                cwd=folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self):
        return self.process.pid

    def text(self):
        """Everything written so far."""
        return self.log.read_text(errors="replace")

    def line(self, needle, within_s=30.0):
        """The first line that holds `needle`, waited for; fails if the process ends before."""

        def look():
            for line in self.text().splitlines():
                if needle in line:
                    return line
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.tail()}"
            return None

        return until(look, f"{self.log.name} says {needle!r}", within_s)

    def tail(self, lines=60):
        return "\n".join(self.text().splitlines()[-lines:])

    def descendants(self):
        """Every live process that carries the marker."""
        return with_variable("E2E_MARKER", self.marker)

    def terminate(self, within_s=30.0):
        """Asks the process to end, as an interrupt at a terminal does; returns the descendants it left."""
        self.process.terminate()
        try:
            self.process.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            print(f"{self.log.name} did not end within {within_s} s of SIGTERM")
        return self.kill()

    def kill(self):
        """Kills the process itself; returns its descendants that did not end by themselves."""
        self.process.kill()
        self.process.wait()
        try:
            until(lambda: not self.descendants(), "all descendants are gone", within_s=5.0)
            return []
        except AssertionError:
            left = self.descendants()
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return left
