"""Fixtures: servers and emulators of the built binary, each in a folder of its own."""

import socket

import pytest
import runpod

from support import compatibility
from support.emulator import Emulator
from support.server import Server


def pytest_addoption(parser):
    compatibility.add_option(parser)


def pytest_configure(config):
    compatibility.configure(config)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    compatibility.mark(item, outcome.get_result())


def _factory(folder):
    """A maker of servers and emulators, and the list of those it made."""
    made = []

    class Make:
        @staticmethod
        def server(*endpoints, **settings):
            place = folder / f"server-{len(made)}"
            place.mkdir()
            server = Server(place, endpoints, **settings)
            made.append(server)
            return server.start()

        @staticmethod
        def emulator(*arguments):
            place = folder / f"emulator-{len(made)}"
            place.mkdir()
            made.append(Emulator(place, *arguments))
            return made[-1]

    return Make, made


def _stop(made):
    errors = []
    for thing in reversed(made):
        try:
            thing.stop()
        except AssertionError as error:
            errors.append(str(error))
    assert not errors, "\n".join(errors)


@pytest.fixture
def free_port():
    """Gives ports that were free a moment ago, for programs that take no port 0."""

    def find():
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            return one.getsockname()[1]

    return find


@pytest.fixture
def make(tmp_path):
    """Makes servers and emulators for one test."""
    maker, made = _factory(tmp_path)
    yield maker
    _stop(made)


@pytest.fixture(scope="module")
def make_shared(tmp_path_factory):
    """Makes servers and emulators that the tests of a file share."""
    maker, made = _factory(tmp_path_factory.mktemp("shared"))
    yield maker
    _stop(made)


@pytest.fixture
def client(monkeypatch):
    """The official Python client, pointed at a server: `client(server)` is the module `runpod`."""

    def point_at(server, key=...):
        monkeypatch.setattr(runpod, "endpoint_url_base", f"{server.base}/v2")
        monkeypatch.setattr(runpod, "api_key", server.key if key is ... else key)
        return runpod

    return point_at
