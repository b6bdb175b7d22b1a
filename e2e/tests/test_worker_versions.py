"""Older workers of PyPI, unmodified: the oldest that takes a handler, and two on the way to today's.

0.5.0 is the oldest: the published package of 0.4.6 and before imports a module `infer` of the user's
(runpod/serverless/modules/inference.py:7) instead of taking a handler, and fails without it.
"""

import pytest

from support.compatibility import OLD_WORKERS, worker_column
from support.foreign import interpreter
from support.server import endpoint, local_pool

OLDEST, *LATER = OLD_WORKERS


@pytest.fixture(scope="module")
def server(make_shared):
    def named(kind, version):
        python = interpreter(f"worker-{version}")
        return endpoint(f"{kind}-{version}", local_pool(kind, python=python))

    pools = [named("sync", version) for version in OLD_WORKERS]
    pools += [named(kind, version) for kind in ("asynchronous", "generator") for version in LATER]
    return make_shared.server(*pools)


def by_version(row, versions):
    marks = [pytest.param(v, marks=pytest.mark.covers(row, worker_column(v)), id=v) for v in versions]
    return pytest.mark.parametrize("version", marks)


@by_version("sync handler", OLD_WORKERS)
def test_a_sync_handler(server, version):
    status = server.finish(f"sync-{version}", {"n": 1}, within_s=90)
    assert (status["status"], status["output"]) == ("COMPLETED", {"echo": {"n": 1}})
    assert len(server.executions(status["id"])) == 1


@by_version("empty input object", OLD_WORKERS)
def test_an_empty_input_is_delivered(server, version):
    assert server.finish(f"sync-{version}", {}, within_s=90)["output"] == {"echo": {}}


@by_version("handler returns an error", LATER)
def test_an_error_fails_the_job_with_its_text(server, version):
    status = server.finish(f"sync-{version}", {"do": "error"}, within_s=90)
    assert (status["status"], status["error"]) == ("FAILED", "went wrong")


@by_version("handler raises", LATER)
def test_an_exception_fails_the_job_with_its_report(server, version):
    status = server.finish(f"sync-{version}", {"do": "raise"}, within_s=90)
    assert status["status"] == "FAILED"
    assert "the handler's own words" in status["error"]


@by_version("30 MB output", LATER)
def test_a_big_output_arrives_whole(server, version):
    status = server.finish(f"sync-{version}", {"do": "big"}, within_s=120)
    assert status["status"] == "COMPLETED" and len(status["output"]["blob"]) == 30_000_000


@by_version("async handler", LATER)
def test_an_async_handler(server, version):
    assert server.finish(f"asynchronous-{version}", {"n": 1}, within_s=90)["output"] == {"echo": {"n": 1}}


@by_version("generator handler", LATER)
def test_a_generator_streams_its_chunks(server, version):
    job = server.submit(f"generator-{version}", {"count": 4})
    server.wait_final(f"generator-{version}", job, 90)
    answer = server.call("GET", f"/v2/generator-{version}/stream/{job}").json()
    assert [chunk["output"] for chunk in answer["stream"]] == [{"number": n} for n in range(4)]
