"""A worker with start-up checks of its own: one passes, one fails until the file FIT exists."""

import os

import runpod
from common import note


@runpod.serverless.register_fitness_check
async def always_fit():
    pass


@runpod.serverless.register_fitness_check
def fit_by_file():
    # Each run of the check leaves a mark: how often the worker was started is counted by it.
    with open(os.environ["FIT"] + ".checks", "ab", buffering=0) as file:
        file.write(b"checked\n")
    if not os.path.exists(os.environ["FIT"]):
        raise RuntimeError("the model was not found")


def handler(job):
    note(job)
    return {"echo": job["input"]}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
