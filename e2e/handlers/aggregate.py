"""An async generator whose chunks are also the output."""

import runpod
from common import note


async def handler(job):
    note(job)
    for number in range(job["input"].get("count", 3)):
        yield {"number": number}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
