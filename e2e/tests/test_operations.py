"""Every operation of RunPod's client API on the bare wire: what no official client asks for is tested here alone."""

import json

import pytest

from support.columns import HTTP
from support.receiver import Receiver
from support.server import endpoint, local_pool
from support.wait import until

covers = pytest.mark.covers


@pytest.fixture(scope="module")
def receiver():
    one = Receiver()
    yield one
    one.close()


@pytest.fixture(scope="module")
def server(make_shared, receiver):
    return make_shared.server(
        endpoint("tts", local_pool("sync")),
        endpoint("tokens", local_pool("generator")),
        endpoint("closed", workers="{ min = 0, max = 0 }"),
        top=f'[webhooks]\nallow = ["127.0.0.1:{receiver.port}"]\n',
    )


def get(server, path):
    answer = server.call("GET", f"/v2/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(server, path, **body):
    answer = server.call("POST", f"/v2/{path}", **body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@covers("run", HTTP)
@covers("status", HTTP)
def test_run_and_status(server):
    job = server.submit("tts", {"n": 1})
    ended = server.wait_final("tts", job)
    assert set(ended) >= {"id", "status", "delayTime", "executionTime", "workerId", "output"}
    assert (ended["id"], ended["status"], ended["output"]) == (job, "COMPLETED", {"echo": {"n": 1}})


@covers("status of a failed job", HTTP)
def test_status_of_a_failed_job(server):
    ended = server.finish("tts", {"do": "error"})
    assert (ended["status"], ended["error"]) == ("FAILED", "went wrong")
    assert "output" not in ended


@covers("runsync", HTTP)
def test_runsync(server):
    ended = post(server, "tts/runsync", json={"input": {"n": 2}})
    assert ended["id"].startswith("sync-")
    assert (ended["status"], ended["output"]) == ("COMPLETED", {"echo": {"n": 2}})


@covers("status with a time to live", HTTP)
def test_status_with_a_time_to_live(server, tmp_path):
    gate = tmp_path / "gate"
    job = server.submit("tts", {"do": "hold", "gate": str(gate)})
    assert get(server, f"tts/status/{job}?ttl=3600000")["status"] in ("IN_QUEUE", "IN_PROGRESS")
    refused = server.call("GET", f"/v2/tts/status/{job}?ttl=1")
    assert refused.status_code == 400 and "10" in refused.json()["error"]
    gate.touch()
    assert server.wait_final("tts", job)["status"] == "COMPLETED"


@covers("stream", HTTP)
def test_stream_drains_and_ends_with_its_state(server):
    job = server.submit("tokens", {"count": 3})
    chunks = []
    while True:
        answer = get(server, f"tokens/stream/{job}")
        chunks += [chunk["output"] for chunk in answer["stream"]]
        if answer["status"] == "COMPLETED":
            break
    assert chunks == [{"number": n} for n in range(3)]
    assert get(server, f"tokens/stream/{job}")["stream"] == []


@covers("cancel of a running job", HTTP)
@covers("cancel of a queued job", HTTP)
@covers("purge-queue", HTTP)
@covers("requests", HTTP)
@covers("health", HTTP)
def test_cancel_purge_requests_and_health(server, tmp_path):
    gate = tmp_path / "gate"
    running = server.submit("tts", {"do": "hold", "gate": str(gate)})
    until(lambda: server.executions(running), "the handler has the job", 60)
    queued = [server.submit("tts", {"n": n}) for n in range(3)]
    listed = {job["id"]: job["status"] for job in get(server, "tts/requests")["requests"]}
    assert listed[running] == "IN_PROGRESS" and all(listed[job] == "IN_QUEUE" for job in queued)
    health = get(server, "tts/health")
    assert (health["jobs"]["inProgress"], health["jobs"]["inQueue"]) == (1, 3)
    assert set(health["workers"]) == {"idle", "initializing", "ready", "running", "throttled", "unhealthy"}
    assert post(server, f"tts/cancel/{queued[0]}")["status"] == "CANCELLED"
    assert post(server, "tts/purge-queue") == {"removed": 2, "status": "completed"}
    assert post(server, f"tts/cancel/{running}")["status"] == "CANCELLED"
    gate.touch()
    assert all(server.executions(job) == [] for job in queued)


@covers("429 with Retry-After", HTTP)
def test_more_purges_than_two_in_ten_seconds(server):
    answers = [server.call("POST", "/v2/tokens/purge-queue") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 10
    assert answers[2].json()["code"] == "rate_limited"


@covers("retry", HTTP)
def test_retry_has_the_same_id_and_input(server, tmp_path):
    job = server.submit("tts", {"do": "raise"})
    assert server.wait_final("tts", job)["status"] == "FAILED"
    assert post(server, f"tts/retry/{job}") == {"id": job, "status": "IN_QUEUE"}
    assert server.wait_final("tts", job)["status"] == "FAILED"
    assert len(server.executions(job)) == 2
    done = server.finish("tts", {"n": 1})
    assert server.call("POST", f"/v2/tts/retry/{done['id']}").status_code == 409


@covers("metrics", HTTP)
def test_metrics_name_the_ready_workers(server):
    until(lambda: get(server, "tts/health")["workers"]["ready"], "a worker is ready", 60)
    metrics = get(server, "tts/metrics")
    assert len(metrics["readyWorkers"]) >= 1
    assert isinstance(metrics["workers"], dict)


@covers("409 for a paused endpoint", HTTP)
def test_a_paused_endpoint_is_409(server):
    answer = server.call("POST", "/v2/closed/run", json={"input": {"n": 1}})
    body = answer.json()
    assert (answer.status_code, body["code"], body["title"]) == (409, "ENDPOINT_PAUSED", "Conflict")
    assert "max_workers=0" in body["detail"]


@covers("s3Config reaches the worker", HTTP)
def test_s3_config_reaches_the_worker_and_nobody_else(server):
    secret = {"accessId": "id", "accessSecret": "a-secret-of-the-user", "bucketName": "b"}
    job = server.submit("tts", {"do": "whole"}, s3Config=secret)
    assert server.wait_final("tts", job)["output"]["s3Config"] == secret | {"accessSecret": "seen"}
    shown = get(server, f"tts/status/{job}") | server.cli_json("status", job)
    assert "a-secret-of-the-user" not in json.dumps(shown)
    assert "a-secret-of-the-user" not in server.child.text()


@covers("policy.executionTimeout", HTTP)
def test_the_execution_timeout_of_the_request(server):
    job = server.submit("tts", {"do": "hang"}, policy={"executionTimeout": 5_000})
    ended = server.wait_final("tts", job, 90)
    assert (ended["status"], ended["error"]) == ("FAILED", "executionTimeout exceeded")


@covers("policy.ttl", HTTP)
def test_the_time_to_live_of_the_request(server, tmp_path):
    gate = tmp_path / "gate"
    running = server.submit("tts", {"do": "hold", "gate": str(gate)})
    until(lambda: server.executions(running), "the handler has the job", 60)
    job = server.submit("tts", {"n": 1}, policy={"ttl": 10_000})
    assert server.wait_final("tts", job, 60)["status"] == "TIMED_OUT"
    gate.touch()
    assert server.wait_final("tts", running)["status"] == "COMPLETED"
    assert server.executions(job) == []


@covers("webhook in RunPod's envelope", HTTP)
def test_a_webhook_has_the_whole_envelope(server, receiver):
    url = receiver.url
    for given, status in (({"n": 1}, "COMPLETED"), ({"do": "error"}, "FAILED")):
        ended = server.finish("tts", given, webhook=url)

        def arrived(job=ended["id"]):
            bodies = [json.loads(delivery.body) for delivery in receiver.deliveries]
            return [body for body in bodies if body["id"] == job]

        body = until(arrived, "the webhook arrives", 30)[0]
        assert body["status"] == status and body["input"] == given and body["webhook"] == url
        assert set(body) >= {"delayTime", "executionTime", "id", "input", "status", "webhook"}
        assert ("output" in body, "error" in body) == (status == "COMPLETED", status == "FAILED")
