"""`--json` of every command, held against its documented shape (docs/reference/json)."""

import json
import os
import re
import subprocess

import jsonschema_rs
import pytest

from support import json_schemas
from support.processes import binary, environment
from support.server import cloud_pool, endpoint, scripted_pool
from support.wait import until

# What prints no object: it serves, or writes files that other programs read.
WITHOUT = {"serve", "emulate", "completions", "man", "help"}


def commands():
    """Every command with its subcommands, as the program's own help lists them."""

    def listed(*words):
        text = subprocess.run([binary(), *words, "--help"], capture_output=True, text=True, timeout=30).stdout
        block = re.search(r"^Commands:\n(.*?)\n\n", text, re.M | re.S)
        return re.findall(r"^  ([a-z]+)", block.group(1), re.M) if block else []

    for name in listed():
        inner = [sub for sub in listed(name) if sub != "help"]
        yield from (f"{name} {sub}" for sub in inner) if inner else [name]


def start(folder, *arguments):
    """A command that needs no server of ours, and takes its time beside the others."""
    return subprocess.Popen(
        [binary(), *arguments, "--json"],
        env=environment(folder / "home"),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(command, running):
    try:
        stdout, stderr = running.communicate(timeout=240)
    finally:
        running.kill()
    assert running.returncode == 0, stderr
    return command, json.loads(stdout)


def outputs(make, folder):
    """(command, printed object) of every command, in the states that it has."""
    drill = start(folder, "drill", "--region", "eu", "--seconds", "10")
    emulator = make.emulator("--cold-start", "1s..2s", "--no-rate-limits")
    server = make.server(
        endpoint(
            "tts",
            scripted_pool(),
            cloud_pool(emulator.create("tts")),
            max_wait='"2s"',
            expected_execution='"5s"',
            expected_start='"1500ms"',
            workers='{ min = 0, max = 1, idle_timeout = "2s" }',
        ),
        cloud=emulator,
        top='[webhooks]\nallow = ["127.0.0.1:9"]\n',
    )

    def ask(command, *arguments, of=""):
        """`of` tells apart what one command prints in several shapes."""
        done = server.cli(*command.split(), *arguments, "--json", timeout=120)
        return f"{command} {of}".strip(), json.loads(done.stdout)

    yield ask("version")
    yield ask("check", "--config", server.config)
    yield ask("config show", "--config", server.config)
    yield ask("init", "--output", folder / "fresh.toml")
    yield ask("run", "tts", "--input", '{"seconds": 0.1}')
    yield ask("run", "tts", "--input", '{"seconds": 0.1}', "--detach", of="detached")
    hook = server.finish("tts", {"nonce": "a"}, webhook="http://127.0.0.1:9/hook")["id"]
    gate = folder / "gate"
    held = server.submit("tts", {"gate": str(gate)})
    until(lambda: server.status("tts", held)["status"] == "IN_PROGRESS", "a worker has the job")
    waiting = [server.submit("tts", {"seconds": 20}) for _ in range(8)]
    until(lambda: server.cli_json("doctor")["findings"], "the doctor finds the limit", 60)
    yield ask("status")
    yield ask("status", held, of="job")
    yield ask("status", waiting[-1], of="job")
    yield ask("status", hook, of="job")
    yield ask("jobs", "--endpoint", "tts")
    yield ask("why", held)
    yield ask("why", waiting[-1])
    yield ask("why", hook)
    yield ask("why", "scale")
    yield ask("doctor")
    yield ask("top")
    yield ask("scale", "tts", "--max", "2")
    rule = server.call(
        "PATCH", "/api/v1/endpoints/tts", json={"scaler": {"lateness_price": 3}, "max_wait": "80s"}
    )
    assert rule.status_code == 200, rule.text

    def told_so():
        command, shown = ask("top")
        [line] = shown["endpoints"]
        changed = all(line[f"{what}_changed"] for what in ("limits", "scaler", "max_wait"))
        return (command, shown) if changed else None

    yield until(told_so, "who changed what is told")
    yield ask("scale", "tts", "--max", "2")
    yield ask("status")
    back = server.call("PATCH", "/api/v1/endpoints/tts", json={"max_wait": None})
    assert back.status_code == 200, back.text
    yield ask("cancel", waiting[0])
    yield ask("purge", "tts", "--yes")
    yield ask("gpus", "--config", server.config)
    yield ask("apply", "--dry-run", "--config", server.config)
    yield ask("reap", "--config", server.config)
    yield ask("guard", "--check", "--config", server.config)
    yield ask("keys create", "--name", "reader", "--scope", "jobs:read")
    _, keys = ask("keys list")
    yield "keys list", keys
    made = next(key for key in keys["keys"] if key["name"] == "reader")
    yield ask("budget set", "--key", made["id"], "--per-day", "$2")
    yield ask("budget")
    yield ask("budget show")
    yield ask("budget reset", "--key", made["id"])
    yield ask("keys revoke", made["id"])
    yield ask("cost")
    yield ask("cost", "--by", "pool")
    yield ask("cost", "--by", "job")
    yield ask("cost", "--by", "key", "--since", "always")
    yield ask("webhooks list")
    yield ask("webhooks show", hook)
    yield ask("webhooks replay", hook)
    yield ask("webhooks secret", "tts")
    failed = server.finish("tts", {"seconds": 60}, policy={"executionTimeout": 5_000})
    assert failed["status"] == "FAILED", failed
    yield ask("why", failed["id"])
    yield ask("retry", failed["id"])
    yield ask("backup", folder / "copy.db")
    load = ("--jobs-per-hour", "60", "--job-length", "20s", "--price", "$0.44/h", "--days", "1")
    yield ask("simulate", *load)
    yield ask("simulate", *load, "--compare", of="compare")
    yield ask("plan", "--gpu", "RTX 3090", "--price", "$0.44/h", "--slots", "6")
    gate.touch()
    server.stop()
    there = ("--data-dir", server.data_dir, "--config", server.config)
    yield ask("db check", *there)
    yield ask("db salvage", folder / "saved.db", *there)
    yield ask("restore", folder / "copy.db", *there)
    yield end("demo", start(folder, "demo", "--seconds", "5", "--load", "low"))
    yield end("drill", drill)


@pytest.fixture(scope="module")
def printed(make_shared, tmp_path_factory):
    found = {}
    for command, value in outputs(make_shared, tmp_path_factory.mktemp("json")):
        found.setdefault(command, []).append(value)
    if os.environ.get("E2E_WRITE_JSON"):
        json_schemas.write(found)
    return found


def schema_of(command):
    return json.loads((json_schemas.FOLDER / f"{command.replace(' ', '-')}.json").read_text())


def test_every_command_prints_what_is_documented(printed):
    for command, values in printed.items():
        schema = schema_of(command)
        validator = jsonschema_rs.validator_for(schema)
        for value in values:
            errors = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]
            assert errors == [], f"{command}: {errors}"
            more = sorted(set(json_schemas.undocumented(schema, value)))
            assert more == [], f"{command} --json prints fields without words; E2E_WRITE_JSON=1 writes them down"


def test_every_command_has_a_documented_shape(printed):
    every = set(commands()) - WITHOUT
    assert len(every) > 25
    files = {file.stem for file in json_schemas.FOLDER.glob("*.json")}
    missing = {
        command
        for command in (name.replace(" ", "-") for name in every)
        if not any(file == command or file.startswith(f"{command}-") for file in files)
    }
    assert missing == set(), "commands without a documented --json; give them one with E2E_WRITE_JSON=1"
    # Of those that have one, each was really run.
    assert {name.replace(" ", "-") for name in printed} == files
    index = (json_schemas.FOLDER / "README.md").read_text()
    assert all(f"({name}.json)" in index for name in files)


def test_an_error_is_an_object_too(printed, tmp_path):
    done = subprocess.run(
        [binary(), "jobs", "--json", "--server", "http://127.0.0.1:9"],
        env=environment(tmp_path, OVERSPILL_API_KEY="k" * 20),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 69
    assert done.stdout == ""
    assert done.stderr.strip()
