"""`langchain-runpod`, unmodified: its text model and its chat model, plain and (simulated) streaming."""

import pytest

from support import foreign
from support.compatibility import LANGCHAIN
from support.server import endpoint, local_pool

covers = pytest.mark.covers


@pytest.fixture(scope="module")
def server(make_shared):
    return make_shared.server(endpoint("media", local_pool("media")))


def ask(server, operation, prompt):
    return foreign.ask("langchain_runpod_client.py", server, "media", operation, prompt)


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
