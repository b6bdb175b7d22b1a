"""A generator: its chunks are seen through /stream only."""

import runpod
from common import hold, note


def handler(job):
    note(job)
    count = job["input"].get("count", 3)
    for number in range(count):
        if number == count - 1 and "gate" in job["input"]:
            hold(job["input"]["gate"])
        yield {"number": number}
    if job["input"].get("then") == "raise":
        raise ValueError("the generator's own words")
    if job["input"].get("then") == "error":
        yield {"error": "yielded"}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
