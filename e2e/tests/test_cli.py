"""The command line client against a server, and the demo."""

import json
import re
import subprocess

import pytest

from support.processes import binary, environment
from support.server import endpoint, scripted_pool
from support.wait import until


@pytest.fixture(scope="module")
def server(make_shared):
    return make_shared.server(endpoint("tts", scripted_pool(), workers="{ min = 0, max = 3 }"))


def test_check_accepts_what_serve_runs(server):
    assert server.cli("check", "--config", server.config).returncode == 0


def test_check_names_line_and_column_of_a_mistake(server, tmp_path):
    config = tmp_path / "overspill.toml"
    config.write_text('[[endpoint]]\nname = "tts"\nmax_atempts = 3\n')
    done = server.cli("check", "--config", config, check=False)
    assert done.returncode == 78
    assert "overspill.toml:3:1" in done.stderr + done.stdout
    assert "max_attempts" in done.stderr + done.stdout


def test_run_prints_the_output_alone_on_stdout(server):
    done = server.cli_json("run", "tts", "--input", '{"nonce": "cli"}')
    assert done["status"] == "COMPLETED"
    assert done["output"]["nonce"] == "cli"


def test_status_shows_the_endpoint(server):
    shown = server.cli_json("status")
    assert "tts" in json.dumps(shown)


def test_jobs_lists_what_ran(server):
    job = server.finish("tts", {"nonce": "listed"})["id"]
    assert job in json.dumps(server.cli_json("jobs", "--endpoint", "tts"))


def test_cancel_of_a_running_job(server, tmp_path):
    job = server.submit("tts", {"gate": str(tmp_path / "gate")})
    server.cli("cancel", job)
    (tmp_path / "gate").touch()
    assert server.status("tts", job)["status"] == "CANCELLED"


def test_scale_changes_the_limits(server):
    server.cli("scale", "tts", "--max", "2")
    endpoints = server.call("GET", "/api/v1/endpoints").json()["endpoints"]
    limits = {endpoint["name"]: endpoint["workers"] for endpoint in endpoints}
    assert limits["tts"]["max"] == 2
    server.cli("scale", "tts", "--max", "3")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("status", "no-such-job-0123"), 3),
        (("run", "nothing", "--input", "{}"), 3),
        (("scale", "nothing", "--max", "1"), 3),
        (("frobnicate",), 2),
        (("scale", "tts", "--min", "5", "--max", "1"), 2),
    ],
)
def test_exit_codes(server, arguments, code):
    done = server.cli(*arguments, check=False)
    assert done.returncode == code, done.stderr


def test_exit_code_of_a_wrong_key(server):
    assert server.cli("jobs", check=False, key="not-the-key-of-anybody").returncode == 4


def ended(running, within_s=1.0):
    try:
        running.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def demo(folder, *arguments):
    """The demo's report, and every finding of the doctor while it ran, with how often it was asked."""
    home = environment(folder / "home")
    log = folder / "demo.log"
    with open(log, "wb") as notes:
        running = subprocess.Popen(
            [binary(), "demo", "--json", *arguments],
            env=home,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=notes,
            text=True,
        )
    try:
        at, key = until(
            lambda: re.search(r"dashboard at (http://[0-9.:]+)/#key=(\S+)", log.read_text()), "the demo is up"
        ).groups()
        asked, findings = 0, []
        while not ended(running):
            done = subprocess.run(
                [binary(), "doctor", "--json", "--server", at],
                env=home | {"OVERSPILL_API_KEY": key},
                capture_output=True,
                text=True,
                timeout=60,
            )
            # Whoever asks while it ends gets no answer.
            if done.returncode == 0:
                asked += 1
                findings += json.loads(done.stdout)["findings"]
        report, _ = running.communicate(timeout=10)
    finally:
        running.kill()
    assert running.returncode == 0, log.read_text()[-4000:]
    assert asked > 10, "the doctor was asked all along"
    return json.loads(report), findings


def test_the_demo_uses_local_and_cloud_and_ends_at_zero(tmp_path):
    report, findings = demo(tmp_path, "--seconds", "20")
    jobs = report["jobs"]
    assert jobs["completed"] == jobs["submitted"] > 0 and jobs["failed"] == 0
    assert jobs["local"] > 0 and jobs["cloud"] > 0
    assert jobs["local"] + jobs["cloud"] == jobs["completed"]
    assert report["cloud_workers_end"] == 0
    assert float(report["cost_usd"]) > 0 and float(report["saved_usd"]) > 0
    # Until cloud workers are there, more of them would help: that is no fault of anything but the limit.
    assert {finding["code"] for finding in findings} <= {"max_reached"}


def test_the_demo_with_a_low_load_leaves_the_cloud_alone(tmp_path):
    report, findings = demo(tmp_path, "--seconds", "20", "--load", "low")
    assert report["jobs"]["cloud"] == 0 and report["jobs"]["local"] > 0
    assert report["local_utilisation"] >= 0.5
    assert float(report["cost_usd"]) == 0
    assert findings == [], "a healthy demo has no fault"
