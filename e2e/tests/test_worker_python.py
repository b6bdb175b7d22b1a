"""The official worker, unmodified, in each version: what arrived, and what was executed how often.

0.5.0 is the oldest: the published package of 0.4.6 and before imports a module `infer` of the user's
(runpod/serverless/modules/inference.py:7) instead of taking a handler, and fails without it. What it
cannot do is in test_worker_oldest.py.
"""

import json
import re

import pytest

from support.wait import until
from support.workers import CURRENT, SINCE_1_6, SINCE_1_9, VERSIONS, by_version, endpoints, name

OLDEST = VERSIONS[0]


@pytest.fixture(scope="module")
def server(make_shared):
    kinds = ("asynchronous", "generator", "aggregate", "refresh")
    return make_shared.server(
        *endpoints("sync"),
        *(one for kind in kinds for one in endpoints(kind, SINCE_1_6)),
        *endpoints("concurrent", SINCE_1_6, handler="at_once", slots=3),
    )


def finish(server, kind, version, job_input):
    return server.finish(name(kind, version), job_input, within_s=90)


def completed(status):
    assert status["status"] == "COMPLETED", status
    assert isinstance(status["delayTime"], int) and isinstance(status["executionTime"], int)
    assert status["workerId"]
    return status


OUTPUTS = {
    "string": "text",
    "unicode": {"text": "Tiếng Việt 🎈 \u2028 \x00"},
    "big_number": {"value": 9007199254740993},
    # 0.5.0 looks for "error" in each part of an output (runpod/serverless/modules/job.py:69).
    "number": 7,
    "list": [1, 2, 3],
    "none": None,
    "bool": True,
}


@by_version("sync handler")
def test_outputs_arrive_as_they_are(server, version):
    for do in list(OUTPUTS)[: 3 if version == OLDEST else None]:
        status = completed(finish(server, "sync", version, {"do": do}))
        assert status["output"] == OUTPUTS[do]
        assert len(server.executions(status["id"])) == 1


@by_version("empty input object")
def test_an_empty_input_is_delivered(server, version):
    assert completed(finish(server, "sync", version, {}))["output"] == {"echo": {}}


@by_version("empty output object")
def test_an_empty_output_is_completed_without_output(server, version):
    status = completed(finish(server, "sync", version, {"do": "empty"}))
    # Later ones send no output at all; 0.5.0 sends it as it is.
    assert status.get("output") == ({} if version == OLDEST else None)


@by_version("handler returns an error")
def test_an_error_fails_the_job_with_its_text(server, version):
    # 0.5.0 knows it in a list only (runpod/serverless/modules/job.py:69).
    do = "error_list" if version == OLDEST else "error"
    status = finish(server, "sync", version, {"do": do})
    assert (status["status"], status["error"]) == ("FAILED", "went wrong")
    assert len(server.executions(status["id"])) == 1


@by_version("handler returns an error and more", SINCE_1_6)
def test_keys_beside_an_error_are_kept(server, version):
    status = finish(server, "sync", version, {"do": "error_and_more"})
    assert (status["status"], status["error"]) == ("FAILED", "went wrong")
    assert status["output"] == {"more": 1}


@by_version("handler returns an error object")
def test_an_error_object_becomes_text(server, version):
    do = "error_dict_list" if version == OLDEST else "error_dict"
    status = finish(server, "sync", version, {"do": do})
    assert status["status"] == "FAILED"
    assert json.loads(status["error"]) == {"code": 17, "why": "an object"}


@by_version("handler raises")
def test_an_exception_fails_the_job_with_its_report(server, version):
    status = finish(server, "sync", version, {"do": "raise"})
    assert status["status"] == "FAILED"
    if version == OLDEST:
        assert status["error"] == "the handler's own words"
        return
    report = json.loads(status["error"])
    assert report["error_message"] == "the handler's own words"
    assert report["runpod_version"]
    assert len(server.executions(status["id"])) == 1


@by_version("NaN in the output")
def test_nan_fails_the_job_and_names_the_place(server, version):
    status = finish(server, "sync", version, {"do": "nan"})
    assert status["status"] == "FAILED"
    assert "value" in status["error"]


@by_version("30 MB output")
def test_a_big_output_arrives_whole(server, version):
    status = completed(finish(server, "sync", version, {"do": "big"}))
    assert len(status["output"]["blob"]) == 30_000_000


@by_version("progress updates", SINCE_1_6)
def test_progress_is_seen_while_the_job_runs(server, version, tmp_path):
    gate, where = tmp_path / "gate", name("sync", version)
    job = server.submit(where, {"do": "progress", "gate": str(gate)})

    def progress():
        status = server.status(where, job)
        return status if status.get("output") == {"percent": 50} else None

    assert until(progress, "progress arrives", 60)["status"] == "IN_PROGRESS"
    gate.touch()
    assert completed(server.wait_final(where, job))["output"] == {"percent": 100}


@by_version("async handler", SINCE_1_6)
def test_an_async_handler(server, version):
    status = completed(finish(server, "asynchronous", version, {"n": 1}))
    assert status["output"] == {"echo": {"n": 1}}


@by_version("cancel of an async handler", [CURRENT])
def test_cancel_stops_an_async_handler(server, version, tmp_path):
    gate, cancelled, where = tmp_path / "gate", tmp_path / "cancelled", name("asynchronous", version)
    job = server.submit(where, {"gate": str(gate), "cancelled": str(cancelled)})
    until(lambda: server.executions(job), "the handler has the job", 60)
    answer = server.call("POST", f"/v2/{where}/cancel/{job}")
    assert answer.json()["status"] == "CANCELLED"
    until(cancelled.exists, "the handler is told within a grace period", 10)
    # The same worker goes on with the next job.
    pid = server.executions(job)[0][2]
    after = completed(server.finish(where, {"n": 2}))
    assert server.executions(after["id"])[0][2] == pid


def stream_of(server, where, job):
    """The chunks of a job and its last status, read as a client reads them."""
    seen = []

    def ended():
        answer = server.call("GET", f"/v2/{where}/stream/{job}").json()
        seen.extend(chunk["output"] for chunk in answer["stream"])
        return answer["status"] in ("COMPLETED", "FAILED")

    until(ended, "the stream ends", 90)
    return seen


@by_version("generator handler", SINCE_1_6)
def test_a_generator_streams_its_chunks(server, version):
    where = name("generator", version)
    job = server.submit(where, {"count": 4})
    assert stream_of(server, where, job) == [{"number": n} for n in range(4)]
    assert completed(server.status(where, job))["output"] == []


@by_version("generator raises", SINCE_1_6)
def test_a_generator_that_raises_fails_the_job(server, version):
    status = finish(server, "generator", version, {"count": 2, "then": "raise"})
    assert status["status"] == "FAILED"
    assert "the generator's own words" in status["error"]


@by_version("generator yields an error", SINCE_1_9)
def test_a_generator_that_yields_an_error_fails_the_job(server, version):
    status = finish(server, "generator", version, {"count": 2, "then": "error"})
    assert (status["status"], status["error"]) == ("FAILED", "yielded")


def test_an_error_that_1_6_2_yields_is_a_chunk_like_others(server):
    """It looks for an error beside the output, not in it (runpod/serverless/worker.py:54)."""
    where = name("generator", "1.6.2")
    job = server.submit(where, {"count": 1, "then": "error"})
    assert stream_of(server, where, job) == [{"number": 0}, {"error": "yielded"}]
    completed(server.status(where, job))


@by_version("aggregated stream", SINCE_1_6)
def test_an_aggregated_stream_is_also_the_output(server, version):
    status = completed(finish(server, "aggregate", version, {"count": 3}))
    assert status["output"] == [{"number": n} for n in range(3)]


def at_once(server, version, count):
    """Runs jobs of which three run at once; each has seen the two others."""
    where = name("concurrent", version)
    jobs = [server.submit(where, {"n": n}) for n in range(count)]
    for job in jobs:
        assert completed(server.wait_final(where, job, 90))["output"]["at_once"] >= 3
        assert len(server.executions(job)) == 1
    return [server.executions(job)[0][2] for job in jobs]


@by_version("concurrency modifier", SINCE_1_6)
def test_jobs_of_one_worker_run_at_once(server, version):
    # The handler ends a job when three are there: all end only if one worker has three.
    assert len(set(at_once(server, version, 3))) == 1


@by_version("several jobs in one take", SINCE_1_9)
def test_a_worker_takes_several_jobs_at_once(server, version):
    at_once(server, version, 9)
    takes = re.findall(r"Jobs in queue: (\d+)", server.worker_log(name("concurrent", version)))
    assert max(map(int, takes)) > 1, takes


def test_1_6_2_forgets_the_result_when_its_start_asks_for_a_refresh(server):
    """It stops its loop before the result is sent (runpod/serverless/worker.py:69)."""
    status = finish(server, "refresh", "1.6.2", {"n": 1})
    assert status["status"] == "FAILED" and status["error"].startswith("worker_lost")
    assert len(server.executions(status["id"])) == 3


@by_version("refresh_worker", SINCE_1_9)
def test_a_refreshed_worker_is_replaced_and_every_job_runs_once(server, version):
    where = name("refresh", version)
    jobs = [server.submit(where, {"n": n}) for n in range(2)]
    pids = [completed(server.wait_final(where, job, 90))["output"]["pid"] for job in jobs]
    assert len(set(pids)) == 2
    assert all(len(server.executions(job)) == 1 for job in jobs)


@by_version("refresh_worker in the output", SINCE_1_6)
def test_a_refresh_asked_for_in_the_output(server, version):
    first = completed(finish(server, "sync", version, {"do": "refresh"}))
    assert first["output"] == {"done": True}
    second = completed(finish(server, "sync", version, {"n": 1}))
    pids = [server.executions(job["id"])[0][2] for job in (first, second)]
    assert pids[0] != pids[1]
