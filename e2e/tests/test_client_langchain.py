"""`langchain-runpod`, unmodified: its text model and its chat model, plain and (simulated) streaming."""

import pytest

from support import foreign
from support.columns import LANGCHAIN
from support.server import endpoint, local_pool

covers = pytest.mark.covers


@pytest.fixture(scope="module")
def server(make_shared):
    return make_shared.server(endpoint("media", local_pool("media"), aliases='["abc123def456"]'))


def ask(server, operation, prompt, name="media", key=None):
    return foreign.ask("langchain_runpod_client.py", server, name, operation, prompt, key=key)


@covers("run", LANGCHAIN)
@covers("status", LANGCHAIN)
@pytest.mark.parametrize("verb", ["invoke", "ainvoke"])
def test_invoke(server, verb):
    assert ask(server, f"text-{verb}", "hello") == "said hello"
    assert ask(server, f"chat-{verb}", "hello") == "said User: hello"


@covers("run", LANGCHAIN)
def test_the_simulated_stream(server):
    assert "".join(ask(server, "text-stream", "hello")) == "said hello"


@covers("status of a failed job", LANGCHAIN)
@pytest.mark.parametrize("operation", ["text-invoke", "chat-invoke"])
def test_a_failed_job_is_thrown_with_its_error(server, operation):
    with pytest.raises(foreign.Refused, match="the model's own words"):
        ask(server, operation, "fail")


@covers("an endpoint's alias", LANGCHAIN)
def test_an_alias_reaches_the_endpoint(server):
    assert ask(server, "text-invoke", "hello", name="abc123def456") == "said hello"


@covers("401 for a wrong key", LANGCHAIN)
def test_a_wrong_key(server):
    with pytest.raises(foreign.Refused, match="401"):
        ask(server, "text-invoke", "hello", key="not-the-key-of-anybody")


@covers("404 for an unknown endpoint", LANGCHAIN)
def test_an_unknown_endpoint(server):
    with pytest.raises(foreign.Refused, match="404"):
        ask(server, "chat-invoke", "hello", name="nothing")
