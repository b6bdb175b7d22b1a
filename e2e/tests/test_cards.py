"""Cards that fall off, make memory errors, hang their driver, or keep a dead worker's memory.

The real server reads them through NVML; the library behind it is `support/fake_nvml.c`.
"""

import os

import pytest

from support.cards import Cards, build, card_of
from support.doctor import found, named, why_names
from support.processes import is_alive
from support.server import cloud_pool, endpoint, scripted_pool
from support.wait import during, until

FIRST, SECOND = "GPU-11111111-aaaa", "GPU-22222222-bbbb"
ALL = scripted_pool(devices='"all"')
SOON = '[devices]\nreturns_after = "2s"\n'


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def two(library, tmp_path):
    return Cards(library, tmp_path / "cards", FIRST, SECOND)


@pytest.fixture
def one(library, tmp_path):
    return Cards(library, tmp_path / "cards", FIRST)


def quarantine(server, place=0):
    """Why a card must not be used, as the overview says; None for one that may."""
    return server.call("GET", "/api/v1/overview").json()["devices"][place]["quarantine"]


def ran(server, job, times=1):
    """The pid of the worker that has a job, at its execution of this number."""
    executions = until(
        lambda: e if len(e := server.executions(job)) >= times else None,
        f"execution {times} of the job",
        60,
    )
    return executions[times - 1][2]


def causes(server, job):
    return [cause["code"] for cause in server.cli_json("why", job)["causes"]]


@pytest.mark.parametrize(("state", "fault"), [("lost", "failing"), ("missing", "missing")])
def test_a_job_on_a_card_that_falls_off_ends_once_on_the_other(make, two, state, fault):
    server = make.server(endpoint("tts", ALL, max_wait='"60s"'), variables=two.variables, top=SOON)
    gate = server.folder / "gate"
    job = server.submit("tts", {"gate": str(gate), "nonce": 7})
    pid = ran(server, job)
    lost = card_of(pid)
    [other] = {FIRST, SECOND} - {lost}
    place = (FIRST, SECOND).index(lost)
    two.say(lost, state=state)
    assert card_of(ran(server, job, 2)) == other
    until(lambda: not is_alive(pid), "the worker on the lost card is killed")
    waits = server.submit("tts", {"seconds": 0.1})
    assert "card_quarantined" in causes(server, waits)
    finding = named(server, "tts", "card_quarantined")
    assert (finding["facts"]["device"], finding["facts"]["fault"]) == (place, fault)
    # The overview is of the last second.
    seen = until(lambda: quarantine(server, place), "the overview says so")
    assert seen["fault"] == fault and quarantine(server, 1 - place) is None
    if state == "lost":
        assert "GPU is lost" in seen["detail"]
    metrics = server.call("GET", "/metrics").text
    assert f'overspill_device_quarantined{{device="{place}",name="NVIDIA Fake 24 GB"}} 1' in metrics
    [shown] = server.cli_json("gpus", "--local")["quarantined"]
    assert (shown["id"], shown["fault"]) == (place, fault)
    gate.touch()
    status = server.wait_final("tts", job)
    assert (status["status"], status["output"]["nonce"]) == ("COMPLETED", 7)
    assert server.wait_final("tts", waits)["status"] == "COMPLETED"
    assert len(server.executions(job)) == 2
    # It comes back, by itself, and a worker with it.
    two.say(lost, state="well")
    until(lambda: quarantine(server, place) is None, "the card is used again")
    until(lambda: {card_of(pid) for pid in server.workers()} == {FIRST, SECOND}, "both have a worker")
    assert found(server) == {}


def test_memory_errors_send_the_job_to_the_cloud_until_somebody_returns_the_card(make, one):
    emulator = make.emulator("--cold-start", "1s..2s", "--no-rate-limits")
    pools = (ALL, cloud_pool(emulator.create("tts", workers_max=2)))
    server = make.server(
        endpoint("tts", *pools, max_wait='"60s"', workers='{ min = 0, max = 2, idle_timeout = "2s" }'),
        cloud=emulator,
        variables=one.variables,
        top=SOON,
    )
    until(lambda: server.health("tts")["workers"]["idle"] == 1, "the card has a worker", 60)
    job = server.submit("tts", {"gate": str(server.folder / "never"), "seconds": 1})
    pid = ran(server, job)
    one.say(FIRST, errors=2)
    status = server.wait_final("tts", job, 90)
    assert status["status"] == "COMPLETED"
    assert len(server.executions(job)) == 1, "the other run was the cloud's"
    assert not is_alive(pid)
    finding = found(server)["tts", "card_quarantined"]
    assert finding["facts"]["fault"] == "memory_errors" and "2 memory errors" in finding["evidence"]
    why_names(server, "tts", *[code for _, code in found(server)])
    # Neither good readings nor a restart end it.
    server.stop()
    server.start()
    during(lambda: quarantine(server)["fault"] == "memory_errors", "it stays quarantined", 4)
    assert server.workers() == []
    assert "takes jobs again" in server.cli("gpus", "--return", FIRST).stdout
    until(lambda: server.health("tts")["workers"]["idle"] == 1, "the card has a worker", 60)
    again = server.cli("gpus", "--return", "0", check=False)
    assert again.returncode != 0 and "not quarantined" in again.stderr
    assert server.cli("gpus", "--return", "9", check=False).returncode == 3
    assert ran(server, server.submit("tts", {"seconds": 0.1}))


def test_nothing_starts_before_a_killed_workers_memory_is_free(make, one):
    server = make.server(endpoint("tts", ALL, max_wait='"60s"'), variables=one.variables, top=SOON)
    job = server.submit("tts", {"gate": str(server.folder / "never")}, policy={"executionTimeout": 5_000})
    pid = ran(server, job)
    one.say(FIRST, pids=(pid, os.getpid()))
    status = server.wait_final("tts", job)
    assert (status["status"], status["error"]) == ("FAILED", "executionTimeout exceeded")
    until(lambda: not is_alive(pid), "the hanging worker is killed")
    after = server.submit("tts", {"seconds": 0.1})
    during(lambda: server.workers() == [], "no worker starts", 4)
    assert "card_held" in causes(server, after)
    # A process of somebody else keeps nobody waiting.
    one.say(FIRST, pids=(os.getpid(),))
    assert server.wait_final("tts", after)["status"] == "COMPLETED"
    # The next one's stays: that is no way to go on.
    job = server.submit("tts", {"gate": str(server.folder / "never")})
    pid = ran(server, job)
    one.say(FIRST, pids=(pid,))
    until(lambda: server.call("POST", f"/v2/tts/cancel/{job}").json()["status"] == "CANCELLED", "cancelled")
    until(lambda: not is_alive(pid), "the worker is killed")
    finding = named(server, "tts", "card_quarantined")
    assert finding["facts"]["fault"] == "memory_held"
    assert until(lambda: quarantine(server), "the overview says so")["fault"] == "memory_held"
    one.say(FIRST, pids=())
    assert server.finish("tts", {"seconds": 0.1})["status"] == "COMPLETED"
    until(lambda: quarantine(server) is None, "the overview says so")


def test_a_driver_that_hangs_at_one_card_leaves_the_other_at_work(make, two):
    server = make.server(endpoint("tts", ALL, max_wait='"60s"'), variables=two.variables, top=SOON)
    until(lambda: server.health("tts")["workers"]["idle"] == 2, "both cards have a worker", 60)
    two.say(SECOND, state="hangs")
    until(lambda: quarantine(server, 1), "the card is quarantined", 60)
    assert (quarantine(server, 1)["fault"], quarantine(server)) == ("hanging", None)
    assert card_of(ran(server, server.submit("tts", {"seconds": 0.1}))) == FIRST
    assert [card_of(pid) for pid in server.workers()] == [FIRST]
    two.say(SECOND, state="well")
    until(lambda: quarantine(server, 1) is None, "it is used again")


def test_a_reload_while_the_driver_fails_keeps_workers_and_jobs(make, two):
    server = make.server(endpoint("tts", ALL, max_wait='"60s"'), variables=two.variables, top=SOON)
    until(lambda: server.health("tts")["workers"]["idle"] == 2, "both cards have a worker", 60)
    workers = set(server.workers())
    gate = server.folder / "gate"
    job = server.submit("tts", {"gate": str(gate), "nonce": 3})
    ran(server, job)
    two.driver_says(state="fails")
    server.reload(endpoint("tts", ALL, max_wait='"50s"'))
    two.driver_says(state="well")
    assert "the cards are as before" in server.child.text()
    during(lambda: set(server.workers()) == workers, "the workers stay", 4)
    gate.touch()
    assert server.wait_final("tts", job)["output"]["nonce"] == 3
    assert len(server.executions(job)) == 1
    assert server.cli_json("gpus", "--local")["quarantined"] == []


def test_a_card_that_is_missing_at_a_reload_and_a_restart_keeps_its_place(make, two):
    server = make.server(endpoint("tts", ALL, max_wait='"60s"'), variables=two.variables, top=SOON)
    until(lambda: server.health("tts")["workers"]["idle"] == 2, "both cards have a worker", 60)
    [other] = [pid for pid in server.workers() if card_of(pid) == SECOND]
    two.say(FIRST, state="missing")
    until(lambda: quarantine(server), "the card is quarantined", 60)
    server.reload(endpoint("tts", ALL, max_wait='"50s"'))
    during(lambda: server.workers() == [other], "the other card's worker stays", 3)
    assert (quarantine(server)["fault"], quarantine(server, 1)) == ("missing", None)
    server.stop()
    server.start()
    assert card_of(ran(server, server.submit("tts", {"seconds": 0.1}))) == SECOND
    seen = until(lambda: quarantine(server), "the overview says so")
    assert (seen["fault"], quarantine(server, 1)) == ("missing", None)
    assert f"card 0 (NVIDIA Fake 24 GB, {FIRST}) is not listed by the driver" in server.child.text()
    two.say(FIRST, state="well")
    until(lambda: {card_of(pid) for pid in server.workers()} == {FIRST, SECOND}, "both have a worker", 60)


def test_a_driver_that_was_loaded_again_is_opened_anew(make, two):
    server = make.server(endpoint("tts", ALL, max_wait='"60s"'), variables=two.variables, top=SOON)
    until(lambda: server.health("tts")["workers"]["idle"] == 2, "both cards have a worker", 60)
    workers = set(server.workers())
    # The old session is dead for good: nobody is quarantined for that.
    two.driver_says(loaded=1)
    during(lambda: set(server.workers()) == workers, "the workers stay", 8)
    assert quarantine(server) is None and quarantine(server, 1) is None
    # One that is away for longer is another matter, and comes back by itself.
    two.driver_says(state="fails")
    until(lambda: quarantine(server) and quarantine(server, 1), "the cards are quarantined", 60)
    two.driver_says(state="well", loaded=2)
    until(lambda: {card_of(pid) for pid in server.workers()} == {FIRST, SECOND}, "both have a worker", 60)
    assert server.finish("tts", {"seconds": 0.1})["status"] == "COMPLETED"
