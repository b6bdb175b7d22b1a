"""Local first, the overspill in the (emulated) cloud, limits that change at once, and the bill."""

import os
import signal
import sys

import pytest

from support.server import HANDLERS, cloud_pool, endpoint, scripted_pool
from support.wait import during, until


@pytest.fixture
def emulator(make):
    return make.emulator("--cold-start", "1s..2s", "--seed", "7")


@pytest.fixture
def cloud_id(emulator):
    return emulator.create("tts", workers_max=3, idle_timeout_s=2)


@pytest.fixture
def server(make, emulator, cloud_id):
    return make.server(
        endpoint(
            "tts",
            scripted_pool(),
            cloud_pool(cloud_id),
            max_wait='"1s"',
            expected_execution='"2s"',
            expected_start='"1500ms"',
            workers='{ min = 0, max = 3, idle_timeout = "2s" }',
        ),
        cloud=emulator,
    )


def test_with_an_idle_card_the_cloud_gets_nothing(server, emulator, cloud_id):
    until(lambda: server.health("tts")["workers"]["idle"] == 1, "a worker waits on the card", 60)
    before = emulator.limits(cloud_id)
    for n in range(3):
        assert server.finish("tts", {"nonce": n})["status"] == "COMPLETED"
    assert emulator.executions() == []
    assert emulator.limits(cloud_id) == before


def test_what_the_card_cannot_start_in_time_runs_in_the_cloud(server, emulator):
    jobs = [server.submit("tts", {"seconds": 2, "nonce": n}) for n in range(8)]
    for job in jobs:
        assert server.wait_final("tts", job, 120)["status"] == "COMPLETED"
    local = {job for job, _, _ in server.executions()}
    cloud = [run for run in emulator.executions() if run["outcome"] == "completed"]
    assert local and cloud
    # Every job ran exactly once, here or there.
    assert len(server.executions()) == len(local)
    assert len(local) + len(cloud) == len(jobs)


def test_after_the_wave_the_cloud_is_at_zero_and_the_bill_stops(server, emulator, cloud_id):
    jobs = [server.submit("tts", {"seconds": 2}) for _ in range(6)]
    for job in jobs:
        assert server.wait_final("tts", job, 120)["status"] == "COMPLETED"
    assert emulator.executions(), "the cloud was not used"
    until(lambda: emulator.live_workers(cloud_id) == 0, "all cloud workers are gone", 30)
    bill = emulator.bill()
    during(lambda: emulator.bill() == bill, "the bill stands still", for_s=3)


def test_scale_is_seen_in_the_cloud_within_a_second_and_no_job_is_lost(server, emulator, cloud_id):
    jobs = [server.submit("tts", {"seconds": 1, "nonce": n}) for n in range(40)]
    until(lambda: emulator.health(cloud_id)["workers"]["running"] >= 1, "the cloud is in use", 30)
    for most in (1, 3):
        server.cli("scale", "tts", "--max", most)
        seen = []

        def is_seen(most=most, seen=seen):
            seen.append(emulator.limits(cloud_id)["max"])
            return seen[-1] <= 1 if most == 1 else seen[-1] > 1

        until(is_seen, lambda most=most, seen=seen: f"max {most} in {seen}", within_s=1)
    for job in jobs:
        assert server.wait_final("tts", job, 120)["status"] == "COMPLETED"


def test_max_zero_keeps_the_cloud_out_and_jobs_wait_for_the_card(server, emulator):
    server.cli("scale", "tts", "--max", "0")
    jobs = [server.submit("tts", {"seconds": 0.5}) for _ in range(6)]
    for job in jobs:
        assert server.wait_final("tts", job, 60)["status"] == "COMPLETED"
    assert emulator.executions() == []


@pytest.mark.parametrize("handler", ["generator", "aggregate"])
def test_the_stream_of_a_job_that_ended_unread_in_the_cloud_is_there_after_its_end(make, tmp_path, handler):
    worker = f"EXECUTIONS={tmp_path}/cloud exec {sys.executable} -u {HANDLERS}/{handler}.py"
    emulator = make.emulator("--cold-start", "1s..2s", "--worker-cmd", worker)
    pool = cloud_pool(emulator.create("gen", workers_max=1, idle_timeout_s=2))
    server = make.server(endpoint("gen", pool, max_wait='"9s"', expected_start='"2s"'), cloud=emulator)
    job = server.submit("gen", {"count": 4})
    assert server.wait_final("gen", job, 120)["status"] == "COMPLETED"
    told = server.call("GET", f"/v2/gen/stream/{job}").json()
    assert told["status"] == "COMPLETED"
    assert [chunk["output"] for chunk in told["stream"]] == [{"number": n} for n in range(4)]
    # Given out once, as at RunPod.
    assert server.call("GET", f"/v2/gen/stream/{job}").json()["stream"] == []


def test_an_endpoint_that_a_reload_leaves_gives_back_what_waits_there_and_is_lowered(make):
    emulator = make.emulator("--cold-start", "100s..101s", "--seed", "7")
    first, second = (emulator.create(name, workers_max=0) for name in ("tts", "tts-2"))
    settings = {"max_wait": '"1s"', "workers": '{ min = 0, max = 1, idle_timeout = "2s" }'}
    server = make.server(endpoint("tts", cloud_pool(first), **settings), cloud=emulator)
    job = server.submit("tts", {"seconds": 0.1})
    until(lambda: emulator.health(first)["jobs"]["inQueue"] == 1, "it waits in the cloud")
    server.reload(endpoint("tts", scripted_pool(), cloud_pool(second), **settings))
    assert server.wait_final("tts", job, 60)["status"] == "COMPLETED"
    assert emulator.executions() == [] and len(server.executions(job)) == 1
    until(lambda: emulator.limits(first)["max"] == 0, "the limits are lowered", 30)


def test_the_first_cloud_pool_needs_a_start(make):
    emulator = make.emulator("--cold-start", "500ms..1s", "--seed", "7")
    server = make.server(endpoint("tts", scripted_pool()), cloud=emulator)
    cloud = cloud_pool(emulator.create("tts", workers_max=0))
    server.configure(endpoint("tts", cloud, max_wait='"1s"', workers='{ min = 0, max = 1, idle_timeout = "2s" }'))
    os.kill(server.child.pid, signal.SIGHUP)
    until(lambda: "is not in force: it has the first cloud pool" in server.child.text(), "it is refused in words")
    assert server.finish("tts", {"nonce": "a"})["status"] == "COMPLETED"
    assert emulator.executions() == []
    server.child.kill()
    server.start()
    assert server.finish("tts", {"nonce": "b"})["status"] == "COMPLETED"
    assert len(emulator.executions()) == 1
