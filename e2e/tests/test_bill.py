"""A bill of RunPod's that says something else than was counted: each lie is told by the emulator, and named by
`doctor --json` with its cause, by that code alone."""

import platform

import pytest

from support.doctor import DEAR, SETTINGS, finish, found, named, order, why_names
from support.server import cloud_pool, endpoint
from support.wait import until

# Debian's libfaketime, which `cargo xtask e2e` installs where it may.
FAKETIME = f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketime.so.1"


class Billed:
    """An endpoint whose bill is another than what is counted, and what the doctor is to say of it."""

    def __init__(self, name, code, percents, fault=None, **more):
        self.name, self.code, self.percents, self.fault, self.more = name, code, percents, fault, more
        self.workers = more.pop("workers", 15)
        # Workers that run jobs of another program's, on an endpoint whose limits are not ours.
        self.is_foreign = more.pop("is_foreign", False)
        self.price = more.pop("price", DEAR)

    def create(self, emulator):
        self.cloud = emulator.create(self.name, workers_max=self.workers)
        if self.price == DEAR:
            emulator.call("POST", f"/emulator/endpoints/{self.cloud}", json={"price_usd_per_h": DEAR})
        if self.fault:
            order(emulator, self.cloud, self.fault, **self.more)

    def text(self):
        workers = f'{{ min = 0, max = {self.workers}, idle_timeout = "2s" }}'
        pool = cloud_pool(self.cloud, price=f"${self.price}/h") + "manage = false\n" * self.is_foreign
        return endpoint(self.name, pool, **SETTINGS, workers=workers)


@pytest.mark.timeout(420)
def test_a_bill_that_says_more_than_was_seen_is_named_with_its_cause(make):
    emulator = make.emulator("--cold-start", "2s..3s", "--no-rate-limits")
    cases = [
        Billed("hidden", "hidden_idle", range(6, 15), "hidden_idle", percent=10),
        Billed("twice", "billed_twice", range(90, 111), "billed_twice", workers=4),
        Billed("much", "bill_differs", range(140, 161), "hidden_idle", percent=150, workers=9),
        # Hours that run on without a record are told hours later: nothing is claimed before.
        Billed("missing", None, None, "missing_records", workers=2),
        # The catalog has the card for twice as much.
        Billed("price", "price_differs", range(90, 111), price="0.342", workers=24),
        Billed("foreign", "foreign_workers", None, workers=4, is_foreign=True),
    ]
    for case in cases:
        case.create(emulator)
    server = make.server(
        *[case.text() for case in cases],
        cloud=emulator,
        budget="$100000",
        runpod='max_workers = 60\nbilling_check = "10s"\n',
    )
    jobs = []
    for case in cases:
        if case.is_foreign:
            for _ in range(case.workers):
                emulator.call("POST", f"/v2/{case.cloud}/run", json={"input": {"seconds": 50}})
            continue
        jobs += [(case.name, server.submit(case.name, {"seconds": 60})) for _ in range(case.workers)]
    for name, job in jobs:
        assert server.wait_final(name, job, 240)["status"] == "COMPLETED"
    for case in cases:
        until(lambda c=case: emulator.live_workers(c.cloud) == 0, f"all of {case.name} are billed", 60)
    wanted = {(case.name, case.code) for case in cases if case.code}
    seen = {}

    def exactly():
        seen.clear()
        seen.update(found(server))
        return set(seen) == wanted

    until(exactly, lambda: f"each has its code and no other\nseen {list(seen)}", 90, pause_s=0.5)
    for case in cases:
        finding = seen.get((case.name, case.code))
        if finding and case.percents:
            assert finding["facts"]["percent"] in case.percents, finding
        why_names(server, case.name, *[code for code in [case.code] if code])
    # One call for the whole account each time, and not one for each look of the doctor.
    asked = emulator.call("GET", "/emulator/requests")
    reads = [count for route, count in asked.items() if "billing/serverless" in route]
    assert 0 < sum(reads) <= 30, asked


def test_an_hour_without_a_record_is_missed_once_it_is_long_due(make):
    emulator = make.emulator("--cold-start", "2s..3s", "--no-rate-limits")
    cloud = emulator.create("missing")
    order(emulator, cloud, "missing_records")
    workers = '{ min = 0, max = 1, idle_timeout = "2s" }'
    server = make.server(
        endpoint("missing", cloud_pool(cloud, price=f"${DEAR}/h"), **SETTINGS, workers=workers),
        cloud=emulator,
        budget="$100000",
        runpod='billing_check = "10s"\n',
    )
    finish(server, "missing", [server.submit("missing", {"seconds": 6})])
    until(lambda: emulator.live_workers(cloud) == 0, "the worker is gone", 60)
    rate = lambda: server.call("GET", "/api/v1/overview").json()["money"]["nano_usd_per_hour"]
    until(lambda: rate() == 0, "the server has seen that it is gone", 30)
    spent = lambda: server.cli_json("cost", "--since", "always")["total"]["spent_nano_usd"]
    until(lambda: spent() >= 100_000_000, "it is in the ledger", 60)
    assert found(server) == {}
    server.stop()
    # Its wall clock is eight hours on when it starts again.
    server.env |= {"LD_PRELOAD": FAKETIME, "FAKETIME": "+8h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    server.start()
    finding = named(server, "missing", "record_missing")
    assert finding["facts"]["counted_nano_usd"] >= 100_000_000
    # Only what the account's bill says: it is no reason to hold anything up.
    finish(server, "missing", [server.submit("missing", {"seconds": 0.1})])
