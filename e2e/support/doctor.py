"""What `overspill doctor --json` finds, and faults at the emulator that it is to find."""

from support.wait import during, until

# Dear enough that seconds cost what the doctor looks at.
DEAR = "60"
PROMPT = '{ policy = "queue_delay", queue_delay = "500ms" }'
# A promise that nothing breaks, by a rule that does not wait for its last moment.
SETTINGS = {
    "max_wait": '"60s"',
    "expected_execution": '"5s"',
    "expected_start": '"3s"',
    "scaler": PROMPT,
}


def found(server):
    """What the doctor finds: by endpoint, code and facts."""
    findings = server.cli_json("doctor")["findings"]
    for finding in findings:
        assert finding["evidence"] and finding["fix"] and finding["page"].endswith(finding["code"])
    return {(finding["endpoint"], finding["code"]): finding for finding in findings}


def named(server, name, code, within_s=90):
    """The finding, once it is the only one; `why` names it, too."""
    seen = {}

    def alone():
        seen.clear()
        seen.update(found(server))
        return seen.get((name, code)) if len(seen) == 1 else None

    finding = until(alone, lambda: f"{code} alone\nseen {list(seen)}", within_s, pause_s=0.5)
    why_names(server, name, code)
    return finding


def why_names(server, name, *codes):
    """`why scale` has these findings of the endpoint, and no other."""
    told = server.cli_json("why", "scale", name)["findings"]
    assert [finding["code"] for finding in told] == list(codes)


def order(emulator, endpoint_id, fault, **more):
    emulator.call("POST", "/emulator/faults", json={"fault": fault, "endpoint": endpoint_id} | more)


def decided(server, code):
    decisions = server.call("GET", "/api/v1/decisions").json()["decisions"]
    return [decision for decision in decisions if decision["code"] == code]


def finish(server, name, jobs):
    for job in jobs:
        assert server.wait_final(name, job, 240)["status"] == "COMPLETED"


def stands_still(emulator, endpoint_id):
    """Nothing is on there, and the bill does not grow."""
    until(lambda: emulator.live_workers(endpoint_id) == 0, "no worker is on", 90)
    before = emulator.bill()["endpoints"][endpoint_id]
    during(lambda: emulator.bill()["endpoints"][endpoint_id] == before, "the bill stands still", 2)
