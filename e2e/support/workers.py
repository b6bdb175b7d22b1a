"""The official worker in the versions that the suite runs it in, and endpoints of theirs.

One endpoint has the workers of one version: `name("sync", "1.6.2")` is `sync-1.6.2`. Endpoints of one
server share its cards, where one job runs at a time: jobs that run side by side need `servers`.
"""

import importlib.metadata

import pytest

from support.columns import OLD_WORKERS, worker_column
from support.foreign import interpreter
from support.server import endpoint, local_pool

CURRENT = importlib.metadata.version("runpod")
VERSIONS = [*OLD_WORKERS, CURRENT]
# 0.5.0 has one loop that takes a job, calls a plain function and posts what it returned.
SINCE_1_6 = VERSIONS[1:]
SINCE_1_9 = VERSIONS[2:]


def name(kind, version):
    """The endpoint of a version's workers."""
    return f"{kind}-{version}"


def pool(handler, version, **settings):
    """A local pool of a version's workers that run `handlers/<handler>.py`."""
    python = interpreter(None if version == CURRENT else f"worker-{version}")
    return local_pool(handler, python=python, **settings)


def endpoints(kind, versions=VERSIONS, handler=None, **settings):
    """An endpoint for each version, whose workers run `handler` (that of the same name)."""
    return [endpoint(name(kind, v), pool(handler or kind, v, **settings)) for v in versions]


def by_version(row, versions=VERSIONS):
    """Runs a test once for each version; each run covers that version's cell of a row."""
    marks = [pytest.param(v, marks=pytest.mark.covers(row, worker_column(v)), id=v) for v in versions]
    return pytest.mark.parametrize("version", marks)


def servers(make, handler, versions=VERSIONS, **settings):
    """A server for each version, with one endpoint `tts` whose workers run `handler`."""
    return {v: make.server(endpoint("tts", pool(handler, v, **settings))) for v in versions}
