"""Workers that are kept on need a guard: without one `min` is held at 0, and a guard lowers everything
once the server is silent for too long, and not before."""

import os
import signal
import subprocess

import pytest

from crash.leg import serving_process
from support.doctor import why_names
from support.processes import Child, binary, environment
from support.server import KEY, cloud_pool, endpoint
from support.wait import during, until

AFTER_S = 10


@pytest.fixture
def emulator(make):
    return make.emulator("--cold-start", "500ms..1s", "--seed", "5", "--no-rate-limits")


@pytest.fixture
def cloud_id(emulator):
    return emulator.create("tts", workers_max=0, idle_timeout_s=1)


@pytest.fixture
def server(make, emulator, cloud_id):
    return make.server(
        endpoint(
            "tts",
            cloud_pool(cloud_id),
            max_wait='"5s"',
            execution_timeout='"30s"',
            workers='{ min = 1, max = 2, idle_timeout = "1s" }',
        ),
        cloud=emulator,
        runpod=f'guard_after = "{AFTER_S}s"\n',
    )


@pytest.fixture
def guard(tmp_path, server):
    """Starts guards of the server; they end with the test."""
    started = []

    def start(**variables):
        child = Child(
            tmp_path,
            f"guard-{len(started)}",
            [binary(), "guard", "--config", server.config, "--server", server.base],
            environment(tmp_path / "home", **variables),
        )
        started.append(child)
        return child

    yield start
    for child in started:
        print(f"--- the end of {child.log.name}\n{child.tail()}")
        child.kill()


def least(emulator, cloud_id):
    return emulator.limits(cloud_id)["min"]


def codes(server):
    return {finding["code"] for finding in server.cli_json("doctor")["findings"]}


def test_without_a_guard_min_is_held_and_the_server_says_so(server, emulator, cloud_id):
    until(lambda: "held at 0" in server.child.text(), "the log says so", 20)
    until(lambda: codes(server) == {"min_held"}, "the doctor says so", 20)
    why = server.cli_json("why", "scale", "tts")
    assert "min_held" in {cause["code"] for cause in why["causes"]}, why
    why_names(server, "tts", "min_held")
    during(lambda: emulator.live_workers(cloud_id) == 0, "no worker is kept on", for_s=3)
    assert "RunPod could still bill at most" in server.child.text()


# Two silences of the server, one of the guard, and starts in between.
@pytest.mark.timeout(400)
def test_a_guard_lets_workers_be_kept_on_and_lowers_when_all_is_dead(server, emulator, cloud_id, guard):
    watching = guard()
    until(lambda: "it is watched" in watching.text(), "the guard is answered", 20)
    until(lambda: least(emulator, cloud_id) == 1, "min is in force", 20)
    assert codes(server) == set()

    def after_death():
        return server.call("GET", "/api/v1/overview").json()["after_death"]

    until(lambda: after_death()["is_guarded"], "the overview knows of the guard", 10)
    assert after_death()["workers_kept_on"] == 1
    # A serving process that dies is started again: no death, and min stays all the while.
    os.kill(serving_process(server), signal.SIGKILL)
    during(lambda: least(emulator, cloud_id) == 1, "a restart lowers nothing", for_s=5)
    server.wait_ready()
    assert "lowered" not in watching.text()
    # Everything dies.
    port = server.port
    server.child.kill()
    until(lambda: emulator.limits(cloud_id)["max"] == 0, "the guard lowers", 60)
    assert least(emulator, cloud_id) == 0
    until(lambda: emulator.live_workers(cloud_id) == 0, "nothing is on any more", 30)
    assert "lowered to min 0, max 0" in watching.text()
    # A guard that starts now knows what there is to lower; it has nothing left to do.
    emulator.call("PATCH", f"/v2/serverless/{cloud_id}", json={"workers": {"min": 1, "max": 1}})
    watching.kill()
    second = guard()
    until(lambda: least(emulator, cloud_id) == 0, "the second guard lowers", 60)
    # The server comes back, and sets its own limits again.
    server.start(listen=f"127.0.0.1:{port}")
    until(lambda: "answers again" in second.text(), "the guard hears it", 20)
    until(lambda: least(emulator, cloud_id) == 1, "min is in force again", 30)
    # A guard that dies leaves a server that lowers min by itself.
    second.kill()
    until(lambda: least(emulator, cloud_id) == 0, "min is held again", 3 * AFTER_S)


def test_a_guard_may_only_ask_and_refuses_a_key_that_may_more(server, emulator, cloud_id, tmp_path):
    guard_key = (server.data_dir / "guard.key").read_text().strip()
    assert guard_key.startswith("ovs_guard_")
    assert os.stat(server.data_dir / "guard.key").st_mode & 0o077 == 0
    for method, path in [
        ("POST", "/v2/tts/run"),
        ("GET", "/v2/tts/health"),
        ("PATCH", "/api/v1/endpoints/tts"),
        ("GET", "/api/v1/overview"),
        ("POST", "/api/v1/keys"),
    ]:
        answer = server.call(method, path, key=guard_key, json={} if method != "GET" else None)
        assert answer.status_code == 403, f"{method} {path}: {answer.text}"
    made = server.cli_json("keys", "create", "--kind", "guard", "--name", "elsewhere")
    assert made["key"].startswith("ovs_guard_")

    def check(key):
        return subprocess.run(
            [binary(), "guard", "--check", "--server", server.base, "--config", str(server.config)],
            env=environment(tmp_path / "home", OVERSPILL_GUARD_KEY=key),
            capture_output=True,
            text=True,
            timeout=60,
        )

    good = check(made["key"])
    assert good.returncode == 0 and cloud_id in good.stdout, good
    admin = check(KEY)
    assert admin.returncode == 4 and "may do more than a guard needs" in admin.stderr, admin
    server.child.kill()
    dead = check(made["key"])
    assert dead.returncode == 69 and "silent" in dead.stderr, dead
