"""Waiting for a condition with a deadline. Tests never sleep for a guessed time."""

import threading
import time

PAUSE_S = 0.05


def until(condition, what, within_s=30.0, pause_s=PAUSE_S):
    """The first truthy value of `condition()`; fails after `within_s`, saying `what` (text, or what
    makes it) and the last value."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            what = what() if callable(what) else what
            raise AssertionError(f"not within {within_s} s: {what}; last seen: {value!r}")
        pause.wait(pause_s)


def during(condition, what, for_s):
    """Holds only if `condition()` is true at every look for `for_s` seconds."""
    deadline = time.monotonic() + for_s
    pause = threading.Event()
    while time.monotonic() < deadline:
        assert condition(), f"stopped being true: {what}"
        pause.wait(PAUSE_S)
