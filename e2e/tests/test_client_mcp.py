"""RunPod's MCP server manages our endpoints: it lists them, looks at one, and changes its limits.

The Python client's own management calls are GraphQL (runpod/api/graphql.py:34), which RunPod retires and
which is not served here; `runpodctl` is in no package registry.
"""

import pytest

from support.columns import MCP
from support.mcp import Mcp
from support.server import endpoint, scripted_pool
from support.wait import until

covers = pytest.mark.covers


@pytest.fixture(scope="module")
def server(make_shared):
    return make_shared.server(
        endpoint("tts", scripted_pool()),
        endpoint("sdxl", workers="{ min = 0, max = 3 }"),
    )


@pytest.fixture(scope="module")
def mcp(server):
    with Mcp(server) as client:
        yield client


def answer(mcp, tool, **arguments):
    failed, payload = mcp.call(tool, **arguments)
    assert not failed, payload
    return payload


def items(payload):
    """The list in an answer, bare or wrapped with its page."""
    return payload if isinstance(payload, list) else next(v for v in payload.values() if isinstance(v, list))


@covers("management: list endpoints", MCP)
def test_it_lists_the_endpoints(mcp):
    assert {found["name"] for found in items(answer(mcp, "list-endpoints"))} == {"tts", "sdxl"}


@covers("management: get an endpoint", MCP)
def test_it_looks_at_one(mcp):
    found = answer(mcp, "get-endpoint", id="sdxl")
    assert (found["name"], found["type"]) == ("sdxl", "QUEUE")
    assert (found["workers"]["min"], found["workers"]["max"]) == (0, 3)


@covers("management: change limits", MCP)
def test_it_changes_limits(mcp, server):
    changed = answer(mcp, "update-endpoint", id="sdxl", body={"workers": {"min": 1, "max": 7}})
    assert (changed["workers"]["min"], changed["workers"]["max"]) == (1, 7)
    again = answer(mcp, "get-endpoint", id="sdxl")
    assert (again["workers"]["min"], again["workers"]["max"]) == (1, 7)
    told = server.call("GET", "/v2/serverless/sdxl").json()["workers"]
    assert (told["min"], told["max"]) == (1, 7)


@covers("management: what cannot be changed", MCP)
def test_it_is_told_what_cannot_be_changed_here(mcp):
    failed, told = mcp.call("update-endpoint", id="sdxl", body={"image": "me/worker:v4"})
    assert failed and "only workers.min and workers.max can be changed" in str(told)


@covers("management: workers", MCP)
def test_it_lists_the_workers(mcp):
    def workers():
        return items(answer(mcp, "list-endpoint-workers", id="tts"))

    [worker] = until(workers, "the card's worker is listed")
    assert worker["status"] in ("INITIALIZING", "IDLE")


@covers("management: releases", MCP)
def test_it_lists_the_releases(mcp):
    answer(mcp, "list-endpoint-releases", id="tts")


@covers("management: unknown endpoint", MCP)
def test_an_unknown_endpoint(mcp):
    failed, told = mcp.call("get-endpoint", id="nothing")
    assert failed and "404" in str(told)


@covers("health", MCP)
def test_it_reads_the_health(mcp):
    told = answer(mcp, "endpoint-health", endpointId="tts")
    assert set(told["workers"]) >= {"idle", "running"}
