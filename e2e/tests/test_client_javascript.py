"""The official JavaScript client `runpod-sdk`, unmodified, in node: what arrived, not how it exited."""

import json

import pytest

from support import foreign
from support.columns import JAVASCRIPT
from support.server import endpoint, local_pool
from support.wait import until

covers = pytest.mark.covers


@pytest.fixture(scope="module")
def server(make_shared):
    return make_shared.server(
        endpoint("tts", local_pool("sync"), aliases='["abc123def456"]'),
        endpoint("tokens", local_pool("generator")),
    )


def ask(server, name, operation, *arguments):
    texts = [json.dumps(argument) for argument in arguments]
    return foreign.ask("runpod-sdk.mjs", server, name, operation, *texts)


@covers("run", JAVASCRIPT)
@covers("status", JAVASCRIPT)
def test_run_then_status(server):
    started = ask(server, "tts", "run", {"input": {"text": "hello"}})
    assert started["status"] == "IN_QUEUE"
    server.wait_final("tts", started["id"])
    ended = ask(server, "tts", "status", started["id"])
    assert ended["completed"] and ended["succeeded"]
    assert ended["output"] == {"echo": {"text": "hello"}}
    assert len(server.executions(started["id"])) == 1


@covers("runsync", JAVASCRIPT)
@covers("status-sync", JAVASCRIPT)
def test_run_sync_of_a_job_longer_than_its_hold_is_followed_by_status_sync(server, tmp_path):
    gate = tmp_path / "gate"
    job = json.dumps({"input": {"do": "hold", "gate": str(gate)}})
    # The client's own limit is also the hold of its requests (dist/src/index.js, `clamp`).
    process = foreign.start("runpod-sdk.mjs", server, "tts", "runSync", job, "60000")
    until(lambda: server.health("tts")["jobs"]["inProgress"] == 1, "the job runs", 60)
    gate.touch()
    ended = foreign.finish(process)
    assert (ended["status"], ended["output"], ended["succeeded"]) == ("COMPLETED", {"held": True}, True)


@covers("status-sync", JAVASCRIPT)
def test_status_sync_is_held(server, tmp_path):
    gate = tmp_path / "gate"
    job = server.submit("tts", {"do": "hold", "gate": str(gate)})
    held = ask(server, "tts", "statusSync", job, 1000)
    assert not held["completed"]
    gate.touch()
    assert ask(server, "tts", "statusSync", job, 30000)["succeeded"]


@covers("status of a failed job", JAVASCRIPT)
def test_a_failed_job_is_no_exception(server):
    ended = ask(server, "tts", "runSync", {"input": {"do": "error"}})
    assert (ended["completed"], ended["succeeded"], ended["error"]) == (True, False, "went wrong")


@covers("stream", JAVASCRIPT)
def test_stream_has_every_chunk_although_it_stops_at_the_first_final_state(server):
    job = server.submit("tokens", {"count": 5})
    assert ask(server, "tokens", "stream", job) == [{"output": {"number": n}} for n in range(5)]


@covers("cancel of a queued job", JAVASCRIPT)
@covers("cancel of a running job", JAVASCRIPT)
def test_cancel(server, tmp_path):
    gate = tmp_path / "gate"
    running = server.submit("tts", {"do": "hold", "gate": str(gate)})
    until(lambda: server.executions(running), "the handler has the job", 60)
    queued = server.submit("tts", {"never": "runs"})
    for job in (queued, running):
        assert ask(server, "tts", "cancel", job)["status"] == "CANCELLED"
    gate.touch()
    assert server.status("tts", queued)["status"] == "CANCELLED"
    assert server.finish("tts", {"after": 1})["output"] == {"echo": {"after": 1}}
    assert server.executions(queued) == []


@covers("purge-queue", JAVASCRIPT)
def test_purge(server, tmp_path):
    gate = tmp_path / "gate"
    running = server.submit("tts", {"do": "hold", "gate": str(gate)})
    until(lambda: server.executions(running), "the handler has the job", 60)
    server.submit("tts", {"never": "runs"})
    assert ask(server, "tts", "purgeQueue") == {"removed": 1, "status": "completed"}
    gate.touch()
    assert server.wait_final("tts", running)["status"] == "COMPLETED"


@covers("an endpoint's alias", JAVASCRIPT)
def test_an_alias_reaches_the_endpoint(server):
    ended = ask(server, "abc123def456", "runSync", {"input": {"n": 1}})
    assert ended["output"] == {"echo": {"n": 1}}


@covers("401 for a wrong key", JAVASCRIPT)
def test_a_wrong_key_is_thrown_with_its_status(server):
    process = foreign.start("runpod-sdk.mjs", server, "tts", "health", key="not-the-key-of-anybody")
    with pytest.raises(foreign.Refused) as error:
        foreign.finish(process)
    assert "401" in json.dumps(error.value.told)


@covers("health", JAVASCRIPT)
def test_health(server):
    assert {"jobs", "workers"} <= set(ask(server, "tts", "health"))


@pytest.mark.parametrize(
    ("name", "operation", "given", "status"),
    [
        pytest.param(
            "ttt", "health", [], 404, marks=covers("404 for an unknown endpoint", JAVASCRIPT)
        ),
        pytest.param(
            "tts",
            "status",
            ["00000000-0000-4000-8000-000000000000-u1"],
            404,
            marks=covers("404 for an unknown job", JAVASCRIPT),
        ),
        pytest.param(
            "tts",
            "run",
            [{"input": {}, "policy": {"executionTimeout": 1}}],
            400,
            marks=covers("400 for a bad policy", JAVASCRIPT),
        ),
    ],
)
def test_a_refusal_is_thrown_with_its_status(server, name, operation, given, status):
    with pytest.raises(foreign.Refused) as error:
        ask(server, name, operation, *given)
    assert str(status) in json.dumps(error.value.told)


def test_the_client_has_no_other_calls(server):
    """dist/src/index.js, `class Endpoint`: no retry, no requests, no `/openai`."""
    assert ask(server, "tts", "methods") == sorted(
        ["cancel", "health", "purgeQueue", "run", "runSync", "status", "statusSync", "stream"]
    )
