"""Money as its owners meet it: who bears what, a key at its cap, and the alert that its receiver can verify."""

import csv
import io

import pytest
from standardwebhooks.webhooks import Webhook

from support.receiver import Receiver
from support.server import cloud_pool, endpoint
from support.wait import during, until


@pytest.fixture
def receiver():
    one = Receiver()
    yield one
    one.close()


@pytest.fixture
def emulator(make):
    return make.emulator("--cold-start", "1s..2s", "--seed", "11")


@pytest.fixture
def server(make, emulator, receiver):
    cloud_id = emulator.create("tts", workers_max=3, idle_timeout_s=2)
    return make.server(
        endpoint(
            "tts",
            cloud_pool(cloud_id),
            max_wait='"9s"',
            expected_start='"2s"',
            workers='{ min = 0, max = 2, idle_timeout = "2s" }',
        ),
        cloud=emulator,
        top=f'[webhooks]\nallow = ["127.0.0.1:{receiver.port}"]\n',
        variables={"OVERSPILL__BUDGET__ALERT": receiver.url},
    )


def submit(server, key, seconds=1):
    answer = server.call("POST", "/v2/tts/run", key=key, json={"input": {"seconds": seconds}})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def spent(server, side, name):
    lines = server.cli_json("cost", "--by", side)["lines"]
    return sum(line["spent_nano_usd"] for line in lines if name in (line["name"], line.get("id")))


def test_each_key_bears_its_jobs_and_the_whole_is_the_bill(server, emulator):
    shop = server.cli_json("keys", "create", "--name", "shop", "--budget-per-day", "$5")
    job = submit(server, shop["key"], seconds=20)
    other = submit(server, server.key, seconds=5)
    for one in (job, other):
        assert server.wait_final("tts", one, 120)["status"] == "COMPLETED"
    until(lambda: spent(server, "key", shop["id"]) > 0, "the key bears its job", 60)
    until(lambda: spent(server, "job", job) > 0, "the job has its part", 60)
    until(lambda: server.cli_json("budget")["caps"][-1]["reserved_nano_usd"] == 0, "nothing is set aside", 90)
    total = server.cli_json("cost")["total"]["spent_nano_usd"]
    for side in ("pool", "gpu", "region", "key", "kind", "day"):
        assert server.cli_json("cost", "--by", side)["total"]["spent_nano_usd"] == total, side
    rows = list(csv.DictReader(io.StringIO(server.cli("cost", "--by", "key", "--csv").stdout)))
    assert {row["key"] for row in rows} >= {"shop"}, rows
    story = server.call("GET", f"/api/v1/jobs/{job}").json()
    assert story["cost"]["run_nano_usd"] > 0


def test_a_key_at_its_cap_waits_for_cards_and_others_pass_it(server):
    shop = server.cli_json("keys", "create", "--name", "shop", "--budget-per-day", "$0.01")
    job = submit(server, shop["key"])
    assert server.wait_final("tts", submit(server, server.key), 120)["status"] == "COMPLETED"
    assert server.status("tts", job)["status"] == "IN_QUEUE"
    causes = [cause["code"] for cause in server.cli_json("why", job)["causes"]]
    assert "budget_reached" in causes
    server.cli("budget", "set", "--key", shop["id"], "--per-day", "$5")
    assert server.wait_final("tts", job, 120)["status"] == "COMPLETED"


def test_an_alert_is_signed_and_comes_once(server, receiver):
    server.cli("budget", "set", "--per-hour", "$0.01", "--endpoint", "tts")
    submit(server, server.key)
    until(lambda: receiver.deliveries, "the alert", 30)
    secret = server.cli("webhooks", "secret", ":budget").stdout.split()[0]
    delivery = receiver.deliveries[0]
    body = Webhook(secret).verify(delivery.body, delivery.headers)
    assert body["type"] == "budget.alert"
    data = body["data"]
    assert (data["scope"], data["endpoint"], data["period"]) == ("endpoint", "tts", "hour")
    assert (data["threshold_percent"], data["is_reached"]) == (100, True)
    assert data["cap_nano_usd"] == 10_000_000
    submit(server, server.key)
    during(lambda: len(receiver.deliveries) == 1, "nothing more is said", for_s=3)
    server.child.kill()
    server.start()
    during(lambda: len(receiver.deliveries) == 1, "nothing more is said after a restart", for_s=3)
