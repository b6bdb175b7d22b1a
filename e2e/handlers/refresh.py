"""A worker that ends after every job, by its start configuration."""

import os

import runpod
from common import note


def handler(job):
    note(job)
    return {"pid": os.getpid()}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "refresh_worker": True})
