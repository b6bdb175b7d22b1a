"""Sends a burst of jobs with the official Python client and compares every picture.

    RUNPOD_ENDPOINT_BASE_URL=http://127.0.0.1:8080/v2 RUNPOD_API_KEY=… python burst.py

Each output must be equal, byte for byte, to what the handler makes when it runs alone. Ends with
one line and the exit status 0 only if all jobs completed and all outputs are equal.
"""

import argparse
import base64
import os
import sys
import time
import urllib.parse
import urllib.request

import runpod

import handler


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", default="images")
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--within", type=float, default=600.0, metavar="SECONDS")
    return parser.parse_args()


def received(output):
    """The bytes of a picture, from base64 or from its URL."""
    if "image" in output:
        return base64.b64decode(output["image"])
    with urllib.request.urlopen(output["url"], timeout=30) as answer:
        return answer.read()


def main():
    options = arguments()
    runpod.api_key = os.environ["RUNPOD_API_KEY"]
    endpoint = runpod.Endpoint(options.endpoint)
    start = time.monotonic()
    sent = []
    for seed in range(options.jobs):
        given = {
            "seed": seed,
            "width": options.width,
            "height": options.height,
            "steps": options.steps,
            # Every fourth as a file, the others in the answer.
            "as": "url" if seed % 4 == 3 else "base64",
        }
        sent.append((given, endpoint.run(given)))
    print(f"{len(sent)} jobs submitted in {time.monotonic() - start:.1f} s", flush=True)
    equal = 0
    for given, job in sent:
        left = options.within - (time.monotonic() - start)
        output = job.output(timeout=max(1, int(left)))
        if job.status() != "COMPLETED" or output is None:
            print(f"{job.job_id}: {job.status()}")
        elif received(output) != handler.picture(given):
            print(f"{job.job_id}: another picture than the handler makes alone")
        else:
            equal += 1
    print(f"{equal} of {len(sent)} pictures equal, {time.monotonic() - start:.1f} s in all")
    sys.exit(0 if equal == len(sent) else 1)


if __name__ == "__main__":
    main()
