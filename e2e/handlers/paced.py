"""An async generator at its own pace, many jobs at once: `input.count` chunks, `input.pause_s` before each.

The chunks are also the output. It notes `input.nonce`, not the job's id: the same handler runs in the cloud,
where a job's id is another one.
"""

import asyncio

import runpod
from common import note

WIDTH = 25


async def handler(job):
    given = job["input"]
    note({"id": given["nonce"]})
    for number in range(given["count"]):
        await asyncio.sleep(given["pause_s"])
        yield {"nonce": given["nonce"], "number": number}


if __name__ == "__main__":
    runpod.serverless.start(
        {
            "handler": handler,
            "return_aggregate_stream": True,
            "concurrency_modifier": lambda _current: WIDTH,
        }
    )
