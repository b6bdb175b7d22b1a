"""`@runpod/ai-sdk-provider` through the `ai` package, unmodified: chat, stream, and the media models."""

import json

import pytest

from support import foreign
from support.columns import AI_SDK
from support.server import endpoint, local_pool

covers = pytest.mark.covers
WORDS = "one two three"


@pytest.fixture(scope="module")
def server(make_shared):
    return make_shared.server(
        endpoint("llm", local_pool("llm")),
        endpoint("media", local_pool("media"), aliases='["abc123def456"]'),
    )


def ask(server, name, operation, prompt, key=None):
    return foreign.ask("ai-sdk.mjs", server, name, operation, json.dumps({"prompt": prompt}), key=key)


@covers("openai: chat completion", AI_SDK)
def test_chat(server):
    assert ask(server, "llm", "chat", WORDS)["text"] == WORDS


@covers("openai: completion", AI_SDK)
def test_completion(server):
    # The `ai` package writes roles around a prompt of this kind, and the handler says all of it back.
    assert WORDS in ask(server, "llm", "completion", WORDS)["text"]


@covers("an endpoint's alias", AI_SDK)
def test_an_alias_reaches_the_endpoint(server):
    assert ask(server, "abc123def456", "image", "a cat") == {"bytes": 4}


@covers("401 for a wrong key", AI_SDK)
@pytest.mark.parametrize(("name", "operation"), [("llm", "chat"), ("media", "image")])
def test_a_wrong_key(server, name, operation):
    with pytest.raises(foreign.Refused) as error:
        ask(server, name, operation, WORDS, key="not-the-key-of-anybody")
    assert error.value.told["status"] == 401


@covers("404 for an unknown endpoint", AI_SDK)
@pytest.mark.parametrize("operation", ["chat", "image", "video"])
def test_an_unknown_endpoint(server, operation):
    with pytest.raises(foreign.Refused) as error:
        ask(server, "nothing", operation, WORDS)
    assert error.value.told["status"] == 404


@covers("openai: streamed chat completion", AI_SDK)
@covers("openai: usage chunk", AI_SDK)
def test_stream_with_its_usage(server):
    told = ask(server, "llm", "stream", WORDS)
    assert told["parts"] == ["one", "two", "three"]
    assert told["usage"]["totalTokens"] == 3


@covers("openai: error status", AI_SDK)
@pytest.mark.parametrize("operation", ["chat", "stream"])
def test_an_error_of_the_model_has_its_status(server, operation):
    with pytest.raises(foreign.Refused) as error:
        ask(server, "llm", operation, "fail")
    assert error.value.told["status"] == 404
    assert "no such model" in error.value.told["message"]


@covers("runsync", AI_SDK)
@pytest.mark.parametrize("operation", ["image", "speech"])
def test_media_by_runsync(server, operation):
    assert ask(server, "media", operation, "a cat") == {"bytes": 4}


@covers("run", AI_SDK)
@covers("status", AI_SDK)
def test_media_by_run_and_status(server):
    assert ask(server, "media", "transcription", "") == {"text": "heard UklGRg=="}
    assert ask(server, "media", "video", "a cat")["url"].startswith("data:")


@covers("status of a failed job", AI_SDK)
@pytest.mark.parametrize("operation", ["image", "speech", "video"])
def test_a_failed_job_is_thrown_with_its_error(server, operation):
    with pytest.raises(foreign.Refused, match="the model's own words"):
        ask(server, "media", operation, "fail")
