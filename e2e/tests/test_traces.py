"""A trace goes from the app's `traceparent` through the queue to the worker, RunPod and the webhook."""

import json
import os
import secrets
import signal

import pytest

from crash.leg import serving_process
from support.collector import Collector
from support.receiver import Receiver
from support.server import cloud_pool, endpoint, local_pool, scripted_pool
from support.wait import until
from support.workers import VERSIONS, servers

CLIENT, PRODUCER, CONSUMER, INTERNAL = 3, 4, 5, 1


@pytest.fixture
def collector():
    one = Collector()
    yield one
    one.close()


@pytest.fixture
def hook():
    one = Receiver()
    yield one
    one.close()


def variables(collector, **more):
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=a%20b",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_SERVICE_NAME": "gpu-jobs",
    } | more


class Caller:
    """An app in a trace of its own."""

    def __init__(self, sampled=True):
        self.trace = secrets.token_hex(16)
        self.span = secrets.token_hex(8)
        self.header = f"00-{self.trace}-{self.span}-{'01' if sampled else '00'}"

    def submit(self, server, job_input, **body):
        headers = {"traceparent": self.header, "tracestate": "vendor=1"}
        path = "/v2/tts/run"
        answer = server.call("POST", path, json={"input": job_input} | body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]


def spans(collector, trace, *names):
    """The spans of a trace by name, once there is one of each name."""

    def all_there():
        found = {span.name: span for span in collector.of(trace)}
        return found if set(names) <= set(found) else None

    return until(all_there, f"spans {names}; there are {[s.name for s in collector.of(trace)]}", 30)


def serve(make, collector, *pools, allow=(), **settings):
    allowed = ", ".join(f'"127.0.0.1:{port}"' for port in allow)
    return make.server(
        endpoint("tts", *pools, **settings.pop("endpoint", {})),
        top=f"[webhooks]\nallow = [{allowed}]\n",
        variables=variables(collector),
        **settings,
    )


def test_a_traceparent_shows_submit_queue_wait_attempt_and_webhook(make, collector, hook):
    server = serve(make, collector, local_pool("sync"), allow=[hook.port])
    caller = Caller()
    job = caller.submit(server, {"do": "trace"}, webhook=hook.url)
    output = server.wait_final("tts", job)["output"]
    found = spans(collector, caller.trace, "submit", "queue wait", "attempt", "webhook")
    submit, wait, attempt, webhook = (
        found[name] for name in ("submit", "queue wait", "attempt", "webhook")
    )
    assert submit.parent == caller.span
    assert [wait.parent, attempt.parent, webhook.parent] == [submit.id] * 3
    assert attempt.links == [submit.id]
    kinds = [submit.kind, wait.kind, attempt.kind, webhook.kind]
    assert kinds == [PRODUCER, INTERNAL, CONSUMER, CLIENT]
    for span in (submit, wait, attempt, webhook):
        assert span.attributes["messaging.message.id"] == span.attributes["job_id"] == job
        assert span.attributes["messaging.destination.name"] == span.attributes["endpoint"] == "tts"
        assert span.resource["service.name"] == "gpu-jobs"
        assert span.error is None
    # One thing after the other, without a gap.
    assert submit.start_ms <= wait.start_ms <= wait.end_ms == attempt.start_ms <= attempt.end_ms
    assert attempt.end_ms <= webhook.start_ms
    assert attempt.start_ms <= attempt.events["execution started"] <= attempt.end_ms
    said = {key: attempt.attributes[key] for key in ("attempt", "outcome", "pool")}
    assert said == {"attempt": 1, "outcome": "completed", "pool": "local-1"}
    assert attempt.attributes["worker"] == server.executions(job)[0][1]
    # The handler goes on under the attempt, and the receiver under the webhook.
    assert output["traceparent"] == f"00-{caller.trace}-{attempt.id}-01"
    assert output["tracestate"] == "vendor=1"
    [delivery] = hook.deliveries
    assert delivery.headers["traceparent"] == f"00-{caller.trace}-{webhook.id}-01"
    assert webhook.attributes["http.response.status_code"] == 204
    assert collector.headers["x-tenant"] == "a b"
    until(lambda: 'trace_spans_total{result="sent"}' in server.call("GET", "/metrics").text, "counted")
    shown = server.call("GET", f"/api/v1/jobs/{job}").json()
    assert shown["trace_id"] == caller.trace


def test_a_job_without_one_has_a_trace_of_its_own_and_an_unsampled_caller_none(make, collector):
    server = serve(make, collector, local_pool("sync"))
    unsampled = Caller(sampled=False)
    job = unsampled.submit(server, {"do": "trace"})
    # Its context passes all the same: whoever samples later decides alike.
    assert server.wait_final("tts", job)["output"]["traceparent"] == unsampled.header
    own = server.finish("tts", {"do": "echo"})["id"]
    traces = lambda: {span.trace for span in collector.spans if span.attributes["job_id"] == own}
    until(traces, "a trace")
    [trace] = traces()
    submit = spans(collector, trace, "submit", "attempt")["submit"]
    assert submit.parent == ""
    assert collector.of(unsampled.trace) == []


def test_a_restart_between_keeps_the_trace(make, collector, hook, tmp_path):
    server = serve(make, collector, scripted_pool(), allow=[hook.port])
    gate = tmp_path / "gate"
    caller, waiting = Caller(), Caller()
    job = caller.submit(server, {"gate": str(gate)}, webhook=hook.url)
    until(lambda: server.executions(job), "a worker has the job")
    queued = waiting.submit(server, {"nonce": "b"})
    wait = spans(collector, caller.trace, "submit", "queue wait")["queue wait"]
    os.kill(serving_process(server), signal.SIGKILL)
    gate.touch()
    server.wait_ready()
    server.wait_final("tts", job)
    found = spans(collector, caller.trace, "submit", "queue wait", "attempt", "webhook")
    assert found["attempt"].parent == found["webhook"].parent == found["submit"].id
    assert found["attempt"].start_ms == wait.end_ms
    assert len(collector.of(caller.trace, "queue wait")) == 1
    later = spans(collector, waiting.trace, "queue wait", "attempt")
    assert later["queue wait"].start_ms < found["attempt"].end_ms <= later["queue wait"].end_ms


def test_a_cloud_attempt_shows_its_submission(make, collector):
    cloud = make.emulator("--cold-start", "1s..1s")
    pool = cloud_pool(cloud.create("tts"))
    server = serve(make, collector, pool, cloud=cloud, endpoint={"max_wait": '"1s"'})
    caller = Caller()
    job = caller.submit(server, {"seconds": 1})
    assert server.wait_final("tts", job)["status"] == "COMPLETED"
    found = spans(collector, caller.trace, "submit", "queue wait", "cloud submission", "attempt")
    submission, attempt = found["cloud submission"], found["attempt"]
    assert submission.parent == attempt.id
    assert submission.kind == CLIENT
    assert submission.attributes["outcome"] == "accepted"
    assert submission.attributes["cloud_job_id"]
    assert attempt.start_ms <= submission.start_ms <= submission.end_ms <= attempt.end_ms
    assert attempt.attributes["worker"] and attempt.attributes["pool"]


def test_an_attempt_that_failed_says_so(make, collector):
    server = serve(make, collector, local_pool("sync"))
    caller = Caller()
    job = caller.submit(server, {"do": "raise"})
    assert server.wait_final("tts", job)["status"] == "FAILED"
    attempt = spans(collector, caller.trace, "attempt")["attempt"]
    assert attempt.error and attempt.attributes["outcome"] == "failed"


def test_a_collector_that_is_down_holds_up_nothing(make, collector):
    collector.status = 503
    server = serve(make, collector, scripted_pool())
    for n in range(50):
        Caller().submit(server, {"nonce": str(n)})
    health = lambda: server.health("tts")["jobs"]
    until(lambda: health()["completed"] == 50, "all jobs are done", 60)
    until(lambda: collector.posts, "a post", 30)
    assert collector.spans == []
    collector.status = 200
    caller = Caller()
    caller.submit(server, {"nonce": "after"})
    spans(collector, caller.trace, "submit", "queue wait", "attempt")


def test_without_a_collector_the_callers_own_context_passes(make):
    server = make.server(endpoint("tts", local_pool("sync")))
    caller = Caller()
    job = caller.submit(server, {"do": "trace"})
    assert server.wait_final("tts", job)["output"]["traceparent"] == caller.header
    assert "trace_spans" not in server.call("GET", "/metrics").text


def test_workers_of_every_version_take_a_job_with_the_key(make_shared):
    made = servers(make_shared, "sync", VERSIONS)
    jobs = {version: Caller().submit(server, {"n": 1}) for version, server in made.items()}
    for version, server in made.items():
        status = server.wait_final("tts", jobs[version], 120)
        assert status["output"] == {"echo": {"n": 1}}, version


def test_json_logs_name_the_trace(make, collector):
    server = make.server(
        endpoint("tts", scripted_pool()),
        variables=variables(
            collector, OVERSPILL_LOG_FORMAT="json", OVERSPILL_LOG="info,overspill::jobs=debug"
        ),
    )
    caller = Caller()
    job = caller.submit(server, {"nonce": "a"})
    server.wait_final("tts", job)

    def lines():
        found = [json.loads(line) for line in server.child.text().splitlines()]
        return [line for line in found if line.get("job_id") == job]

    ended = until(lambda: [line for line in lines() if line["message"] == "a job ended"], "the end")
    assert ended[0]["trace_id"] == caller.trace
    messages = [line["message"] for line in lines()]
    assert messages == ["a job came in", "an attempt began", "an attempt is over", "a job ended"]
