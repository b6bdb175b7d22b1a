"""The burst of `examples/images`: 40 jobs, two local workers and a cloud of real workers."""

import json
import subprocess
import sys

import pytest

from support.processes import environment
from support.server import SUITE, cloud_pool, endpoint
from support.wait import until

IMAGES = SUITE.parent / "examples" / "images"
JOBS = 40


@pytest.mark.timeout(400)
def test_every_picture_is_what_the_handler_draws_alone(make, tmp_path):
    worker = [sys.executable, "-u", str(IMAGES / "handler.py")]
    emulator = make.emulator("--cold-start", "1s..2s", "--worker-cmd", " ".join(worker))
    cloud = emulator.create("images", workers_max=2, idle_timeout_s=5)
    local = (
        f"[[endpoint.local]]\ncommand = {json.dumps(worker)}\ndevices = 2\n"
        f'env = {{ OUTPUT_DIR = "{tmp_path / "pictures"}" }}\n'
    )
    server = make.server(
        endpoint(
            "images",
            local,
            cloud_pool(cloud),
            max_wait='"5s"',
            expected_execution='"2s"',
            workers='{ min = 0, max = 2, idle_timeout = "5s" }',
        ),
        cloud=emulator,
    )
    until(lambda: server.health("images")["workers"]["idle"] == 2, "a worker waits on each card", 60)
    done = subprocess.run(
        [sys.executable, str(IMAGES / "burst.py"), "--jobs", str(JOBS), "--within", "300"],
        env=environment(
            tmp_path / "home", RUNPOD_ENDPOINT_BASE_URL=f"{server.base}/v2", RUNPOD_API_KEY=server.key
        ),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=360,
    )
    # The script compares each picture, byte for byte, with the handler run alone on that input.
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert f"{JOBS} of {JOBS} pictures equal" in done.stdout
    in_cloud = [run for run in emulator.executions() if run["outcome"] == "completed"]
    assert 0 < len(in_cloud) < JOBS
    assert_local_first(server, len(in_cloud))
    # What did not run in the cloud ran on the two cards: there is no third place.
    assert server.health("images")["jobs"]["completed"] == JOBS


def assert_local_first(server, in_cloud):
    """The cards got their jobs before the cloud got any, and the cloud only while both were busy."""
    jobs = server.call("GET", f"/api/v1/jobs?limit={JOBS}").json()["jobs"]
    assert len(jobs) == JOBS
    attempts = []
    for job in jobs:
        attempts += server.call("GET", f"/api/v1/jobs/{job['id']}").json()["attempts"]
    attempts.sort(key=lambda attempt: attempt["leased_at_ms"])
    local = [attempt for attempt in attempts if attempt["pool"].startswith("local")]
    cloud = [attempt for attempt in attempts if not attempt["pool"].startswith("local")]
    assert len(cloud) >= in_cloud and len(local) >= JOBS - in_cloud
    first_in_cloud = cloud[0]["leased_at_ms"]
    before = [attempt for attempt in local if attempt["leased_at_ms"] <= first_in_cloud]
    assert len({attempt["worker"] for attempt in before}) == 2, "each card had a job before the cloud"
    # While the cloud has jobs handed to it, a card only pauses between two jobs (the SDK looks for
    # the next once a second): it never stands idle with jobs waiting.
    for worker in {attempt["worker"] for attempt in local}:
        mine = [attempt for attempt in local if attempt["worker"] == worker]
        pauses = [b["leased_at_ms"] - a["ended_at_ms"] for a, b in zip(mine, mine[1:], strict=False)]
        assert max(pauses, default=0) < 15_000, pauses
