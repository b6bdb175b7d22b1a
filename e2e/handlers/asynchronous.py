"""An async handler that can be cancelled while it waits."""

import asyncio
import os

import runpod
from common import note


async def handler(job):
    note(job)
    gate = job["input"].get("gate")
    try:
        while gate and not os.path.exists(gate):
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        with open(job["input"]["cancelled"], "w"):
            pass
        raise
    return {"echo": job["input"]}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
