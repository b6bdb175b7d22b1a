"""Webhooks as their receivers see them, verified with PyPI's `standardwebhooks`; what must never be reached is not."""

import os
import signal
import socket

import pytest
from standardwebhooks.webhooks import Webhook

from crash.leg import serving_process
from support.receiver import Decoy, Receiver
from support.server import endpoint, scripted_pool
from support.wait import during, until


@pytest.fixture
def receiver():
    made = []

    def make(*answers):
        made.append(Receiver(*answers))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def decoy():
    one = Decoy()
    yield one
    one.close()


def serve(make, *allowed):
    allow = ", ".join(f'"127.0.0.1:{port}"' for port in allowed)
    return make.server(endpoint("tts", scripted_pool()), top=f"[webhooks]\nallow = [{allow}]\n")


def verified(server, delivery):
    """The body of a delivery, once its signature has been verified."""
    secret = server.cli("webhooks", "secret", "tts").stdout.split()[0]
    return Webhook(secret).verify(delivery.body, delivery.headers)


def webhook_of(server, job):
    return server.cli_json("webhooks", "show", job)


def test_f30_a_failed_delivery_comes_again_under_its_id(make, receiver):
    hook = receiver((500, {}), (204, {}))
    server = serve(make, hook.port)
    job = server.finish("tts", {"nonce": "a"}, webhook=hook.url)
    until(lambda: len(hook.deliveries) == 2, "the second delivery", 30)
    first, second = hook.deliveries
    assert first.id == second.id
    for delivery in (first, second):
        body = verified(server, delivery)
        assert (body["id"], body["status"], body["webhook"]) == (job["id"], "COMPLETED", hook.url)
        assert body["output"] == job["output"]
    assert first.headers["webhook-timestamp"] <= second.headers["webhook-timestamp"]
    until(lambda: webhook_of(server, job["id"])["state"] == "delivered", "it is known as delivered")
    listed = server.cli_json("webhooks", "list")
    assert [(one["job"], one["state"]) for one in listed["webhooks"]] == [(job["id"], "delivered")]
    server.cli_json("webhooks", "replay", job["id"])
    until(lambda: len(hook.deliveries) == 3, "the replay", 30)
    assert hook.deliveries[2].id == first.id
    verified(server, hook.deliveries[2])


def test_f32_a_kill_between_a_result_and_its_delivery(make, receiver):
    hook = receiver()
    hook.open.clear()
    server = serve(make, hook.port)
    job = server.finish("tts", {"nonce": "b"}, webhook=hook.url)
    # The result is recorded and its delivery is under way: nobody has heard the answer.
    until(lambda: len(hook.deliveries) == 1, "the delivery began", 30)
    os.kill(serving_process(server), signal.SIGKILL)
    hook.open.set()
    server.wait_ready()
    until(lambda: len(hook.deliveries) == 2, "it is delivered after all", 60)
    assert {delivery.id for delivery in hook.deliveries} == {hook.deliveries[0].id}
    assert verified(server, hook.deliveries[1])["id"] == job["id"]
    until(lambda: webhook_of(server, job["id"])["state"] == "delivered", "it is known as delivered")
    assert server.status("tts", job["id"])["output"] == job["output"]
    assert len(server.executions(job["id"])) == 1


def forms_of_loopback(port):
    """Addresses of this machine and of a cloud's metadata service, in every spelling."""
    hosts = [
        "127.0.0.1",
        "127.1",
        "127.8.9.1",
        "0.0.0.0",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[fd00::1]",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "localhost",
        "anything.localhost",
    ]
    yield from (f"{scheme}://{host}:{port}/hook" for host in hosts for scheme in ("http", "https"))
    yield from (f"https://{host}/hook" for host in hosts)


def test_f31_what_is_inside_is_never_reached(make, decoy):
    server = serve(make)
    seen = set()
    for url in forms_of_loopback(decoy.port):
        answer = server.call("POST", "/v2/tts/run", json={"input": {"nonce": "c"}, "webhook": url})
        body = answer.json()
        assert answer.status_code == 400, f"{url}: {body}"
        seen.add(body["code"])
        assert body["code"] in ("webhook_forbidden_address", "webhook_invalid"), f"{url}: {body}"
    assert "webhook_forbidden_address" in seen
    during(lambda: not decoy.connects, "nobody connected", 1)
    assert server.executions() == []


def test_f31_a_redirect_is_not_followed(make, receiver, decoy):
    hook = receiver((302, {"Location": f"http://127.0.0.1:{decoy.port}/inside"}))
    server = serve(make, hook.port)
    job = server.finish("tts", {"nonce": "d"}, webhook=hook.url)
    shown = until(
        lambda: (seen := webhook_of(server, job["id"]))["attempts"] and seen, "the first attempt is noted"
    )
    assert shown["state"] == "due" and "302" in str(shown)
    during(lambda: not decoy.connects, "nobody connected", 1)


def test_f31_the_error_says_the_line_that_allows_a_receiver(make, receiver):
    hook = receiver()
    refused = serve(make).call("POST", "/v2/tts/run", json={"input": {"nonce": "e"}, "webhook": hook.url})
    assert refused.status_code == 400
    line = f'allow = ["127.0.0.1:{hook.port}"]'
    assert line in refused.text.replace("\\", ""), refused.text
    server = make.server(endpoint("tts", scripted_pool()), top=f"[webhooks]\n{line}\n")
    job = server.finish("tts", {"nonce": "e"}, webhook=hook.url)
    until(lambda: hook.deliveries, "the delivery", 30)
    assert verified(server, hook.deliveries[0])["id"] == job["id"]


def test_f31_a_name_that_leads_inside_is_refused_at_the_connect(make, decoy):
    """The machine's own name is public to look at; what it resolves to is not."""
    name = socket.gethostname()
    addresses = {info[4][0] for info in socket.getaddrinfo(name, None)}
    server = serve(make)
    answer = server.call(
        "POST", "/v2/tts/run", json={"input": {"nonce": "f"}, "webhook": f"https://{name}/hook"}
    )
    if answer.status_code == 200:
        job = answer.json()["id"]
        shown = until(lambda: (s := webhook_of(server, job))["attempts"] and s, f"{name}: {addresses}", 60)
        assert shown["state"] in ("due", "dead")
    else:
        assert answer.json()["code"] in ("webhook_forbidden_address", "webhook_invalid")
    during(lambda: not decoy.connects, "nobody connected", 1)
