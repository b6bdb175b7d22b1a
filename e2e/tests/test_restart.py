"""The serving process and the keeper are killed; what was acknowledged is there afterwards."""

import os
import signal

from support.processes import children
from support.server import endpoint, scripted_pool
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
