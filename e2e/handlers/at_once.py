"""An async handler that runs three jobs at once: each waits until all three are there."""

import asyncio

import runpod
from common import note

WIDTH = 3
running = set()
met = asyncio.Event()


async def handler(job):
    note(job)
    running.add(job["id"])
    if len(running) == WIDTH:
        met.set()
    await met.wait()
    return {"at_once": len(running)}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda _current: WIDTH})
