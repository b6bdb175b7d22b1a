"""Workers that die or never answer: the job runs again, or fails with the reason, never hangs."""

import os
import signal

import pytest

from support.compatibility import WORKER
from support.processes import group_of, in_group
from support.server import endpoint, local_pool
from support.wait import until

covers = pytest.mark.covers


@pytest.fixture
def server(make):
    return make.server(endpoint("tts", local_pool("sync"), execution_timeout='"60s"'))


@covers("kill -9 of the worker", WORKER)
def test_a_killed_worker_takes_its_group_with_it_and_the_job_completes_once(server, tmp_path):
    gate = tmp_path / "gate"
    job = server.submit("tts", {"do": "hold", "gate": str(gate)})
    pid = until(lambda: server.executions(job), "the handler has the job", 60)[0][2]
    group = group_of(pid)
    until(lambda: len(in_group(group)) >= 2, "the ping child runs in the worker's group")
    os.kill(pid, signal.SIGKILL)
    until(lambda: not in_group(group), "the worker's whole group is gone", within_s=2)
    until(lambda: len(server.executions(job)) == 2, "the job runs again", 60)
    gate.touch()
    status = server.wait_final("tts", job)
    assert (status["status"], status["output"]) == ("COMPLETED", {"held": True})
    assert [entry[2] for entry in server.executions(job)][0] == pid
    assert len(server.executions(job)) == 2


@covers("os._exit in the handler", WORKER)
def test_a_worker_that_exits_in_the_handler(server, tmp_path):
    mark = tmp_path / "mark"
    status = server.finish("tts", {"do": "exit_once", "mark": str(mark)}, within_s=90)
    assert (status["status"], status["output"]) == ("COMPLETED", {"survived": True})
    assert len(server.executions(status["id"])) == 2


@covers("execution timeout", WORKER)
def test_a_hanging_handler_is_ended_by_the_execution_timeout(server):
    job = server.submit("tts", {"do": "hang"}, policy={"executionTimeout": 5_000})
    pid = until(lambda: server.executions(job), "the handler has the job", 60)[0][2]
    group = group_of(pid)
    status = server.wait_final("tts", job, 30)
    assert status["status"] in ("FAILED", "TIMED_OUT")
    assert "executionTimeout" in status["error"]
    until(lambda: not in_group(group), "the hanging process is killed", 30)
    after = server.finish("tts", {"n": 1}, within_s=60)
    assert after["output"] == {"echo": {"n": 1}}


@covers("bytes in the output", WORKER)
@pytest.mark.parametrize("do", ["bytes", "surrogate"])
def test_a_result_that_is_never_posted_ends_the_job_with_a_reason(server, do):
    """The worker only logs what it cannot encode (runpod/serverless/modules/rp_http.py)."""
    status = server.finish("tts", {"do": do}, within_s=150)
    assert status["status"] == "FAILED"
    assert status["error"]
