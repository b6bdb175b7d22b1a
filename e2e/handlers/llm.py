"""An OpenAI-speaking generator as vLLM's worker is one, and the media answers of the AI SDK.

What a model would say is fixed: the prompt's words come back, one a chunk, as raw server-sent
events when the call streams. The prompt `fail` is answered with an OpenAI error.
"""

import json
import os

import runpod
from common import hold, note

USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def prompt_of(body):
    if "prompt" in body:
        return body["prompt"]
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def openai(route, body):
    if route == "/v1/models":
        yield {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "e2e", "created": 1}]}
        return
    prompt = prompt_of(body)
    if prompt == "fail":
        yield {"error": {"message": "no such model", "type": "NotFoundError", "code": 404}}
        return
    is_chat = route.endswith("/chat/completions")
    kind = "chat.completion" if is_chat else "text_completion"
    head = {"id": "c", "created": 1, "model": body.get("model", "m")}
    if not body.get("stream"):
        choice = {"index": 0, "finish_reason": "stop", "logprobs": None}
        choice |= {"message": {"role": "assistant", "content": prompt}} if is_chat else {"text": prompt}
        yield head | {"object": kind, "choices": [choice], "usage": USAGE}
        return
    for number, word in enumerate(prompt.split(" ")):
        if number == 1 and "GATE" in os.environ:
            hold(os.environ["GATE"])
        piece = {"index": 0, "finish_reason": None}
        piece |= {"delta": {"role": "assistant", "content": word}} if is_chat else {"text": word}
        line = head | {"object": kind + ".chunk" if is_chat else kind, "choices": [piece]}
        yield f"data: {json.dumps(line)}\n\n"
    last = {"index": 0, "finish_reason": "stop"} | ({"delta": {}} if is_chat else {"text": ""})
    yield f"data: {json.dumps(head | {'object': 'chat.completion.chunk', 'choices': [last]})}\n\n"
    if body.get("stream_options", {}).get("include_usage"):
        usage = head | {"object": "chat.completion.chunk", "choices": [], "usage": USAGE}
        yield f"data: {json.dumps(usage)}\n\n"
    yield "data: [DONE]\n\n"


def handler(job):
    note(job)
    given = job["input"]
    yield from openai(given["openai_route"], given.get("openai_input") or {})


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
