"""What every handler does: note each execution in the file that EXECUTIONS names."""

import os
import time


def note(job):
    """Appends `job incarnation pid` in one write, so that lines of several workers never mix."""
    line = f"{job['id']} {os.environ.get('RUNPOD_POD_ID', '-')} {os.getpid()}\n"
    with open(os.environ["EXECUTIONS"], "ab", buffering=0) as file:
        file.write(line.encode())


def hold(gate):
    """Returns once the file `gate` exists: a test opens it when it has seen what it waited for."""
    while not os.path.exists(gate):
        time.sleep(0.02)
