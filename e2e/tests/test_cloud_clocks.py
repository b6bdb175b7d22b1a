"""A job in the cloud has its clocks apart: its time to live, and the execution time-out of what runs."""

import pytest

from support.server import cloud_pool, endpoint
from support.wait import until


@pytest.fixture(scope="module")
def cloud(make_shared):
    return make_shared.emulator("--cold-start", "1s..1s")


@pytest.fixture(scope="module")
def server(make_shared, cloud):
    pools = [cloud_pool(cloud.create(name, workers_max=4)) for name in ("video", "one")]
    return make_shared.server(
        endpoint("video", pools[0], workers="{ min = 0, max = 4 }"),
        endpoint("one", pools[1], workers="{ min = 0, max = 1 }"),
        cloud=cloud,
    )


@pytest.fixture(scope="module")
def jobs(server):
    """All at once: their clocks run side by side."""
    return {
        # Runs for longer than it may.
        "too long": server.submit("video", {"seconds": 60}, policy={"executionTimeout": 5_000}),
        # May run for long, but must not live for long.
        "too old": server.submit("video", {"seconds": 60}, policy={"ttl": 10_000}),
        "fits": server.submit("video", {"seconds": 2}, policy={"executionTimeout": 5_000, "ttl": 60_000}),
        # The second waits for longer than its execution time-out behind the first.
        "first": server.submit("one", {"seconds": 7}),
        "waits": server.submit("one", {"seconds": 1}, policy={"executionTimeout": 5_000}),
    }


def test_the_execution_timeout_ends_a_run_in_the_cloud_in_runpods_words(server, jobs):
    status = server.wait_final("video", jobs["too long"], 60)
    assert (status["status"], status["error"]) == ("FAILED", "executionTimeout exceeded")
    assert status["executionTime"] >= 5_000


def test_the_time_to_live_ends_a_job_that_runs_in_the_cloud(server, cloud, jobs):
    status = server.wait_final("video", jobs["too old"], 60)
    assert status["status"] == "TIMED_OUT"
    # It is cancelled there, before RunPod would forget it and let it run on for a minute, billed.
    for which in jobs.values():
        server.wait_final("one" if which in (jobs["first"], jobs["waits"]) else "video", which, 60)
    until(lambda: all(run["ended_ms"] for run in cloud.executions()), "nothing runs there", 15)


def test_a_job_within_its_clocks_completes(server, jobs):
    assert server.wait_final("video", jobs["fits"], 60)["status"] == "COMPLETED"


def test_waiting_does_not_count_as_execution(server, jobs):
    for which in ("first", "waits"):
        status = server.wait_final("one", jobs[which], 90)
        assert status["status"] == "COMPLETED", status
    assert status["delayTime"] > 5_000 > status["executionTime"]
