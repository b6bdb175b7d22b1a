"""What a client's process saw: its jobs, its errors, and how late each answer came after its hold."""

import json
import re
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field

# How long the server may hold a request that names no `wait`, in seconds; what is missing is not held.
HOLDS_S = {"runsync": 90.0, "status-sync": 90.0, "stream": 9.0}
OPERATION = re.compile(r"/v2/[^/]+/([a-z-]+)")
# Late answers that are kept to be shown.
SHOWN = 20


@dataclass
class Tally:
    """Filled by one client's process, printed as JSON at its end. `clients/soak.mjs` prints the same."""

    jobs: dict = field(default_factory=dict)
    errors: list = field(default_factory=list)
    requests: Counter = field(default_factory=Counter)
    # Seconds after the end of the hold, below zero when the answer came before it.
    latest_s: float = -1e9
    late: list = field(default_factory=list)

    def answered(self, url, began, limit_s):
        """Notes one request that began at `began` (monotonic) and has its whole answer now."""
        parts = urllib.parse.urlsplit(str(url))
        operation = OPERATION.search(parts.path).group(1)
        wait = urllib.parse.parse_qs(parts.query).get("wait")
        hold_s = int(wait[0]) / 1000 if wait else HOLDS_S.get(operation, 0.0)
        over_s = time.monotonic() - began - hold_s
        self.requests[operation] += 1
        self.latest_s = max(self.latest_s, over_s)
        if over_s > limit_s and len(self.late) < SHOWN:
            self.late.append(f"{operation}: {over_s:.2f} s over its hold of {hold_s:.0f} s")

    def text(self):
        return json.dumps(
            {
                "jobs": self.jobs,
                "errors": self.errors,
                "requests": self.requests,
                "latest_s": self.latest_s,
                "late": self.late,
            }
        )
