"""Workers that die or never answer: the job runs again, or fails with the reason, never hangs.

What takes its time (a grace, heartbeats that miss a job) is begun for all versions at once, by the
fixtures of this file; the tests then look at how each ended.
"""

import os
import signal

import pytest

from support.processes import group_of, in_group
from support.wait import until
from support.workers import SINCE_1_6, SINCE_1_9, VERSIONS, by_version, servers

UNSENDABLE = ["bytes", "surrogate"]


def begun(server, job):
    """The process group of the worker whose handler has a job."""
    return group_of(until(lambda: server.executions(job), "the handler has the job", 90)[0][2])


@pytest.fixture(scope="module")
def mute(make_shared):
    """Jobs whose output cannot be sent: {version: (server, {what: job})}."""
    started = servers(make_shared, "sync", SINCE_1_6)
    return {
        v: (server, {do: server.submit("tts", {"do": do}) for do in UNSENDABLE})
        for v, server in started.items()
    }


@pytest.fixture(scope="module")
def hung(make_shared, mute):
    """Jobs that never end: {version: (server, job, the group of its worker)}."""
    started = servers(make_shared, "sync")
    policy = {"executionTimeout": 5_000}
    jobs = {v: server.submit("tts", {"do": "hang"}, policy=policy) for v, server in started.items()}
    return {v: (server, jobs[v], begun(server, jobs[v])) for v, server in started.items()}


@pytest.fixture(scope="module")
def cancelled(make_shared, hung, tmp_path_factory):
    """Jobs cancelled while a synchronous handler runs them: {version: (server, job, group)}."""
    gate = tmp_path_factory.mktemp("gates") / "never"
    started = servers(make_shared, "sync")
    given = {"do": "hold", "gate": str(gate)}
    jobs = {v: server.submit("tts", given) for v, server in started.items()}
    held = {v: (server, jobs[v], begun(server, jobs[v])) for v, server in started.items()}
    for server, job, _ in held.values():
        answer = server.call("POST", f"/v2/tts/cancel/{job}")
        assert answer.json()["status"] == "CANCELLED"
    return held


@pytest.fixture(scope="module")
def killed(make_shared, cancelled):
    """Servers whose workers are killed: {version: server}. The slow cases are on their way."""
    return servers(make_shared, "sync")


@by_version("kill -9 of the worker")
def test_a_killed_worker_takes_its_group_with_it_and_the_job_completes_once(
    killed, version, tmp_path
):
    server, gate = killed[version], tmp_path / "gate"
    job = server.submit("tts", {"do": "hold", "gate": str(gate)})
    pid = until(lambda: server.executions(job), "the handler has the job", 60)[0][2]
    group = group_of(pid)
    if version in SINCE_1_9:
        until(lambda: len(in_group(group)) >= 2, "the ping child runs in the worker's group")
    os.kill(pid, signal.SIGKILL)
    until(lambda: not in_group(group), "the worker's whole group is gone", within_s=2)
    until(lambda: len(server.executions(job)) == 2, "the job runs again", 60)
    gate.touch()
    status = server.wait_final("tts", job)
    assert (status["status"], status["output"]) == ("COMPLETED", {"held": True})
    assert [entry[2] for entry in server.executions(job)][0] == pid
    assert len(server.executions(job)) == 2


@by_version("os._exit in the handler")
def test_a_worker_that_exits_in_the_handler(killed, version, tmp_path):
    server, mark = killed[version], tmp_path / "mark"
    status = server.finish("tts", {"do": "exit_once", "mark": str(mark)}, within_s=90)
    assert (status["status"], status["output"]) == ("COMPLETED", {"survived": True})
    assert len(server.executions(status["id"])) == 2


@by_version("execution timeout")
def test_a_hanging_handler_is_ended_by_the_execution_timeout(hung, version):
    server, job, group = hung[version]
    status = server.wait_final("tts", job, 30)
    assert (status["status"], status["error"]) == ("FAILED", "executionTimeout exceeded")
    until(lambda: not in_group(group), "the hanging process is killed", 30)
    after = server.finish("tts", {"n": 1}, within_s=60)
    assert after["output"] == {"echo": {"n": 1}}


@by_version("cancel of a sync handler")
def test_a_cancel_ends_the_process_that_cannot_be_told(cancelled, version):
    """Before 1.10 nobody can be told, and a synchronous handler never can."""
    server, job, group = cancelled[version]
    until(lambda: not in_group(group), "the worker is replaced after the grace", 30)
    after = server.finish("tts", {"n": 1}, within_s=60)
    assert after["output"] == {"echo": {"n": 1}}
    assert server.status("tts", job)["status"] == "CANCELLED"
    assert len(server.executions(job)) == 1


@by_version("bytes in the output", SINCE_1_6)
@pytest.mark.parametrize("do", UNSENDABLE)
def test_a_result_that_is_never_posted_ends_the_job_with_a_reason(mute, version, do):
    """The worker only logs what it cannot encode (runpod/serverless/modules/rp_http.py)."""
    server, jobs = mute[version]
    status = server.wait_final("tts", jobs[do], 150)
    assert status["status"] == "FAILED"
    assert "probably not JSON" in status["error"]
