"""The burst of `examples/images`: 40 jobs, two local workers and a cloud of real workers."""

import json
import subprocess
import sys

import pytest

from support.processes import environment
from support.server import SUITE, cloud_pool, endpoint

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
    # What did not run in the cloud ran on the two cards: there is no third place.
    assert server.health("images")["jobs"]["completed"] == JOBS
