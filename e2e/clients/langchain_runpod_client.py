"""Drives langchain-runpod, unmodified, in an environment of its own (it needs an older httpx).

    python langchain_runpod_client.py BASE KEY ENDPOINT OPERATION PROMPT
"""

import asyncio
import json
import sys

from langchain_runpod import ChatRunPod, RunPod

base, key, name, operation, prompt = sys.argv[1:]
settings = {"endpoint_id": name, "api_key": key, "api_base": base, "poll_interval": 0.1}
if operation.startswith("chat"):
    model = ChatRunPod(model_name="m", **settings)
else:
    model = RunPod(**settings)


async def collect():
    return [chunk async for chunk in model.astream(prompt)]


def text(part):
    return part if isinstance(part, str) else part.content


try:
    verb = operation.partition("-")[2]
    if verb == "invoke":
        answer = text(model.invoke(prompt))
    elif verb == "ainvoke":
        answer = text(asyncio.run(model.ainvoke(prompt)))
    elif verb == "stream":
        answer = [text(part) for part in model.stream(prompt)]
    else:
        answer = [text(part) for part in asyncio.run(collect())]
    print(json.dumps({"answer": answer}))
except Exception as error:
    print(json.dumps({"error": {"name": type(error).__name__, "message": str(error)}}))
