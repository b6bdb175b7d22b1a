"""The official Python worker, unmodified: each behaviour by what arrived and what was executed."""

import json

import pytest

from support.compatibility import WORKER
from support.server import endpoint, local_pool
from support.wait import until

covers = pytest.mark.covers


@pytest.fixture(scope="module")
def server(make_shared):
    return make_shared.server(
        endpoint("sync", local_pool("sync")),
        endpoint("asynchronous", local_pool("asynchronous")),
        endpoint("generator", local_pool("generator")),
        endpoint("aggregate", local_pool("aggregate")),
        endpoint("concurrent", local_pool("at_once", slots=3)),
        endpoint("refresh", local_pool("refresh")),
    )


def completed(status):
    assert status["status"] == "COMPLETED", status
    assert isinstance(status["delayTime"], int) and isinstance(status["executionTime"], int)
    assert status["workerId"]
    return status


@covers("sync handler", WORKER)
@pytest.mark.parametrize(
    ("do", "output"),
    [
        ("string", "text"),
        ("number", 7),
        ("list", [1, 2, 3]),
        ("none", None),
        ("bool", True),
        ("unicode", {"text": "Tiếng Việt 🎈 \u2028 \x00"}),
        ("big_number", {"value": 9007199254740993}),
    ],
)
def test_outputs_arrive_as_they_are(server, do, output):
    status = completed(server.finish("sync", {"do": do}))
    assert status["output"] == output
    assert len(server.executions(status["id"])) == 1


@covers("empty input object", WORKER)
def test_an_empty_input_is_delivered(server):
    assert completed(server.finish("sync", {}))["output"] == {"echo": {}}


@covers("empty output object", WORKER)
def test_an_empty_output_is_completed_without_output(server):
    assert "output" not in completed(server.finish("sync", {"do": "empty"}))


@covers("handler returns an error", WORKER)
def test_an_error_fails_the_job_with_its_text(server):
    status = server.finish("sync", {"do": "error"})
    assert (status["status"], status["error"]) == ("FAILED", "went wrong")
    assert len(server.executions(status["id"])) == 1


@covers("handler returns an error and more", WORKER)
def test_keys_beside_an_error_are_kept(server):
    status = server.finish("sync", {"do": "error_and_more"})
    assert (status["status"], status["error"]) == ("FAILED", "went wrong")
    assert status["output"] == {"more": 1}


@covers("handler returns an error object", WORKER)
def test_an_error_object_becomes_text(server):
    status = server.finish("sync", {"do": "error_dict"})
    assert status["status"] == "FAILED"
    assert json.loads(status["error"]) == {"code": 17, "why": "an object"}


@covers("handler raises", WORKER)
def test_an_exception_fails_the_job_with_its_report(server):
    status = server.finish("sync", {"do": "raise"})
    assert status["status"] == "FAILED"
    report = json.loads(status["error"])
    assert report["error_message"] == "the handler's own words"
    assert report["runpod_version"]
    assert len(server.executions(status["id"])) == 1


@covers("NaN in the output", WORKER)
def test_nan_fails_the_job_and_names_the_place(server):
    status = server.finish("sync", {"do": "nan"})
    assert status["status"] == "FAILED"
    assert "value" in status["error"]


@covers("30 MB output", WORKER)
def test_a_big_output_arrives_whole(server):
    status = completed(server.finish("sync", {"do": "big"}, within_s=90))
    assert len(status["output"]["blob"]) == 30_000_000


@covers("progress updates", WORKER)
def test_progress_is_seen_while_the_job_runs(server, tmp_path):
    gate = tmp_path / "gate"
    job = server.submit("sync", {"do": "progress", "gate": str(gate)})

    def progress():
        status = server.status("sync", job)
        return status if status.get("output") == {"percent": 50} else None

    assert until(progress, "progress arrives", 60)["status"] == "IN_PROGRESS"
    gate.touch()
    assert completed(server.wait_final("sync", job))["output"] == {"percent": 100}


@covers("async handler", WORKER)
def test_an_async_handler(server):
    assert completed(server.finish("asynchronous", {"n": 1}))["output"] == {"echo": {"n": 1}}


@covers("cancel of an async handler", WORKER)
def test_cancel_stops_an_async_handler(server, tmp_path):
    gate, cancelled = tmp_path / "gate", tmp_path / "cancelled"
    job = server.submit("asynchronous", {"gate": str(gate), "cancelled": str(cancelled)})
    until(lambda: server.executions(job), "the handler has the job", 60)
    answer = server.call("POST", f"/v2/asynchronous/cancel/{job}")
    assert answer.json()["status"] == "CANCELLED"
    until(cancelled.exists, "the handler is told within a grace period", 10)
    # The same worker goes on with the next job.
    pid = server.executions(job)[0][2]
    after = completed(server.finish("asynchronous", {"n": 2}))
    assert server.executions(after["id"])[0][2] == pid


@covers("generator handler", WORKER)
def test_a_generator_streams_its_chunks(server):
    job = server.submit("generator", {"count": 4})
    seen = []

    def ended():
        answer = server.call("GET", f"/v2/generator/stream/{job}").json()
        seen.extend(chunk["output"] for chunk in answer["stream"])
        return answer["status"] == "COMPLETED"

    until(ended, "the stream ends", 60)
    assert seen == [{"number": n} for n in range(4)]
    assert completed(server.status("generator", job))["output"] == []


@covers("generator raises", WORKER)
def test_a_generator_that_raises_fails_the_job(server):
    status = server.finish("generator", {"count": 2, "then": "raise"})
    assert status["status"] == "FAILED"
    assert "the generator's own words" in status["error"]


@covers("generator yields an error", WORKER)
def test_a_generator_that_yields_an_error_fails_the_job(server):
    status = server.finish("generator", {"count": 2, "then": "error"})
    assert (status["status"], status["error"]) == ("FAILED", "yielded")


@covers("aggregated stream", WORKER)
def test_an_aggregated_stream_is_also_the_output(server):
    job = server.submit("aggregate", {"count": 3})
    status = completed(server.wait_final("aggregate", job))
    assert status["output"] == [{"number": n} for n in range(3)]


@covers("concurrency modifier", WORKER)
def test_jobs_of_one_worker_run_at_once(server):
    jobs = [server.submit("concurrent", {"n": n}) for n in range(3)]
    outputs = [completed(server.wait_final("concurrent", job))["output"] for job in jobs]
    assert outputs == [{"at_once": 3}] * 3
    assert len({server.executions(job)[0][2] for job in jobs}) == 1


@covers("refresh_worker", WORKER)
def test_a_refreshed_worker_is_replaced_and_every_job_runs_once(server):
    jobs = [server.submit("refresh", {"n": n}) for n in range(2)]
    pids = [completed(server.wait_final("refresh", job, 90))["output"]["pid"] for job in jobs]
    assert len(set(pids)) == 2
    assert all(len(server.executions(job)) == 1 for job in jobs)


@covers("refresh_worker in the output", WORKER)
def test_a_refresh_asked_for_in_the_output(server):
    first = completed(server.finish("sync", {"do": "refresh"}))
    assert first["output"] == {"done": True}
    second = completed(server.finish("sync", {"n": 1}, within_s=90))
    pids = [server.executions(job["id"])[0][2] for job in (first, second)]
    assert pids[0] != pids[1]
