"""Every code of the doctor: the emulated cloud or a local worker brings the fault about, and both
`doctor --json` and `why --json` name it, for that endpoint and no other code."""

import re
from pathlib import Path

import pytest

from support.doctor import PROMPT
from support.server import cloud_pool, endpoint, local_pool, scripted_pool
from support.wait import during, until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "doctor.md"
# Dear enough that seconds cost what the doctor looks at.
DEAR = "$60/h"
SETTINGS = {
    "max_wait": '"2s"',
    "expected_execution": '"5s"',
    "expected_start": '"2500ms"',
    "execution_timeout": '"60s"',
}


def findings(server):
    """The codes that the doctor finds, by endpoint."""
    found = {}
    for finding in server.cli_json("doctor")["findings"]:
        assert finding["evidence"] and finding["fix"] and finding["page"].endswith(finding["code"])
        found.setdefault(finding["endpoint"], set()).add(finding["code"])
    return found


def names(server, wanted, within_s):
    """Waits until the doctor finds exactly these codes, and checks that `why` says the same."""
    seen = {}

    def is_so():
        seen.clear()
        seen.update(findings(server))
        return seen == wanted

    until(is_so, lambda: f"{wanted}\nseen {seen}", within_s, pause_s=0.5)
    for name, codes in wanted.items():
        why = server.cli_json("why", "scale", name)
        assert {finding["code"] for finding in why["findings"]} == codes


class Case:
    """One endpoint of the emulated cloud with one fault."""

    def __init__(
        self,
        code,
        jobs=(),
        cloud=None,
        fault=None,
        pool="",
        price="$0.44/h",
        scale=None,
        foreign=None,
        **settings,
    ):
        self.code = code
        self.scale = scale
        self.foreign = foreign
        self.name = code.replace("_", "-")
        self.jobs = jobs
        self.cloud = cloud or {}
        self.fault = fault
        self.pool = pool
        self.price = price
        self.settings = SETTINGS | {"workers": '{ min = 0, max = 2, idle_timeout = "2s" }'} | settings
        if self.settings["max_wait"] == '"60s"':
            # A rule that does not wait for the last moment of so long a promise.
            self.settings |= {"scaler": PROMPT}

    def create(self, emulator):
        self.id = self.cloud.pop("id", None) or emulator.create(self.name, **self.cloud)
        if self.fault:
            emulator.call("POST", "/emulator/faults", json=self.fault | {"endpoint": self.id})

    def text(self):
        pool = cloud_pool(self.id, price=self.price) if self.price else (
            f'[[endpoint.cloud]]\nprovider = "runpod"\nid = "{self.id}"\n'
        )
        return endpoint(self.name, pool + self.pool, **self.settings)


LONG = [{"seconds": 20}] * 8
ONE = [{"seconds": 0.1}]


def status(code):
    return {"fault": "http_status", "status": code, "operation": "run"}


# Each group has a cloud and a server of its own: RunPod limits the calls of an account.
GROUPS = {
    "limits": [
        Case("healthy", [{"seconds": 0.2}] * 3, max_wait='"60s"'),
        Case("max_zero", LONG, scale="0"),
        Case("max_reached", LONG, workers='{ min = 0, max = 1, idle_timeout = "2s" }'),
        Case("pool_max_reached", LONG, pool="max = 1\n"),
        Case("price_unknown", LONG, price=None),
    ],
    "refusals": [
        Case("endpoint_paused", LONG, cloud={"workers_max": 0}, pool="manage = false\n"),
        Case("no_balance", ONE, fault=status(402)),
        Case("endpoint_gone", ONE, cloud={"id": "nosuchendpoint"}),
        Case("rate_limited", ONE, fault={"fault": "http_429", "operation": "run", "retry_after_s": 1}),
    ],
    "key": [
        Case("key_refused", ONE, fault=status(401)),
    ],
    "room": [
        Case("throttled", ONE, fault={"fault": "throttled"}),
        Case("no_capacity", ONE, cloud={"queue_delay_s": 3600}, pool="manage = false\n"),
        Case("cloud_crash_loop", ONE, fault={"fault": "crash_loop"}),
    ],
    "cost": [
        Case(
            "idle_share",
            ONE * 5,
            price="$600/h",
            max_wait='"60s"',
            workers='{ min = 0, max = 5, idle_timeout = "2s" }',
        ),
        Case("min_unused", price=DEAR, workers='{ min = 1, max = 2, idle_timeout = "2s" }'),
        Case(
            "gpu_dear",
            [{"seconds": 10}],
            price=DEAR,
            pool='gpu = "RTX 4090"\n',
            max_wait='"60s"',
            workers='{ min = 0, max = 1, idle_timeout = "1s" }',
        ),
        Case("leak", foreign=90, max_wait='"60s"', workers='{ min = 0, max = 1, idle_timeout = "1s" }'),
    ],
    "slow": [
        Case(
            "timeouts",
            [{"seconds": 30}] * 3,
            max_wait='"60s"',
            execution_timeout='"5s"',
            workers='{ min = 0, max = 3, idle_timeout = "1s" }',
        ),
        Case(
            "cold_starts",
            [{"seconds": 0.1}] * 5,
            max_wait='"1s"',
            workers='{ min = 0, max = 5, idle_timeout = "1s" }',
        ),
    ],
}


@pytest.mark.parametrize("group", GROUPS)
def test_every_fault_of_the_cloud_is_named_and_nothing_else(make, group):
    emulator = make.emulator("--cold-start", "2s..3s", "--no-rate-limits")
    cases = GROUPS[group]
    for case in cases:
        case.create(emulator)
    # One of the cases keeps workers on without a guard.
    server = make.server(
        *[case.text() for case in cases], cloud=emulator, budget="$100000", runpod="unguarded_min = true\n"
    )
    for case in cases:
        for job in case.jobs:
            server.submit(case.name, job)
        if case.scale:
            # With max 0 from the start, an endpoint without cards would refuse its jobs.
            server.cli("scale", case.name, "--max", case.scale)
        if case.foreign:
            # Somebody else's job on our endpoint.
            body = {"input": {"seconds": case.foreign}}
            emulator.call("POST", f"/v2/{case.id}/run", json=body)
    names(server, {case.name: {case.code} for case in cases if case.code != "healthy"}, 90)
    # A fix that is given as a command makes the fault go away.
    for finding in server.cli_json("doctor")["findings"]:
        if finding["code"] in ("max_zero", "max_reached"):
            server.cli(*finding["command"].split()[1:])
            until(lambda f=finding: f["endpoint"] not in findings(server), "it is cured", 60)


def test_the_accounts_quota_is_named(make):
    emulator = make.emulator("--cold-start", "2s..3s", "--no-rate-limits")
    cloud = emulator.create("many")
    server = make.server(
        endpoint(
            "many", cloud_pool(cloud), **SETTINGS, workers='{ min = 0, max = 90, idle_timeout = "2s" }'
        ),
        cloud=emulator,
        budget="$100000",
    )
    for _ in range(100):
        server.submit("many", {"seconds": 60})
    names(server, {"many": {"account_limit"}}, 60)


def test_a_cap_that_is_reached_is_named(make):
    emulator = make.emulator("--cold-start", "2s..3s", "--no-rate-limits")
    capped = endpoint(
        "capped",
        cloud_pool(emulator.create("capped"), price=DEAR),
        **SETTINGS,
        workers='{ min = 0, max = 4, idle_timeout = "2s" }',
        budget='{ per_hour = "$10" }',
    )
    free = Case("free", [{"seconds": 0.2}] * 3, max_wait='"60s"')
    free.create(emulator)
    server = make.server(capped, free.text(), cloud=emulator, budget="$100000")
    # One worker's worth of money: the second waits for the next hour.
    for _ in range(8):
        server.submit("capped", {"seconds": 20})
    for job in free.jobs:
        server.submit("free", job)
    names(server, {"capped": {"budget_reached"}}, 90)
    [finding] = server.cli_json("doctor")["findings"]
    assert finding["facts"]["cap"] == 10_000_000_000
    assert "the endpoint's cap of $10.0000 per hour" in finding["evidence"]
    why = server.cli_json("why", server.submit("capped", {"seconds": 1}))
    assert "budget_reached" in [cause["code"] for cause in why["causes"]]


def test_a_cloud_that_cannot_be_reached_is_named(make):
    emulator = make.emulator("--cold-start", "1s..2s")
    cloud = emulator.create("far")
    server = make.server(endpoint("far", cloud_pool(cloud), **SETTINGS), cloud=emulator)
    assert findings(server) == {}
    emulator.child.terminate()
    server.submit("far", {"seconds": 1})
    names(server, {"far": {"cloud_unreachable"}}, 60)


def test_every_fault_of_local_workers_is_named_and_nothing_else(make):
    crashing = '[[endpoint.local]]\ncommand = ["false"]\ndevices = 1\n'
    server = make.server(
        endpoint("healthy", scripted_pool(), max_wait='"60s"'),
        endpoint("local-crash-loop", crashing, **SETTINGS),
        endpoint("worker-silent", local_pool("doctored", TURN="silent"), **SETTINGS),
        endpoint(
            "sdk-job-file",
            local_pool("doctored", devices=2, TURN="silent", RUNPOD_VERSION_SAID="1.8.0"),
            **SETTINGS,
        ),
        endpoint("card-taken", scripted_pool(), **SETTINGS),
    )
    workers = {"healthy": 1, "worker-silent": 1, "sdk-job-file": 2, "card-taken": 1}
    for name, count in workers.items():
        until(lambda n=name, c=count: server.health(n)["workers"]["idle"] == c, f"{name} is up", 60)
    gate = server.folder / "gate"
    holds = server.submit("healthy", {"gate": str(gate)})
    until(lambda: server.status("healthy", holds)["status"] == "IN_PROGRESS", "the card is held")
    for name in ("worker-silent", "sdk-job-file", "card-taken"):
        server.submit(name, {"seconds": 0.1})
    wanted = ("local_crash_loop", "worker_silent", "sdk_job_file", "card_taken")
    names(server, {code.replace("_", "-"): {code} for code in wanted}, 60)
    job = server.submit("card-taken", {"seconds": 0.1})
    why = server.cli_json("why", job)
    assert [finding["code"] for finding in why["findings"]] == ["card_taken"]
    assert "card_taken" in [cause["code"] for cause in why["causes"]]
    gate.touch()
    until(lambda: "card-taken" not in findings(server), "the card is free again")


def test_a_cloud_card_that_is_slower_is_named(make):
    emulator = make.emulator("--cold-start", "1s..2s", "--no-rate-limits")
    cloud = emulator.create("slow-gpu", workers_max=10)
    server = make.server(
        endpoint(
            "slow-gpu",
            local_pool("doctored", TURN="quick"),
            cloud_pool(cloud),
            **SETTINGS | {"max_wait": '"4s"'},
            workers='{ min = 0, max = 10, idle_timeout = "2s" }',
        ),
        cloud=emulator,
    )
    until(lambda: server.health("slow-gpu")["workers"]["idle"] == 1, "the local worker is up", 60)
    jobs = [server.submit("slow-gpu", {"seconds": 5}) for _ in range(20)]
    for job in jobs:
        assert server.wait_final("slow-gpu", job, 60)["status"] == "COMPLETED"
    names(server, {"slow-gpu": {"slow_gpu"}}, 30)


def test_a_healthy_server_has_nothing(make):
    server = make.server(endpoint("tts", scripted_pool(), max_wait='"30s"'))
    until(lambda: server.health("tts")["workers"]["idle"] == 1, "a worker is up", 60)
    for n in range(4):
        server.submit("tts", {"seconds": 0.3, "nonce": n})
    during(lambda: findings(server) == {}, "nothing is found", for_s=3)
    done = server.cli("doctor", "--check")
    assert "nothing is wrong" in done.stdout
    assert server.cli("doctor", "nowhere", check=False).returncode == 3


def test_why_says_what_one_more_worker_would_do(make):
    emulator = make.emulator("--cold-start", "2s..3s")
    cloud = emulator.create("tts")
    server = make.server(
        endpoint(
            "tts",
            scripted_pool(),
            cloud_pool(cloud),
            **SETTINGS | {"expected_execution": '"30s"'},
            workers='{ min = 0, max = 0 }',
        ),
        cloud=emulator,
    )
    until(lambda: server.health("tts")["workers"]["idle"] == 1, "a worker is up", 60)
    gate = server.folder / "gate"
    jobs = [server.submit("tts", {"gate": str(gate), "seconds": 1}) for _ in range(12)]

    def cause(code):
        found = server.cli_json("why", jobs[-1])
        return found if code in [cause["code"] for cause in found["causes"]] else None

    why = until(lambda: cause("max_zero"), "the limit is named")
    higher = next(what_if for what_if in why["what_if"] if what_if["setting"] == "max")
    assert (higher["from"], higher["to"]) == (0, 1)
    assert higher["earlier_ms"] > 0 and higher["cost_more_nano_usd"] > 0
    assert re.search(r"with max 1 it would start .+ earlier, for \$\d", higher["text"])
    text = server.cli("why", jobs[-1]).stdout
    assert "max_zero" in text and higher["how"] in text
    assert "local_busy" in server.cli("why", "scale").stdout
    # The command that it names does what it says.
    server.cli(*higher["how"].split()[1:])
    until(lambda: cause("max_reached"), "one is allowed, more would help")
    until(lambda: emulator.limits(cloud)["max"] == 1, "and one is ordered")
    gate.touch()
    for job in jobs:
        assert server.wait_final("tts", job, 120)["status"] == "COMPLETED"
    done = server.cli_json("why", jobs[0])
    assert (done["status"], done["causes"][-1]["code"]) == ("completed", "completed")
    assert server.cli("why", "0" * 8, check=False).returncode in (2, 3)
    assert server.cli("why", "scale", "nowhere", check=False).returncode == 3


@pytest.mark.parametrize("kind", ["codes", "causes"])
def test_the_page_has_every_code(kind, make):
    page = PAGE.read_text()
    source = PAGE.parents[1] / "crates"
    if kind == "codes":
        text = (source / "overspill/src/doctor/mod.rs").read_text()
        listed = text.partition("pub const CODES")[2].partition("];")[0]
        codes = re.findall(r'"([a-z_]+)"', listed)
        troubles = re.findall(r'\(\s*"([a-z_]+)",\s*&\[', listed)
        assert len(codes) > 20 and len(troubles) == 4
        tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
        for code in set(codes) - set(troubles):
            assert f"`{code}`" in page, code
            # One that no test brings about would be a guess.
            assert f'"{code}"' in tests, code
    else:
        text = (source / "core/src/why/cause.rs").read_text()
        for code in re.findall(r'Self::\w+(?: \{ \.\. \})? => "([a-z_]+)"', text):
            assert f"`{code}`" in page, code
