"""The built `overspill serve`, its configuration, its HTTP face and its command line."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import requests

from support.processes import Child, binary, environment
from support.wait import until

SUITE = Path(__file__).resolve().parent.parent
HANDLERS = SUITE / "handlers"
KEY = "e2e-key-of-the-users-own-making"
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


def local_pool(handler, devices=1, slots=1, python=sys.executable, **env):
    """A local pool of unmodified RunPod workers that run `handlers/<handler>.py`."""
    command = json.dumps([python, "-u", str(HANDLERS / f"{handler}.py")])
    variables = "".join(f"{k} = {json.dumps(str(v))}\n" for k, v in env.items())
    return (
        f"[[endpoint.local]]\ncommand = {command}\n"
        f"devices = {devices}\nslots = {slots}\n[endpoint.local.env]\n{variables}"
    )


def scripted_pool(devices=1, slots=1, **env):
    """A local pool of scripted workers: the same protocol without the SDK's slow start."""
    return local_pool("scripted", devices, slots, **env)


def cloud_pool(endpoint_id, slots=1, price="$0.44/h"):
    """A RunPod queue endpoint that exists already."""
    return f'[[endpoint.cloud]]\nprovider = "runpod"\nid = "{endpoint_id}"\nslots = {slots}\nprice = "{price}"\n'


def endpoint(name, *pools, **settings):
    """An endpoint; settings are TOML text, such as `max_wait='"2s"'`."""
    lines = "".join(f"{k} = {v}\n" for k, v in settings.items())
    return f'[[endpoint]]\nname = "{name}"\n{lines}' + "".join(pools)


class Server:
    """`overspill serve` in a folder of its own. `start()` may be called again after a kill."""

    def __init__(
        self,
        folder,
        endpoints,
        cloud=None,
        top="",
        key=KEY,
        name="server",
        program=None,
        budget="$50",
        variables=None,
        runpod="",
    ):
        self.program = program or binary()
        self.folder = folder
        self.name = name
        self.key = key
        self.cloud = cloud
        self.executions_file = folder / "executions"
        self.data_dir = folder / "data"
        self.config = folder / "overspill.toml"
        account = ""
        if cloud is not None:
            account = (
                f'[runpod]\napi_key = "rpa_e2e_0123456789abcdef"\n'
                f'base_url = "{cloud.base}/v2"\nmanagement_url = "{cloud.base}/v2"\n{runpod}'
                f'[budget]\nper_day = "{budget}"\n'
            )
        self.head = f'data_dir = "{self.data_dir}"\n{top}{account}'
        self.configure(*endpoints)
        self.env = environment(
            folder / "home",
            OVERSPILL_API_KEY=key,
            EXECUTIONS=str(self.executions_file),
            **(variables or {}),
        )
        self.child = None
        self.base = None

    def configure(self, *endpoints):
        """Writes the configuration; `reload` makes a running server read it."""
        self.config.write_text(self.head + "".join(endpoints))

    def reload(self, *endpoints):
        """Gives a running server other endpoints, and waits until it has read them."""
        seen = len(self.child.text())
        self.configure(*endpoints)
        os.kill(self.child.pid, signal.SIGHUP)
        until(lambda: "is in force" in self.child.text()[seen:], "the configuration is read")

    def start(self, listen="127.0.0.1:0"):
        """Starts it and waits until it is ready. Returns itself."""
        arguments = [self.program, "serve", "--config", self.config, "--listen", listen]
        seen = 0 if self.child is None else len(self.child.text())
        self.child = Child(self.folder, self.name, arguments, self.env)

        def address():
            found = re.search(r"listening on (http://[0-9.:]+)", self.child.text()[seen:])
            ended = self.child.process.poll()
            assert found or ended is None, f"serve ended with {ended}:\n{self.child.tail()}"
            return found and found.group(1)

        self.base = until(address, "serve says where it listens")
        self.wait_ready()
        return self

    def wait_ready(self, within_s=30.0):
        until(self.is_ready, "/readyz answers 200", within_s)

    def is_ready(self):
        try:
            return requests.get(f"{self.base}/readyz", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    @property
    def port(self):
        return int(self.base.rpartition(":")[2])

    def call(self, method, path, key=..., timeout=30.0, **arguments):
        """One HTTP request with the key in its header; `key=None` sends none."""
        key = self.key if key is ... else key
        headers = dict(arguments.pop("headers", {}))
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key}")
        return requests.request(method, self.base + path, headers=headers, timeout=timeout, **arguments)

    def submit(self, name, job_input, **body):
        """Submits one job and returns its id."""
        answer = self.call("POST", f"/v2/{name}/run", json={"input": job_input} | body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "IN_QUEUE", answer.text
        return answer.json()["id"]

    def status(self, name, job):
        answer = self.call("GET", f"/v2/{name}/status/{job}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait_final(self, name, job, within_s=60.0):
        """The status of a job once it is final."""

        def final():
            status = self.status(name, job)
            return status if status["status"] in FINAL else None

        return until(final, f"job {job} ends", within_s)

    def wait_running(self, name, job, within_s=60.0):
        """The status of a job once a worker has it and has said so."""

        def running():
            status = self.status(name, job)
            assert status["status"] not in FINAL, status
            return status if status["status"] == "IN_PROGRESS" else None

        return until(running, f"job {job} runs", within_s)

    def finish(self, name, job_input, within_s=60.0, **body):
        """Submits one job and returns its final status."""
        return self.wait_final(name, self.submit(name, job_input, **body), within_s)

    def health(self, name):
        return self.call("GET", f"/v2/{name}/health").json()

    def executions(self, job=None):
        """The workers' own log: (job, incarnation, pid) in the order of their starts."""
        if not self.executions_file.exists():
            return []
        lines = self.executions_file.read_text().splitlines()
        entries = [(j, w, int(p)) for j, w, p in (line.split(" ") for line in lines)]
        return [entry for entry in entries if job is None or entry[0] == job]

    def cli(self, *arguments, check=True, timeout=60.0, key=...):
        """Runs the command line client against this server; returns the finished process."""
        key = self.key if key is ... else key
        env = environment(self.folder / "home", OVERSPILL_URL=self.base, OVERSPILL_API_KEY=key)
        done = subprocess.run(
            [binary(), *map(str, arguments)],
            env=env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check:
            assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def cli_json(self, *arguments):
        """What the client prints with --json, parsed."""
        return json.loads(self.cli(*arguments, "--json").stdout)

    def workers(self):
        """Pids of the main processes of all live local workers: leaders of their groups."""
        if self.child is None:
            return []
        keep = []
        for pid in self.child.descendants():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                is_leader = os.getpgid(pid) == pid
            except OSError:
                continue
            if is_leader and any(str(HANDLERS).encode() in word for word in words):
                keep.append(pid)
        return keep

    def worker_log(self, name):
        """What the workers of an endpoint have printed."""
        files = sorted((self.data_dir / "logs").glob(f"{name}-*.log"))
        return "".join(file.read_text(errors="replace") for file in files)

    def stop(self):
        """Ends it; fails if a process that it started outlives it."""
        if self.child is None:
            return
        left = self.child.kill()
        print(f"--- the end of {self.name}.log\n{self.child.tail()}")
        assert not left, f"processes outlived the keeper: {left}"
