"""The `openai` package of PyPI against `/openai/v1` of an endpoint, plain and streaming."""

import openai
import pytest

from support.columns import OPENAI
from support.server import endpoint, local_pool

covers = pytest.mark.covers
WORDS = "one two three"


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    return tmp_path_factory.mktemp("gate") / "gate"


@pytest.fixture(scope="module")
def server(make_shared, gate):
    return make_shared.server(
        endpoint("llm", local_pool("llm"), aliases='["abc123def456"]'),
        endpoint("gated", local_pool("llm", GATE=gate)),
    )


def client(server, name="llm", key=None):
    base = f"{server.base}/v2/{name}/openai/v1"
    return openai.OpenAI(base_url=base, api_key=key or server.key, max_retries=0, timeout=60)


def asked(text):
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


@covers("openai: models", OPENAI)
def test_models(server):
    assert [model.id for model in client(server).models.list()] == ["m"]


@covers("openai: chat completion", OPENAI)
def test_chat(server):
    answer = client(server).chat.completions.create(**asked(WORDS))
    assert answer.choices[0].message.content == WORDS
    assert answer.usage.total_tokens == 3


@covers("openai: completion", OPENAI)
def test_completion(server):
    answer = client(server).completions.create(model="m", prompt=WORDS)
    assert answer.choices[0].text == WORDS


@covers("openai: streamed chat completion", OPENAI)
@covers("openai: usage chunk", OPENAI)
def test_stream_with_its_usage(server):
    stream = client(server).chat.completions.create(
        **asked(WORDS), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert [word for word in words if word] == ["one", "two", "three"]
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 3


@covers("openai: streamed chat completion", OPENAI)
def test_the_first_words_come_before_the_job_ends(server, gate):
    stream = client(server, "gated").chat.completions.create(**asked(WORDS), stream=True)
    assert next(stream).choices[0].delta.content == "one"
    assert server.health("gated")["jobs"]["inProgress"] == 1
    gate.touch()
    rest = [chunk.choices[0].delta.content for chunk in stream]
    assert [word for word in rest if word] == ["two", "three"]


@covers("openai: error status", OPENAI)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_of_the_model_has_its_status(server, stream):
    with pytest.raises(openai.NotFoundError):
        client(server).chat.completions.create(**asked("fail"), stream=stream)


@covers("401 for a wrong key", OPENAI)
def test_a_wrong_key(server):
    with pytest.raises(openai.AuthenticationError):
        client(server, key="not-the-key-of-anybody").models.list()


@covers("404 for an unknown endpoint", OPENAI)
def test_an_unknown_endpoint(server):
    with pytest.raises(openai.NotFoundError):
        client(server, "nothing").models.list()


@covers("an endpoint's alias", OPENAI)
def test_an_alias_reaches_the_endpoint(server):
    assert [model.id for model in client(server, "abc123def456").models.list()] == ["m"]
