"""Workers that RunPod keeps on though nobody asked for them: told by the day, and ended where limits are ours to set."""

import pytest

from support.doctor import SETTINGS, decided, finish, named, order, stands_still
from support.server import cloud_pool, endpoint
from support.wait import until

ONE = '{ min = 0, max = 1, idle_timeout = "2s" }'


@pytest.mark.timeout(420)
def test_a_standby_worker_is_told_by_the_day_and_ended_where_allowed(make):
    emulator = make.emulator("--cold-start", "1s..2s", "--no-rate-limits")
    kept, ended = emulator.create("kept"), emulator.create("ended")
    server = make.server(
        endpoint("kept", cloud_pool(kept) + "manage = false\n", **SETTINGS, workers=ONE),
        endpoint("ended", cloud_pool(ended), **SETTINGS, workers=ONE),
        cloud=emulator,
    )
    finish(server, "ended", [server.submit("ended", {"seconds": 0.2})])
    until(lambda: emulator.limits(ended)["max"] == 0, "none is wanted", 30)
    for cloud in (kept, ended):
        order(emulator, cloud, "standby_worker", beyond_max=True)
        until(lambda c=cloud: emulator.live_workers(c) == 1, "one is on that nobody asked for")
    until(lambda: len(decided(server, "standby_seen")) == 2, "both are seen", 120, pause_s=0.5)
    # A second write of the limits ends it, where the limits are ours to write.
    stands_still(emulator, ended)
    finding = named(server, "kept", "standby_worker")
    # $0.44 an hour is $10.56 a day.
    assert finding["facts"]["nano_usd_per_day"] == 10_560_000_000
    assert finding["facts"]["workers"] == 1
    assert emulator.live_workers(kept) == 1
    # What it costs is in the ledger, although no job caused it.
    money = server.call("GET", "/api/v1/overview").json()["money"]
    until(
        lambda: server.call("GET", "/api/v1/overview").json()["money"]["today_nano_usd"]
        > money["today_nano_usd"],
        "it is counted",
        60,
        pause_s=0.5,
    )
