"""A synchronous handler of RunPod's package that answers as the scripted worker does."""

import os
import uuid

import runpod
from common import hold, note


def handler(job):
    note(job)
    given = job["input"]
    hold(given["gate"])
    return {
        "nonce": given["nonce"],
        "execution": uuid.uuid4().hex,
        "worker": os.environ["RUNPOD_POD_ID"],
    }


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
