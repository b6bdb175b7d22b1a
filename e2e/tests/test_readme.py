"""The README says what works: every block of it is run as it stands, in its order.

What stands in for a machine of one's own: ports are free ones instead of 8080 and 8090, `cargo` is
a script that uses the binary which is built already, and what goes to the background is waited for
until it answers, where a person would have looked.
"""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from support.processes import binary, environment
from support.wait import until

README = Path(__file__).resolve().parents[2] / "README.md"
# A block that cannot be run says why in the line before it, where the reader sees it too.
NOT_RUN = "*Not run by the tests: "
CARGO = """#!/bin/sh
case "$1" in
  install) exit 0 ;;
  run) while [ "$1" != -- ]; do shift; done; shift; exec overspill "$@" ;;
esac
echo "cargo $1 is not in the README's test" >&2; exit 1
"""


class Block:
    """A fenced block: its language, its text, and the paragraph before it."""

    def __init__(self, language, text, before):
        self.language = language
        self.text = text
        self.before = before

    @property
    def commands(self):
        """The commands of a shell block: lines, with those that go on joined."""
        lines = re.sub(r"\\\n", " ", self.text)
        lines = re.sub(r"'[^']*'", lambda quoted: quoted.group().replace("\n", " "), lines)
        lines = (re.sub(r"\s+#.*", "", line).strip() for line in lines.splitlines())
        return [line for line in lines if line]


def blocks(page):
    found = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", page, re.S | re.M):
        before = page[: match.start()].rstrip().rpartition("\n\n")[2]
        found.append(Block(match[1], match[2], before))
    return found


ALL = blocks(README.read_text())


def section(title):
    """The blocks below a heading."""
    page = README.read_text()
    start = page.index(f"## {title}")
    end = page.find("\n## ", start + 1)
    return blocks(page[start:end])


def test_every_block_is_run_or_says_why_not():
    run = section("See it work") + section("Your own handler") + section("The overspill, on RunPod")
    texts = [block.text for block in run]
    for block in ALL:
        assert block.text in texts or NOT_RUN in block.before, block.text
    assert {block.language for block in ALL} <= {"sh", "python", "toml"}


@pytest.fixture
def place(tmp_path):
    """A folder and an environment as a new user's, with free ports."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "overspill").symlink_to(binary())
    cargo = bin_dir / "cargo"
    cargo.write_text(CARGO)
    cargo.chmod(cargo.stat().st_mode | stat.S_IXUSR)
    folder = tmp_path / "folder"
    folder.mkdir()
    path = f"{bin_dir}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return folder, environment(tmp_path / "home") | {"PATH": path}


def test_the_demo_runs(place):
    folder, env = place
    [block] = section("See it work")
    for command in block.commands:
        done = subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=170)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_for_runpod_is_valid(place):
    folder, env = place
    [block] = [block for block in section("The overspill, on RunPod") if block.language == "toml"]
    (folder / "overspill.toml").write_text(block.text)
    env = env | {"RUNPOD_API_KEY": "rpa_0123456789abcdef"}
    done = subprocess.run(["overspill", "check"], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_user_gets_to_jobs_of_their_own_here_and_in_the_cloud(place, free_port):
    folder, env = place
    ports = {"8080": str(free_port()), "8090": str(free_port())}
    env["OVERSPILL__LISTEN"] = f"127.0.0.1:{ports['8080']}"
    handler, config, *rest = section("Your own handler")
    (folder / "handler.py").write_text(handler.text)
    (folder / "overspill.toml").write_text(re.sub("8090", ports["8090"], config.text))
    jobs = next(n for n, block in enumerate(rest) if "overspill run" in block.text)
    until_the_jobs = [command for block in rest[: jobs + 1] for command in block.commands]
    assert len(until_the_jobs) <= 6, until_the_jobs
    script = ["set -e"]
    for block in rest:
        if block.language == "python":
            (folder / "app.py").write_text(block.text.replace("8080", ports["8080"]))
            script.append("python3 app.py")
            continue
        for command in block.commands:
            for port, free in ports.items():
                command = command.replace(port, free)
            script.append(command)
            if command.endswith("serve &"):
                script.append(answers(ports["8080"], "/readyz"))
            elif command.endswith("&"):
                script.append(answers(ports["8090"], "/emulator/bill"))
    script.append("overspill jobs --json > jobs.json; overspill doctor --check")
    (folder / "readme.sh").write_text("\n".join(script))
    log = folder / "readme.log"
    with open(log, "wb") as out:
        shell = subprocess.Popen(
            ["bash", "readme.sh"], cwd=folder, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        until(lambda: shell.poll() is not None, lambda: f"the README is run through\n{log.read_text()}", 150)
        assert shell.returncode == 0, log.read_text()
        ran = (folder / "jobs.json").read_text()
        assert ran.count('"completed"') == 13, ran
        assert '"local-1"' in ran and '"cloud-1"' in ran, ran
        assert log.read_text().count("hello") >= 13
    finally:
        subprocess.run(["pkill", "-TERM", "-s", str(shell.pid)], check=False)


def answers(port, path):
    """A command that ends once the address answers."""
    return (
        f"curl -fs -o /dev/null --retry 120 --retry-delay 1 --retry-all-errors --retry-connrefused "
        f"--max-time 100 http://127.0.0.1:{port}{path}"
    )
