"""Endpoints that Overspill keeps at (emulated) RunPod: made by the server, changed and removed by `apply`
with the plan shown before, orphans removed by `reap`, nothing of others touched."""

import json
import re
import subprocess

import pytest

from support.processes import binary, environment
from support.server import endpoint
from support.wait import until

TYPES = ("RTX 4090", "A40")


def kept_pool(image="registry.example/sdxl:1", gpu=TYPES, extra=""):
    return (
        f'[[endpoint.cloud]]\nprovider = "runpod"\nimage = "{image}"\n'
        f"gpu = {json.dumps(list(gpu))}\n{extra}"
    )


def sdxl(**pool):
    return endpoint(
        "sdxl",
        kept_pool(**pool),
        max_wait='"1s"',
        expected_execution='"1s"',
        workers='{ min = 0, max = 2, idle_timeout = "1s" }',
    )


@pytest.fixture
def emulator(make):
    return make.emulator("--cold-start", "500ms..1s", "--seed", "3")


def endpoints(emulator):
    """The account's endpoints, oldest first."""
    return emulator.call("GET", "/v2/serverless")["endpoints"]


def made(emulator, count):
    return until(
        lambda: (found := endpoints(emulator)) and len(found) == count and found,
        lambda: f"{count} endpoints, there are {endpoints(emulator)}",
        30,
    )


def apply(server, *arguments, check=True, command="apply"):
    """Runs `apply` or `reap` with the server's configuration; what it printed as JSON."""
    done = subprocess.run(
        [binary(), command, "--config", str(server.config), "--json", *arguments],
        env=environment(server.folder / "home"),
        cwd=server.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if not check:
        return done
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def test_the_server_makes_what_is_missing_and_jobs_run_there(make, emulator):
    server = make.server(sdxl(), cloud=emulator)
    first, second = made(emulator, 2)
    assert first["workers"]["max"] == 0 and first["image"] == "registry.example/sdxl:1"
    assert first["gpu"]["pools"] == ["ADA_24"]
    assert second["gpu"]["excludedTypes"] == ["NVIDIA RTX A6000"]
    installation = (server.data_dir / "installation").read_text().strip()
    assert all(installation in e["name"] for e in (first, second))
    # Filled in the order of the list.
    assert server.finish("sdxl", {"seconds": 0.1})["status"] == "COMPLETED"
    ran = {run["endpoint"] for run in emulator.executions()}
    assert ran == {first["id"]}
    # A restart finds them, and makes none twice.
    server.child.kill()
    server.start()
    assert server.finish("sdxl", {"seconds": 0.1})["status"] == "COMPLETED"
    assert [e["id"] for e in endpoints(emulator)] == [first["id"], second["id"]]
    # One that somebody removed is made again at the next start.
    emulator.call_delete(f"/v2/serverless/{second['id']}")
    server.child.kill()
    server.start()
    assert first["id"] in {e["id"] for e in made(emulator, 2)}


def test_apply_shows_its_plan_changes_by_a_release_and_removes(make, emulator):
    server = make.server(sdxl(), cloud=emulator)
    made(emulator, 2)
    assert apply(server, "--dry-run")["create"] == []
    server.reload(sdxl(image="registry.example/sdxl:2", gpu=("RTX 4090",), extra='env = { TOKEN = "canary" }\n'))
    plan = apply(server, "--dry-run")
    assert plan["applied"] is None
    assert [c["gpu"] for c in plan["change"]] == ["RTX 4090"]
    fields = {d["field"]: d for d in plan["change"][0]["differences"]}
    assert set(fields) == {"image", "env"} and fields["image"]["is_release"]
    assert "canary" not in json.dumps(plan)
    assert [r["reason"] for r in plan["remove"]] == ["not_configured"]
    # Nothing was done yet, and nobody confirms without a terminal.
    assert len(endpoints(emulator)) == 2
    assert apply(server, check=False).returncode == 2
    done = apply(server, "--yes")["applied"]
    assert (len(done["changed"]), len(done["removed"]), done["failures"]) == (1, 1, [])
    (only,) = endpoints(emulator)
    assert only["image"] == "registry.example/sdxl:2" and only["env"] == {"TOKEN": "canary"}
    releases = emulator.call("GET", f"/v2/serverless/{only['id']}/releases")["releases"]
    assert releases[0]["diff"], releases
    assert server.finish("sdxl", {"seconds": 0.1})["status"] == "COMPLETED"
    table = subprocess.run(
        [binary(), "apply", "--dry-run", "--config", str(server.config)],
        env=environment(server.folder / "home"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "nothing to do; 1 endpoint is kept" in table.stdout, table


def test_an_endpoint_that_apply_makes_is_used_by_a_running_server(make, emulator):
    # The server cannot make it: RunPod refuses its calls for now.
    emulator.call(
        "POST", "/emulator/faults", json={"fault": "http_status", "status": 503, "operation": "management"}
    )
    server = make.server(sdxl(gpu=("A40",)), cloud=emulator)
    until(lambda: "cannot be listed" in server.child.text(), "the server has tried", 30)
    emulator.call_delete("/emulator/faults")
    applied = apply(server, "--yes")["applied"]
    assert len(applied["created"]) == 1
    assert server.finish("sdxl", {"seconds": 0.1})["status"] == "COMPLETED"


def test_f38_reap_removes_orphans_and_nothing_of_others(make, emulator):
    stranger = emulator.create("somebody's")
    server = make.server(sdxl(), cloud=emulator)
    made(emulator, 3)
    server.child.kill()
    listed = apply(server, "--dry-run", command="reap")
    assert listed["orphans"] == 0 and len(listed["endpoints"]) == 2
    # The data folder is lost: a new installation, to which they are another's.
    lost = listed["installation"]
    for file in ("installation", "kept-endpoints.json"):
        (server.data_dir / file).unlink()
    listed = apply(server, "--yes", command="reap")
    assert listed["orphans"] == 0 and {e["fate"] for e in listed["endpoints"]} == {"others"}
    assert len(endpoints(emulator)) == 3
    reaped = apply(server, "--yes", "--lost", lost, command="reap")
    assert len(reaped["removed"]) == 2
    assert [e["id"] for e in endpoints(emulator)] == [stranger]
    # What is no longer asked for is an orphan of this one.
    apply(server, "--yes")
    server.configure(endpoint("sdxl"))
    assert re.match(r"ovs-[0-9a-f]{16}$", apply(server, "--dry-run", command="reap")["installation"])
    assert len(apply(server, "--yes", command="reap")["removed"]) == 2
    assert [e["id"] for e in endpoints(emulator)] == [stranger]
