"""What `overspill doctor --json` finds, and faults at the emulator that it is to find."""

from support.wait import until

# Dear enough that seconds cost what the doctor looks at.
DEAR = "60"
SETTINGS = {"max_wait": '"60s"', "expected_execution": '"5s"', "expected_start": '"3s"'}


def found(server):
    """What the doctor finds: by endpoint, code and facts."""
    findings = server.cli_json("doctor")["findings"]
    for finding in findings:
        assert finding["evidence"] and finding["fix"] and finding["page"].endswith(finding["code"])
    return {(finding["endpoint"], finding["code"]): finding for finding in findings}


def named(server, name, code, within_s=90):
    """The finding, once it is the only one."""
    seen = {}

    def alone():
        seen.clear()
        seen.update(found(server))
        return seen.get((name, code)) if len(seen) == 1 else None

    return until(alone, lambda: f"{code} alone\nseen {list(seen)}", within_s, pause_s=0.5)


def order(emulator, endpoint_id, fault, **more):
    emulator.call("POST", "/emulator/faults", json={"fault": fault, "endpoint": endpoint_id} | more)
