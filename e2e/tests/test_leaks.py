"""Workers that are billed for nothing, and limits that are not as set: each is brought about at the emulator, named
by `doctor --json` with its evidence, by that code alone, and stopped or put right where allowed."""

import pytest

from support.doctor import SETTINGS, decided, finish, found, named, order, stands_still
from support.server import cloud_pool, endpoint
from support.wait import until

ONE = '{ min = 0, max = 1, idle_timeout = "2s" }'
# They wait for time-outs and for idle workers to end, beside other tests.
pytestmark = pytest.mark.timeout(420)


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
