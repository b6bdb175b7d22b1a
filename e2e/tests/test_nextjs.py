"""The Next.js example, built as its README says, in a real browser before a real server and worker."""

import json
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
import requests

from support.foreign import CLIENTS
from support.processes import Child, environment
from support.server import endpoint, local_pool
from support.wait import until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "nextjs"
NEXT = EXAMPLE / "node_modules" / "next" / "dist" / "bin" / "next"
CHROMIUM = "/usr/bin/chromium"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The example in a folder of its own, built; its packages are where `cargo xtask e2e` put them."""
    assert NEXT.exists(), "the example's packages are missing: run the suite with `cargo xtask e2e`"
    folder = tmp_path_factory.mktemp("nextjs") / "app"
    skip = shutil.ignore_patterns("node_modules", ".next", ".env*", "overspill-data", ".venv")
    shutil.copytree(EXAMPLE, folder, ignore=skip)
    (folder / "node_modules").symlink_to(EXAMPLE / "node_modules")
    run = subprocess.run(
        ["node", str(NEXT), "build", "--webpack"],
        cwd=folder,
        env=environment(folder.parent / "home", NEXT_TELEMETRY_DISABLED="1"),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


class App:
    """`next start` before a server whose pages of this app may follow jobs."""

    def __init__(self, folder, make, free_port, tmp_path):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        pool = local_pool("pictures", STEP_SECONDS="0.1")
        # The example's own handler, and not one of the suite's.
        pool = pool.replace(str(CLIENTS.parent / "handlers" / "pictures.py"), str(EXAMPLE / "handler.py"))
        top = f'allowed_origins = ["{self.url}"]\n[webhooks]\nallow = ["127.0.0.1:{self.port}"]\n'
        self.server = make.server(endpoint("pictures", pool), top=top)
        made = self.server.cli(
            "keys", "create", "--name", "app", "--scope", "jobs:submit", "--scope", "jobs:read"
        )
        self.key = made.stdout.split()[-1]
        self.secret = self.server.cli("webhooks", "secret", "pictures").stdout.split()[0]
        variables = {
            "OVERSPILL_URL": self.server.base,
            "OVERSPILL_PUBLIC_URL": self.server.base,
            "OVERSPILL_API_KEY": self.key,
            "OVERSPILL_WEBHOOK_SECRET": self.secret,
            "APP_URL": self.url,
            "NEXT_TELEMETRY_DISABLED": "1",
        }
        self.child = Child(
            folder,
            f"next-{self.port}",
            ["node", str(NEXT), "start", "--hostname", "127.0.0.1", "--port", self.port],
            environment(tmp_path / "home", **variables),
        )
        until(self.answers, "the app answers", 60)

    def answers(self):
        assert self.child.process.poll() is None, self.child.tail()
        try:
            return requests.get(self.url, timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def stop(self):
        self.child.terminate()


@pytest.fixture
def app(built, make, free_port, tmp_path):
    one = App(built, make, free_port, tmp_path)
    yield one
    one.stop()


def test_a_user_watches_the_bar_move_to_done(app):
    done = subprocess.run(
        ["node", str(CLIENTS / "nextjs.mjs"), app.url, app.key, app.server.key, app.secret],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr + app.child.tail()
    seen = json.loads(done.stdout)["answer"]
    assert seen["errors"] == []
    assert seen["bars"] == sorted(seen["bars"]), seen
    assert seen["bars"][0] == 0 and seen["bars"][-1] == 100, seen
    between = [bar for bar in seen["bars"] if 0 < bar < 100]
    assert len(between) >= 3, f"the bar moved: {seen['bars']}"
    assert seen["words"][-1] == "Your picture is done."
    assert seen["width"] == 16
    # The page followed the job at the server itself, another origin than its own, and no key was ever in it.
    assert seen["streams"] == [app.server.base]
    assert seen["leaks"] == []
    assert seen["known"] == {"id": seen["job"], "status": "COMPLETED"}


def test_the_app_believes_no_webhook_that_is_not_signed(app):
    forged = {"id": str(uuid.uuid4()), "status": "COMPLETED"}
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1764180000",
        "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    }
    answer = requests.post(f"{app.url}/api/webhook", json=forged, headers=headers, timeout=10)
    assert answer.status_code == 401
    answer = requests.post(f"{app.url}/api/webhook", json=forged, timeout=10)
    assert answer.status_code == 401


def test_another_visitor_gets_no_token(app):
    made = requests.post(f"{app.url}/api/jobs", json={"prompt": "mine", "steps": 1}, timeout=10).json()
    other = requests.post(f"{app.url}/api/jobs/{made['id']}/token", timeout=10)
    assert other.status_code == 404
    bad = requests.post(f"{app.url}/api/jobs", json={"prompt": ""}, timeout=10)
    assert bad.status_code == 400
