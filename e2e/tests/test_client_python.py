"""The official Python client, synchronous and asynchronous, unmodified."""

import asyncio

import pytest
import requests
from runpod import AsyncioEndpoint, http_client

from support.columns import ASYNC_CLIENT, CLIENT
from support.server import endpoint, local_pool
from support.wait import until

covers = pytest.mark.covers


@pytest.fixture(scope="module")
def server(make_shared):
    return make_shared.server(
        endpoint("tts", local_pool("sync"), aliases='["abc123def456"]'),
        endpoint("tokens", local_pool("generator")),
    )


@pytest.fixture
def sdk(client, server):
    return client(server)


@covers("run", CLIENT)
@covers("status", CLIENT)
def test_run_then_status_and_output(sdk, server):
    job = sdk.Endpoint("tts").run({"text": "hello"})
    assert job.output(timeout=60) == {"echo": {"text": "hello"}}
    assert job.status() == "COMPLETED"
    assert len(server.executions(job.job_id)) == 1


@covers("an endpoint's alias", CLIENT)
def test_an_alias_reaches_the_endpoint(sdk):
    assert sdk.Endpoint("abc123def456").run({"n": 1}).output(timeout=60) == {"echo": {"n": 1}}


@covers("runsync", CLIENT)
def test_run_sync_returns_the_output(sdk):
    assert sdk.Endpoint("tts").run_sync({"text": "now"}, timeout=60) == {"echo": {"text": "now"}}


@covers("runsync", CLIENT)
def test_run_sync_of_an_input_with_everything_around_it(sdk):
    whole = {"input": {"do": "keys"}, "policy": {"executionTimeout": 60_000}}
    assert {"id", "input"} <= set(sdk.Endpoint("tts").run_sync(whole, timeout=60)["keys"])


@covers("status of a failed job", CLIENT)
def test_a_failed_job_has_a_status_and_no_output(sdk):
    job = sdk.Endpoint("tts").run({"do": "error"})
    assert job.output(timeout=60) is None
    assert job.status() == "FAILED"


@covers("stream", CLIENT)
def test_stream_yields_each_chunk_once_and_in_order(sdk):
    job = sdk.Endpoint("tokens").run({"count": 5})
    assert list(job.stream()) == [{"number": n} for n in range(5)]


@covers("stream", CLIENT)
def test_chunks_come_before_the_job_ends(sdk, tmp_path):
    gate = tmp_path / "gate"
    job = sdk.Endpoint("tokens").run({"count": 3, "gate": str(gate)})
    chunks = job.stream()
    assert next(chunks) == {"number": 0}
    assert job._fetch_job()["status"] == "IN_PROGRESS"
    gate.touch()
    assert list(chunks) == [{"number": 1}, {"number": 2}]


@covers("cancel of a running job", CLIENT)
def test_cancel_of_a_running_job(sdk, server, tmp_path):
    gate = tmp_path / "gate"
    job = sdk.Endpoint("tts").run({"do": "hold", "gate": str(gate)})
    until(lambda: server.executions(job.job_id), "the handler has the job", 60)
    assert job.cancel()["status"] == "CANCELLED"
    gate.touch()
    assert job.status() == "CANCELLED"
    # The handler's late result must not bring it back to life.
    assert sdk.Endpoint("tts").run({"after": 1}).output(timeout=60) == {"echo": {"after": 1}}
    assert server.status("tts", job.job_id)["status"] == "CANCELLED"
    assert "output" not in server.status("tts", job.job_id)


@covers("cancel of a queued job", CLIENT)
def test_cancel_of_a_queued_job(sdk, server, tmp_path):
    gate = tmp_path / "gate"
    first = sdk.Endpoint("tts").run({"do": "hold", "gate": str(gate)})
    until(lambda: server.executions(first.job_id), "the handler has the job", 60)
    second = sdk.Endpoint("tts").run({"never": "runs"})
    assert second.status() == "IN_QUEUE"
    assert second.cancel()["status"] == "CANCELLED"
    assert second.cancel()["status"] == "CANCELLED"
    gate.touch()
    assert first.output(timeout=60) == {"held": True}
    assert second.status() == "CANCELLED"
    assert server.executions(second.job_id) == []


@covers("health", CLIENT)
def test_health_has_all_gauges(sdk):
    endpoint = sdk.Endpoint("tts")
    endpoint.run_sync({"text": "one"}, timeout=60)
    health = endpoint.health()
    jobs, workers = health["jobs"], health["workers"]
    assert set(jobs) >= {"completed", "failed", "inProgress", "inQueue", "retried"}
    expected = {"idle", "initializing", "ready", "running", "throttled", "unhealthy"}
    assert set(workers) >= expected
    assert jobs["completed"] >= 1
    assert workers["idle"] + workers["running"] >= 1


@covers("purge-queue", CLIENT)
def test_purge_removes_queued_jobs_only(sdk, server, tmp_path):
    gate = tmp_path / "gate"
    running = sdk.Endpoint("tts").run({"do": "hold", "gate": str(gate)})
    until(lambda: server.executions(running.job_id), "the handler has the job", 60)
    queued = [sdk.Endpoint("tts").run({"n": n}) for n in range(2)]
    answer = sdk.Endpoint("tts").purge_queue()
    assert answer == {"removed": 2, "status": "completed"}
    gate.touch()
    assert running.output(timeout=60) == {"held": True}
    assert all(server.executions(job.job_id) == [] for job in queued)


@covers("401 for a wrong key", CLIENT)
def test_a_wrong_key_is_a_runtime_error(client, server):
    with pytest.raises(RuntimeError, match="401"):
        client(server, key="not-the-key-of-anybody").Endpoint("tts").run({"a": 1})


@covers("404 for an unknown endpoint", CLIENT)
def test_an_unknown_endpoint_is_404(sdk):
    with pytest.raises(requests.HTTPError) as error:
        sdk.Endpoint("ttt").run({"a": 1})
    assert error.value.response.status_code == 404
    assert error.value.response.json()["code"] == "endpoint_not_found"


@covers("404 for an unknown job", CLIENT)
def test_an_unknown_job_is_404(sdk, server):
    job = sdk.Endpoint("tts").run({"a": 1})
    job.job_id = "00000000-0000-4000-8000-000000000000-u1"
    with pytest.raises(requests.HTTPError) as error:
        job.status()
    assert error.value.response.status_code == 404


@covers("400 for a bad policy", CLIENT)
def test_a_bad_policy_is_400_and_names_the_field(sdk):
    with pytest.raises(requests.HTTPError) as error:
        sdk.Endpoint("tts").run({"input": {"a": 1}, "policy": {"executionTimeout": 1}})
    assert error.value.response.status_code == 400
    body = error.value.response.json()
    assert isinstance(body["error"], str) and "executionTimeout" in str(body)


def run_async(server, coroutine, **settings):
    """Runs `coroutine(endpoint)` with the asynchronous client."""

    async def main():
        async with http_client.AsyncClientSession() as session:
            return await coroutine(AsyncioEndpoint("tts", session, **settings), session)

    return asyncio.run(main())


@covers("run", ASYNC_CLIENT)
@covers("status", ASYNC_CLIENT)
def test_async_run_status_output(sdk, server):
    async def use(endpoint, _session):
        job = await endpoint.run({"text": "hello"})
        return await job.output(timeout=60), await job.status()

    assert run_async(server, use) == ({"echo": {"text": "hello"}}, "COMPLETED")


@covers("stream", ASYNC_CLIENT)
def test_async_stream(sdk, server):
    async def use(_endpoint, session):
        job = await AsyncioEndpoint("tokens", session).run({"count": 4})
        return [chunk async for chunk in job.stream()]

    assert run_async(server, use) == [{"number": n} for n in range(4)]


@covers("cancel of a running job", ASYNC_CLIENT)
def test_async_cancel(sdk, server, tmp_path):
    gate = tmp_path / "gate"

    async def use(endpoint, _session):
        job = await endpoint.run({"do": "hold", "gate": str(gate)})
        cancelled = await job.cancel()
        gate.touch()
        return cancelled["status"], await job.status()

    assert run_async(server, use) == ("CANCELLED", "CANCELLED")


@covers("health", ASYNC_CLIENT)
def test_async_health(sdk, server):
    async def use(endpoint, _session):
        return await endpoint.health()

    assert {"jobs", "workers"} <= set(run_async(server, use))


@covers("an endpoint's alias", ASYNC_CLIENT)
def test_async_alias(sdk, server):
    async def use(_endpoint, session):
        job = await AsyncioEndpoint("abc123def456", session).run({"n": 1})
        return await job.output(timeout=60)

    assert run_async(server, use) == {"echo": {"n": 1}}


@covers("status of a failed job", ASYNC_CLIENT)
def test_async_failed_job_has_a_status_and_no_output(sdk, server):
    async def use(endpoint, _session):
        job = await endpoint.run({"do": "error"})
        return await job.output(timeout=60), await job.status()

    assert run_async(server, use) == (None, "FAILED")


@covers("cancel of a queued job", ASYNC_CLIENT)
@covers("purge-queue", ASYNC_CLIENT)
def test_async_cancel_and_purge_of_queued_jobs(sdk, server, tmp_path):
    gate = tmp_path / "gate"

    async def use(endpoint, _session):
        running = await endpoint.run({"do": "hold", "gate": str(gate)})
        while await running.status() != "IN_PROGRESS":
            await asyncio.sleep(0.05)
        queued = [await endpoint.run({"n": n}) for n in range(3)]
        cancelled = await queued[0].cancel()
        purged = await endpoint.purge_queue()
        gate.touch()
        assert await running.output(timeout=60) == {"held": True}
        return cancelled["status"], purged, [job.job_id for job in queued]

    status, purged, queued = run_async(server, use)
    assert (status, purged) == ("CANCELLED", {"removed": 2, "status": "completed"})
    assert all(server.executions(job) == [] for job in queued)


@covers("404 for an unknown job", ASYNC_CLIENT)
def test_async_unknown_job(sdk, server):
    """The client takes `status` of any body: here it is the number 404, and no final word."""

    async def use(endpoint, _session):
        job = await endpoint.run({"a": 1})
        job.job_id = "00000000-0000-4000-8000-000000000000-u1"
        return await job.status()

    assert run_async(server, use) == 404


@covers("404 for an unknown endpoint", ASYNC_CLIENT)
def test_async_unknown_endpoint_is_a_key_error(sdk, server):
    async def use(_endpoint, session):
        await AsyncioEndpoint("ttt", session).run({"a": 1})

    with pytest.raises(KeyError, match="id"):
        run_async(server, use)


@covers("401 for a wrong key", ASYNC_CLIENT)
def test_async_wrong_key_is_a_key_error(sdk, server):
    """The client ignores HTTP statuses and misses `id` (runpod/endpoint/asyncio/asyncio_runner.py)."""

    async def use(endpoint, _session):
        await endpoint.run({"a": 1})

    with pytest.raises(KeyError, match="id"):
        run_async(server, use, api_key="not-the-key-of-anybody")
