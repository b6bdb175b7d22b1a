"""What worker 0.5.0 cannot do, and how that ends: the worker dies of it, and its job says so.

Why is in support/compatibility_workers.py, by file and line of the published package.
"""

import pytest

from support.wait import until
from support.workers import VERSIONS, servers

OLDEST = VERSIONS[0]

CASES = {
    # What the handler is, what it is asked for, what Python says in the worker's log.
    "an error in a dictionary": ("sync", {"do": "error"}, "string indices must be integers"),
    "bytes": ("sync", {"do": "bytes"}, "Object of type bytes is not JSON serializable"),
    "an async handler": ("asynchronous", {"n": 1}, "'coroutine' object is not iterable"),
    "a generator": ("generator", {"count": 2}, "Object of type generator is not JSON serializable"),
    "progress": ("sync", {"do": "progress", "gate": "/"}, "has no attribute 'progress_update'"),
}


@pytest.fixture(scope="module")
def begun(make_shared):
    """Each case on a server of its own, all at once: {case: (server, job)}."""
    made = {}
    for case, (handler, job_input, _) in CASES.items():
        server = servers(make_shared, handler, [OLDEST])[OLDEST]
        made[case] = (server, server.submit("tts", job_input))
    return made


@pytest.mark.parametrize("case", CASES)
def test_the_worker_dies_of_it_and_the_job_does_not_complete(begun, case):
    server, job = begun[case]
    words = CASES[case][2]
    until(lambda: words in server.worker_log("tts"), f"the worker's log says {words!r}", 60)
    # Its heartbeat lives on in a thread, without the job: the attempt is given up for that.
    until(lambda: server.status("tts", job)["status"] == "IN_QUEUE", "the attempt is given up", 60)
    answer = server.call("POST", f"/v2/tts/cancel/{job}")
    assert answer.json()["status"] == "CANCELLED"
    assert len(server.executions(job)) <= 1
