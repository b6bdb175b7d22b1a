"""Workers that are billed for nothing, and limits that are not as set: each is brought about at the emulator, named
by `doctor --json` with its evidence, by that code alone, and stopped or put right where allowed."""

from support.doctor import SETTINGS, found, named, order
from support.server import cloud_pool, endpoint
from support.wait import during, until

ONE = '{ min = 0, max = 1, idle_timeout = "2s" }'


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


def test_a_hung_worker_is_named_and_ended_although_runpod_does_not(make):
    emulator = make.emulator("--cold-start", "2s..3s", "--no-rate-limits")
    cloud = emulator.create("hung")
    server = make.server(
        endpoint("hung", cloud_pool(cloud), **SETTINGS, workers=ONE, execution_timeout='"30s"'),
        cloud=emulator,
    )
    finish(server, "hung", [server.submit("hung", {"seconds": 0.2}) for _ in range(6)])
    assert found(server) == {}
    order(emulator, cloud, "hung_worker", count=1)
    job = server.submit("hung", {"seconds": 0.2})
    finding = named(server, "hung", "worker_hung")
    facts = finding["facts"]
    assert facts["job"] == job and facts["worker"] and facts["nano_usd"] > 0
    assert facts["execution_timeout"] == 30_000
    assert finding["command"] == f"overspill cancel hung {job}"
    status = server.wait_final("hung", job, 90)
    assert status["status"] == "FAILED", status
    stands_still(emulator, cloud)
    until(lambda: found(server) == {}, "nothing is left of it", 30)


def test_a_crash_loop_is_named_and_stops_scaling(make):
    emulator = make.emulator("--cold-start", "1s..2s", "--no-rate-limits")
    cloud = emulator.create("crash")
    workers = '{ min = 0, max = 3, idle_timeout = "2s" }'
    server = make.server(
        endpoint("crash", cloud_pool(cloud), **SETTINGS, workers=workers), cloud=emulator
    )
    order(emulator, cloud, "crash_loop")
    jobs = [server.submit("crash", {"seconds": 0.2}) for _ in range(3)]
    until(lambda: decided(server, "crash_loop"), "scaling stops", 60)
    until(lambda: emulator.limits(cloud)["max"] == 0, "no worker may start", 30)
    finding = named(server, "crash", "cloud_crash_loop")
    assert finding["facts"]["pauses"] == 1 and finding["facts"]["paused_for"] <= 60_000
    stands_still(emulator, cloud)
    emulator.call("DELETE", "/emulator/faults")
    # One alone tries after the pause, and then all goes on.
    finish(server, "crash", jobs)
    until(lambda: found(server) == {}, "nothing is left of it", 30)


def test_a_max_that_runpod_lowered_is_named_and_set_again(make):
    emulator = make.emulator("--cold-start", "1s..2s", "--no-rate-limits")
    cloud = emulator.create("lowered", workers_max=1)
    workers = '{ min = 0, max = 3, idle_timeout = "2s" }'
    server = make.server(
        endpoint(
            "lowered",
            cloud_pool(cloud),
            **SETTINGS | {"max_wait": '"10s"', "expected_execution": '"40s"'},
            workers=workers,
        ),
        cloud=emulator,
        runpod='limits_check = "10s"\n',
    )
    jobs = [server.submit("lowered", {"seconds": 40}) for _ in range(3)]
    until(lambda: emulator.limits(cloud)["max"] == 3, "three are wanted", 30)
    order(emulator, cloud, "max_lowered", max=1)
    finding = named(server, "lowered", "max_lowered")
    assert (finding["facts"]["asked"], finding["facts"]["seen"]) == (3, 1)
    until(lambda: emulator.limits(cloud)["max"] == 3, "it is set again", 30)
    assert decided(server, "limits_changed")
    finish(server, "lowered", jobs)


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
