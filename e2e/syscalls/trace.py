"""strace, on one thread or from the start of a process: what it saw, and what it was told to spoil."""

import os
import re
import subprocess
from collections import Counter

from support.wait import until

# What changes files and folders. Memory that is mapped (the index beside the log) shows no calls.
CALLS = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "fallocate", "rename", "unlink")
# The store's files, and the files on their way to be them.
STORE = ("", "-wal", "-shm", "-ack", "-ack.part", ".new", ".new-journal", ".new-wal", ".new-shm")
# What else the keeper and the serving process keep; logs of workers are the workers' own.
BESIDE = ("installation", "installation.new", "listen", "lock", "seal.key", "overspill.reserve")


def files(data_dir):
    """All that is written in the data directory, and the directory itself."""
    store = [f"overspill.db{suffix}" for suffix in STORE]
    return [str(data_dir), *(f"{data_dir}/{name}" for name in (*store, *BESIDE))]


def filters(data_dir, calls=CALLS):
    """Options: these calls on the server's files, and nothing else."""
    paths = [option for file in files(data_dir) for option in ("-P", file)]
    return ["-qq", "-e", f"trace={','.join(calls)}", *paths]


def spoil(point):
    """Options that spoil one call: the `number`th of its kind in its thread."""
    return ["-e", f"inject={point.call}:{point.how}:when={point.number}"]


def is_allowed():
    """Whether this system lets us trace; else the sentence that says why not."""
    try:
        done = subprocess.run(
            ["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, timeout=20
        )
    except FileNotFoundError:
        return "there is no strace (Debian's package `strace`)"
    if done.returncode != 0:
        return f"strace may not trace here: {done.stderr.strip()[-200:]}"
    return True


def thread_named(pid, name):
    """The thread of a process that has this name, once it is there."""
    tasks = f"/proc/{pid}/task"

    def look():
        try:
            for tid in os.listdir(tasks):
                with open(f"{tasks}/{tid}/comm") as comm:
                    if comm.read().strip() == name:
                        return int(tid)
        except OSError:
            pass
        return None

    return until(look, f"process {pid} has a thread {name!r}", 20)


class Attached:
    """strace on one running thread."""

    def __init__(self, tid, data_dir, out, point=None):
        options = filters(data_dir) + (spoil(point) if point else [])
        self.out = out
        self.process = subprocess.Popen(
            ["strace", "-o", str(out), *options, "-p", str(tid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        status = f"/proc/{tid}/status"

        def attached():
            assert self.process.poll() is None, f"strace: {self.process.stderr.read()}"
            with open(status) as text:
                return re.search(r"TracerPid:\t(?!0\b)\d+", text.read())

        until(attached, "strace is attached", 20)

    def end(self):
        """Lets go of the thread, if it lives."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(20)
        self.process.stderr.close()


def seen(out):
    """How often each call was seen: {call: count}; and whether one was spoilt."""
    counts = Counter()
    is_spoilt = False
    with open(out, errors="replace") as text:
        for line in text:
            found = re.match(r"(?:\d+ +)?(\w+)\(", line)
            if found:
                counts[found.group(1)] += 1
            is_spoilt |= "(INJECTED)" in line or "+++ killed by SIGKILL" in line
    return counts, is_spoilt


def seen_by_thread(out):
    """The same for each thread, by its number."""
    threads = {}
    with open(out, errors="replace") as text:
        for line in text:
            found = re.match(r"(\d+) +(\w+)\(", line)
            if found:
                threads.setdefault(found.group(1), Counter())[found.group(2)] += 1
    return threads
