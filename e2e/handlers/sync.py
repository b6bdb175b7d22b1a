"""A synchronous handler; `input.do` says what it does."""

import os
import time

import runpod
from common import hold, note


def echo(job):
    return {"echo": job["input"]}


def keys(job):
    return {"keys": sorted(job)}


def trace(job):
    return {"traceparent": job.get("traceparent"), "tracestate": job.get("tracestate")}


def whole(job):
    """The job as it came, a secret shown only as seen."""
    config = job.get("s3Config") or {}
    return {"s3Config": config | {"accessSecret": "seen" if config.get("accessSecret") else None}}


def hold_until_gate(job):
    hold(job["input"]["gate"])
    return {"held": True}


def progress(job):
    runpod.serverless.progress_update(job, {"percent": 50})
    hold(job["input"]["gate"])
    return {"percent": 100}


def hang(_job):
    while True:
        time.sleep(3600)


def exit_at_once(_job):
    os._exit(3)


def exit_once(job):
    """Dies the first time; the next worker that gets the job completes it."""
    mark = job["input"]["mark"]
    if not os.path.exists(mark):
        with open(mark, "w"):
            pass
        os._exit(3)
    return {"survived": True}


def raise_error(_job):
    raise ValueError("the handler's own words")


def big(_job):
    return {"blob": "x" * 30_000_000}


RETURNS = {
    "string": "text",
    "number": 7,
    "list": [1, 2, 3],
    "none": None,
    "bool": True,
    "empty": {},
    "error": {"error": "went wrong"},
    "error_and_more": {"error": "went wrong", "more": 1},
    "error_dict": {"error": {"code": 17, "why": "an object"}},
    "error_list": [{"error": "went wrong"}],
    "error_dict_list": [{"error": {"code": 17, "why": "an object"}}],
    "bytes": {"raw": b"\x00\x01"},
    "surrogate": {"text": "\ud800"},
    "nan": {"value": float("nan")},
    "unicode": {"text": "Tiếng Việt 🎈 \u2028 \x00"},
    "big_number": {"value": 9007199254740993},
    "refresh": {"refresh_worker": True, "done": True},
}

DOES = {
    "echo": echo,
    "keys": keys,
    "trace": trace,
    "whole": whole,
    "hold": hold_until_gate,
    "progress": progress,
    "hang": hang,
    "exit": exit_at_once,
    "exit_once": exit_once,
    "raise": raise_error,
    "big": big,
}


def handler(job):
    note(job)
    value = job["input"]
    do = value.get("do", "echo") if isinstance(value, dict) else "echo"
    if do in RETURNS:
        value = RETURNS[do]
        return dict(value) if isinstance(value, dict) else value
    return DOES[do](job)


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
