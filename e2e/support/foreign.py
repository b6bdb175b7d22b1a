"""Clients that run in processes of their own: the scripts of `clients/` and what they answered."""

import json
import subprocess
import sys
from pathlib import Path

from support.processes import environment

SUITE = Path(__file__).resolve().parent.parent
CLIENTS = SUITE / "clients"
MODULES = SUITE / "node_modules"


class Refused(Exception):
    """What the client threw: `told` is the script's description of it."""

    def __init__(self, told):
        super().__init__(told.get("message"))
        self.told = told


def interpreter(name):
    """The Python of an environment that `cargo xtask` made from `environments/<name>.txt`."""
    if name is None:
        return sys.executable
    path = SUITE / ".venvs" / name / "bin" / "python"
    assert path.exists(), f"{path} is missing: run the suite with `cargo xtask e2e`"
    return str(path)


def packages(name):
    """Folder of the packages of an environment (`None`: the suite's own)."""
    python = Path(interpreter(name)).parent.parent
    return next(python.glob("lib/python3*/site-packages"))


def command(script, *arguments):
    """The command line of a script of `clients/`."""
    path = CLIENTS / script
    runner = ["node", str(path)] if script.endswith(".mjs") else [interpreter("langchain"), str(path)]
    return [*runner, *arguments]


def start(script, server, name, operation, *arguments, key=None):
    """Starts a script, with the server's key if none is given; `finish` takes its answer."""
    return subprocess.Popen(
        command(script, f"{server.base}/v2", key or server.key, name, operation, *arguments),
        env=environment(server.folder / "home"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=120):
    """The answer of a script that was started; raises `Refused` when the client threw."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, f"exit {process.returncode}\n{out}\n{err}"
    told = json.loads(out)
    if "error" in told:
        raise Refused(told["error"])
    return told.get("answer")


def ask(script, server, name, operation, *arguments, key=None):
    """One call of a client, waited for."""
    return finish(start(script, server, name, operation, *arguments, key=key))
