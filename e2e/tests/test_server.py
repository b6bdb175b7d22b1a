"""The server's door: health without a key, keys, errors with one flat body, limits, hosts."""

import pytest

from support.columns import HTTP
from support.server import KEY, endpoint, scripted_pool

covers = pytest.mark.covers


@pytest.fixture(scope="module")
def server(make_shared):
    return make_shared.server(endpoint("tts", scripted_pool()), endpoint("bare"))


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_liveness_and_readiness_need_no_key(server, path):
    assert server.call("GET", path, key=None).status_code == 200


def test_an_endpoint_with_only_a_name_takes_jobs_and_keeps_them(server):
    job = server.submit("bare", {"n": 1})
    assert server.status("bare", job)["status"] == "IN_QUEUE"
    assert server.health("bare")["jobs"]["inQueue"] == 1
    assert server.call("POST", f"/v2/bare/cancel/{job}").json()["status"] == "CANCELLED"


@covers("key as `Bearer`, and bare", HTTP)
@pytest.mark.parametrize("header", [f"Bearer {KEY}", KEY])
def test_a_key_of_the_users_own_making(server, header):
    answer = server.call("GET", "/v2/tts/health", key=None, headers={"Authorization": header})
    assert answer.status_code == 200


@covers("401", HTTP)
@pytest.mark.parametrize("key", [None, "not-the-key-of-anybody", "' OR '1'='1"])
def test_without_the_right_key(server, key):
    answer = server.call("POST", "/v2/tts/run", key=key, json={"input": {}})
    assert answer.status_code == 401
    assert_flat(answer, "auth_missing" if key is None else "auth_invalid")


def assert_flat(answer, code):
    """The one error body: flat, `error` a sentence, the status repeated."""
    body = answer.json()
    assert isinstance(body["error"], str) and body["error"]
    assert body["code"] == code, body
    assert body["status"] == answer.status_code
    assert body["title"] and body["detail"]


@covers("400 for a bad body", HTTP)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "body_empty"),
        (b"{", "json_invalid"),
        (b"[1]", "json_not_object"),
        (b"{}", "input_missing"),
        (b'{"input": null}', "input_missing"),
        (b'{"input": NaN}', "json_non_finite"),
        (b'{"input": "\xff"}', "json_bad_utf8"),
        (b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "json_too_deep"),
        (b'{"input": 1, "webhook": "ftp://example.com/x"}', "webhook_invalid"),
        (b'{"input": 1, "policy": {"lowPriority": "yes"}}', "type_mismatch"),
    ],
)
@pytest.mark.parametrize("operation", ["run", "runsync"])
def test_a_bad_body_is_refused_with_its_code(server, operation, body, code):
    answer = server.call("POST", f"/v2/tts/{operation}", data=body)
    assert answer.status_code == 400, answer.text
    assert_flat(answer, code)


@covers("413 for a body over the limit", HTTP)
def test_a_body_over_the_limit(server):
    answer = server.call("POST", "/v2/tts/run", json={"input": "x" * 10_500_000})
    assert answer.status_code == 413


@covers("404", HTTP)
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/nothing/health", "endpoint_not_found"),
        ("/v2/tts/status/00000000-0000-4000-8000-000000000000-u1", "job_not_found"),
        ("/v2/tts/status/..%2f..%2fetc", "route_not_found"),
    ],
)
def test_what_does_not_exist(server, path, code):
    answer = server.call("GET", path)
    assert answer.status_code == 404, answer.text
    assert_flat(answer, code)


@covers("405 with Allow", HTTP)
def test_a_wrong_method(server):
    answer = server.call("DELETE", "/v2/tts/run")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


@covers("runsync with `wait` out of range", HTTP)
@pytest.mark.parametrize("wait", ["999", "300001", "-1", "abc"])
def test_wait_out_of_range(server, wait):
    answer = server.call("POST", f"/v2/tts/runsync?wait={wait}", json={"input": {}})
    assert answer.status_code == 400
    assert "between 1000 and 300000" in answer.json()["error"]


@covers("runsync holds for `wait`", HTTP)
def test_runsync_answers_in_time_when_the_job_does_not_end(server, tmp_path):
    gate = tmp_path / "gate"
    answer = server.call("POST", "/v2/tts/runsync?wait=1000", json={"input": {"gate": str(gate)}})
    assert answer.status_code == 200
    assert 0.9 <= answer.elapsed.total_seconds() < 2.5
    assert answer.json()["status"] in ("IN_QUEUE", "IN_PROGRESS")
    assert answer.json()["id"].startswith("sync-")
    gate.touch()
    assert server.wait_final("tts", answer.json()["id"])["status"] == "COMPLETED"


@covers("status-sync", HTTP)
def test_status_sync_is_held_until_the_job_ends(server, tmp_path):
    gate = tmp_path / "gate"
    job = server.submit("tts", {"gate": str(gate)})
    held = server.call("GET", f"/v2/tts/status-sync/{job}?wait=1000")
    assert held.json()["status"] in ("IN_QUEUE", "IN_PROGRESS")
    assert held.elapsed.total_seconds() >= 0.9
    gate.touch()
    ended = server.call("GET", f"/v2/tts/status-sync/{job}?wait=30000")
    assert ended.json()["status"] == "COMPLETED"


def test_a_foreign_host_is_refused_on_every_method(server):
    for method in ("GET", "POST", "DELETE"):
        answer = server.call(method, "/v2/tts/health", headers={"Host": "evil.example"})
        assert answer.status_code == 421, method
        assert answer.json()["code"] == "host_not_allowed"


def test_a_foreign_origin_is_refused(server):
    headers = {"Origin": "http://evil.example"}
    assert server.call("POST", "/v2/tts/run", json={"input": 1}, headers=headers).status_code == 403


@covers("Idempotency-Key", HTTP)
def test_the_same_idempotency_key_is_the_same_job(server):
    headers = {"Idempotency-Key": "order-17"}
    first = server.call("POST", "/v2/tts/run", json={"input": {"n": 1}}, headers=headers)
    again = server.call("POST", "/v2/tts/run", json={"input": {"n": 1}}, headers=headers)
    other = server.call("POST", "/v2/tts/run", json={"input": {"n": 2}}, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert other.status_code == 409 and other.json()["code"] == "idempotency_conflict"
