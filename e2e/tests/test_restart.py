"""The serving process and the keeper are killed; what was acknowledged is there afterwards."""

import os
import signal

import pytest

from support.processes import children
from support.server import cloud_pool, endpoint, scripted_pool
from support.wait import until


def serving_process(server):
    """The keeper's child that serves: the one that runs no handler."""
    workers = set(server.workers())
    mine = [pid for pid in children(server.child.pid) if pid not in workers]
    return mine[0] if mine else None


def test_a_job_survives_the_death_of_the_serving_process_and_runs_once(make, tmp_path):
    server = make.server(endpoint("tts", scripted_pool()))
    gate = tmp_path / "gate"
    job = server.submit("tts", {"gate": str(gate), "nonce": "a"})
    until(lambda: server.executions(job), "a worker has the job")
    os.kill(serving_process(server), signal.SIGKILL)
    gate.touch()
    server.wait_ready()
    status = server.wait_final("tts", job)
    assert (status["status"], status["output"]["nonce"]) == ("COMPLETED", "a")
    assert len(server.executions(job)) == 1


def test_queued_and_running_jobs_survive_the_death_of_the_keeper(make, tmp_path):
    server = make.server(endpoint("tts", scripted_pool()))
    gate = tmp_path / "gate"
    running = server.submit("tts", {"gate": str(gate), "nonce": "a"})
    queued = server.submit("tts", {"nonce": "b"})
    until(lambda: server.executions(running), "a worker has the job")
    assert server.child.kill() == []
    gate.touch()
    server.start(f"127.0.0.1:{server.port}")
    for job, nonce in ((running, "a"), (queued, "b")):
        status = server.wait_final("tts", job)
        assert (status["status"], status["output"]["nonce"]) == ("COMPLETED", nonce)


def test_a_result_stays_after_a_restart(make):
    server = make.server(endpoint("tts", scripted_pool()))
    before = server.finish("tts", {"nonce": "a"})
    server.child.kill()
    server.start()
    assert server.status("tts", before["id"]) == before


def test_sigterm_ends_everything_in_order(make):
    server = make.server(endpoint("tts", scripted_pool()))
    server.finish("tts", {"nonce": "a"})
    server.child.process.terminate()
    assert server.child.process.wait(timeout=60) == 0
    until(lambda: not server.child.descendants(), "nothing is left")


@pytest.mark.parametrize("stays", ["local", "cloud"])
def test_a_pool_that_leaves_while_the_server_is_stopped_is_lowered_and_its_job_ends(make, stays):
    emulator = make.emulator("--cold-start", "500ms..1s", "--seed", "9")
    cloud_id = emulator.create("tts", workers_max=0)
    settings = {"max_wait": '"1s"', "workers": '{ min = 0, max = 2, idle_timeout = "2s" }'}
    # A second pool without a name of its own is the first one once that has left.
    other = scripted_pool() if stays == "local" else cloud_pool(emulator.create("tts-2", workers_max=0))
    before = [cloud_pool(cloud_id)] if stays == "local" else [cloud_pool(cloud_id), other]
    server = make.server(endpoint("tts", *before, **settings), cloud=emulator)
    job = server.submit("tts", {"seconds": 20})
    server.wait_running("tts", job)
    assert emulator.limits(cloud_id)["max"] > 0
    server.child.kill()
    server.configure(endpoint("tts", other, **settings))
    server.start()
    until(lambda: emulator.limits(cloud_id)["max"] == 0, "the limits are lowered", 30)
    assert server.wait_final("tts", job, 90)["status"] == "COMPLETED"
    assert len(emulator.executions()) == 1 and server.executions(job) == []
    assert "left the configuration while the server was stopped" in server.child.text()
