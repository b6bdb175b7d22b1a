"""The built `overspill emulate`: a RunPod cloud with modelled or real workers."""

import re

import requests

from support import document
from support.processes import Child, binary, environment
from support.wait import until


class Emulator:
    """One emulated cloud on a port of its own."""

    def __init__(self, folder, *arguments, name="emulator"):
        self.child = Child(
            folder,
            name,
            [binary(), "emulate", "--listen", "127.0.0.1:0", *arguments],
            environment(folder / "home"),
        )

        def address():
            found = re.search(r"(http://127\.0\.0\.1:\d+)", self.child.text())
            ended = self.child.process.poll()
            assert found or ended is None, f"emulate ended with {ended}:\n{self.child.tail()}"
            return found and found.group(1)

        self.base = until(address, "emulate says where it listens")

    def call(self, method, path, **arguments):
        headers = {"Authorization": "Bearer rpa_e2e_0123456789abcdef"}
        answer = requests.request(method, self.base + path, headers=headers, timeout=10, **arguments)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def call_delete(self, path):
        """DELETEs; what the answer says, if anything."""
        headers = {"Authorization": "Bearer rpa_e2e_0123456789abcdef"}
        answer = requests.delete(self.base + path, headers=headers, timeout=10)
        assert answer.ok, f"DELETE {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def create(self, name, workers_max=3, idle_timeout_s=2, queue_delay_s=1):
        """Makes a queue endpoint; returns its id."""
        body = {
            "name": name,
            "type": "QUEUE",
            "image": "registry.example/worker:1",
            "gpu": {"pools": ["AMPERE_24"], "count": 1},
            "workers": {"min": 0, "max": workers_max, "idleTimeout": idle_timeout_s},
            "scaling": {"type": "QUEUE_DELAY", "queueDelay": queue_delay_s},
            "timeout": 600_000,
        }
        return self.call("POST", "/v2/serverless", json=body)["id"]

    def limits(self, endpoint):
        """The `workers` of an endpoint as the management API shows them."""
        return self.call("GET", f"/v2/serverless/{endpoint}")["workers"]

    def health(self, endpoint):
        return self.call("GET", f"/v2/{endpoint}/health")

    def bill(self):
        return self.call("GET", "/emulator/bill")

    def executions(self):
        return self.call("GET", "/emulator/executions")

    def live_workers(self, endpoint):
        """Workers that cost money or are about to."""
        workers = self.health(endpoint)["workers"]
        return workers["running"] + workers["idle"] + workers["initializing"]

    def check_exchanges(self):
        """Every exchange so far on a management route is as RunPod's OpenAPI document says."""
        if document.document() is None or self.child.process.poll() is not None:
            return
        for exchange in self.call("GET", "/emulator/exchanges"):
            document.validate(exchange)

    def stop(self):
        try:
            self.check_exchanges()
        finally:
            self._end()

    def _end(self):
        # An emulator that is killed cannot end its real workers: it is asked to.
        left = self.child.terminate()
        print(f"--- the end of {self.child.log.name}\n{self.child.tail()}")
        assert not left, f"processes outlived the emulator: {left}"
