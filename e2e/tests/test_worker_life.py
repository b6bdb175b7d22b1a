"""How a worker begins and ends: its own start-up checks, draining, and keys of the user's."""

import re

import pytest

from support.server import endpoint
from support.wait import until
from support.workers import SINCE_1_9, VERSIONS, by_version, name, pool, servers

@pytest.fixture(scope="module")
def drained(make_shared, tmp_path_factory):
    """One job runs and one waits when the pool is taken away: {version: (server, the two jobs)}."""
    gate = tmp_path_factory.mktemp("gates") / "gate"
    started = servers(make_shared, "sync")
    given = {"do": "hold", "gate": str(gate)}
    jobs = {v: [server.submit("tts", given)] for v, server in started.items()}
    for version, server in started.items():
        until(lambda: server.executions(jobs[version][0]), f"{version}: the handler has the job", 90)
        jobs[version].append(server.submit("tts", {"n": 1}))
        server.reload(endpoint("tts"))
    gate.touch()
    return {v: (server, jobs[v]) for v, server in started.items()}


@by_version("drain")
def test_a_worker_that_drains_finishes_its_job_and_takes_no_other(drained, version):
    server, (running, waiting) = drained[version]
    status = server.wait_final("tts", running, 60)
    assert (status["status"], status["output"]) == ("COMPLETED", {"held": True})
    # Not when a held poll would end (50 s), but when its job is done.
    until(lambda: not server.workers(), "the worker has ended", 15)
    # A worker of today ends by itself; an old one is ended by the signal.
    ended = r"a worker ended .*?code=(\S+) signal=(\S+)"
    [end] = until(lambda: re.findall(ended, server.child.text()), "the log says how", 15)
    assert end == (("Some(0)", "None") if version in SINCE_1_9 else ("None", "Some(15)"))
    assert server.status("tts", waiting)["status"] == "IN_QUEUE"
    server.reload(endpoint("tts", pool("sync", version)))
    assert server.wait_final("tts", waiting, 60)["output"] == {"echo": {"n": 1}}
    assert [len(server.executions(job)) for job in (running, waiting)] == [1, 1]
    # An idle one ends at once: its held polls are released before the signal.
    server.reload(endpoint("tts"))
    until(lambda: not server.workers(), "the idle worker has ended", 15)


@pytest.fixture(scope="module")
def unfit(make_shared, tmp_path_factory):
    """Workers whose own check fails until a file is there: (server, {version: file})."""
    folder = tmp_path_factory.mktemp("fit")
    files = {v: folder / v for v in SINCE_1_9}
    named = [
        endpoint(name("fitness", v), pool("fitness", v, FIT=files[v]))
        for v in SINCE_1_9
    ]
    return make_shared.server(*named), files


@by_version("fitness check", SINCE_1_9)
def test_a_worker_that_is_not_fit_is_started_again_with_pauses(unfit, version):
    server, files = unfit
    where, fit = name("fitness", version), files[version]
    checks = fit.with_suffix(fit.suffix + ".checks")
    job = server.submit(where, {"n": 1})
    until(
        lambda: checks.exists() and checks.read_bytes().count(b"checked") >= 3,
        "the check runs for the third time",
        60,
    )
    assert server.status(where, job)["status"] == "IN_QUEUE"
    told = server.child.text()
    assert "worker ended 1 times in a row: next start in 1.000s" in told
    assert "worker ended 2 times in a row: next start in 2.000s" in told
    fit.touch()
    status = server.wait_final(where, job, 60)
    assert (status["status"], status["output"]) == ("COMPLETED", {"echo": {"n": 1}})
    assert len(server.executions(job)) == 1


def test_the_check_that_failed_is_named(unfit):
    """Only the current version says why: `status=unhealthy` on its ping."""
    server, _ = unfit
    line = server.child.line("failed its own start-up check", 60)
    assert "fit_by_file" in line and "the model was not found" in line


@pytest.fixture(scope="module")
def with_credentials(make_shared, tmp_path_factory):
    """Workers in whose home lies the key of the user's account, as `runpod config` leaves it."""
    home = tmp_path_factory.mktemp("home")
    (home / ".runpod").mkdir()
    (home / ".runpod" / "config.toml").write_text('[default]\napi_key = "rpa_the_users_own"\n')
    named = [endpoint(name("home", v), pool("sync", v, HOME=home)) for v in VERSIONS]
    return make_shared.server(*named)


@by_version("a key in ~/.runpod/config.toml")
def test_another_key_in_the_users_home_does_no_harm(with_credentials, version):
    """The SDK sends that key instead of the worker's own (runpod/http_client.py:21)."""
    server, where = with_credentials, name("home", version)
    status = server.finish(where, {"n": 1}, within_s=90)
    assert (status["status"], status["output"]) == ("COMPLETED", {"echo": {"n": 1}})
    assert len(server.executions(status["id"])) == 1
