"""A job's events, followed with its token alone: through progress, a restart of the server, and to its end."""

import json
import os
import signal

import requests

from crash.leg import serving_process
from support.server import endpoint, local_pool, scripted_pool
from support.wait import until

APP = "https://app.example"


def token_of(server, job, **wish):
    answer = server.call("POST", f"/api/v1/jobs/{job}/token", **({"json": wish} if wish else {}))
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(server, made, last_id=None, timeout=60):
    """The events of a stream as they come: (event, id, data)."""
    headers = {"Origin": APP} | ({"Last-Event-ID": last_id} if last_id else {})
    answer = requests.get(server.base + made["events"], headers=headers, stream=True, timeout=timeout)
    assert answer.status_code == 200, answer.text
    assert answer.headers["access-control-allow-origin"] == APP
    found = {}
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        if line and not line.startswith(":"):
            key, _, value = line.partition(": ")
            found[key] = value
        elif "event" in found:
            yield found["event"], found.get("id"), json.loads(found["data"])
            found = {}


def serve(make, pool):
    return make.server(endpoint("tts", pool), top=f'allowed_origins = ["{APP}"]\n')


def test_a_page_sees_progress_and_the_end(make, tmp_path):
    server = serve(make, local_pool("sync"))
    gate = tmp_path / "gate"
    job = server.submit("tts", {"do": "progress", "gate": str(gate)})
    made = token_of(server, job)
    seen = []
    for name, _, data in events(server, made):
        seen.append((name, data))
        if name == "progress":
            gate.touch()
    names = [name for name, _ in seen]
    assert names[0] == "status" and names[-1] == "end"
    assert ("progress", {"progress": {"percent": 50}}) in seen
    statuses = [data["status"] for name, data in seen if name == "status"]
    assert statuses[-2:] == ["running", "completed"]
    end = seen[-1][1]
    assert (end["status"], end["error"]) == ("completed", None)
    output = requests.get(f"{server.base}{end['output']['url']}?token={made['token']}", timeout=10)
    assert output.json() == {"percent": 100}
    assert len(output.content) == end["output"]["bytes"]


def test_a_restart_of_the_server_ends_no_token_and_loses_no_event(make, tmp_path):
    server = serve(make, scripted_pool())
    gate = tmp_path / "gate"
    job = server.submit("tts", {"gate": str(gate)})
    until(lambda: server.executions(job), "a worker has the job")
    made = token_of(server, job)
    last_id = None
    try:
        for _name, last_id, data in events(server, made):
            if data["status"] == "running":
                os.kill(serving_process(server), signal.SIGKILL)
    except requests.RequestException:
        pass
    gate.touch()
    server.wait_ready()
    # The browser comes back by itself, with the last id that it has heard.
    names = [(name, data["status"]) for name, _, data in events(server, made, last_id)]
    assert names[-1] == ("end", "completed")


def test_a_token_that_expires_ends_its_stream(make, tmp_path):
    server = serve(make, scripted_pool())
    gate = tmp_path / "gate"
    job = server.submit("tts", {"gate": str(gate)})
    made = token_of(server, job, expires_in_seconds=3)
    stream = events(server, made)
    assert next(stream)[0] == "status"
    # Whoever is there when it is over is told so; the job goes on.
    assert [name for name, _, _ in stream][-1] == "token_expired"
    again = server.call("GET", made["events"], key=None)
    assert (again.status_code, again.json()["code"]) == (401, "token_expired")
    renewed = token_of(server, job)
    gate.touch()
    assert [name for name, _, _ in events(server, renewed)][-1] == "end"


def test_a_webhook_and_the_status_route_take_no_token(make):
    server = serve(make, scripted_pool())
    job = server.finish("tts", {"nonce": "a"})["id"]
    made = token_of(server, job)
    for path in (f"/v2/tts/status/{job}", "/api/v1/jobs", "/api/v1/keys"):
        answer = server.call("GET", f"{path}?token={made['token']}", key=None)
        assert answer.status_code == 400, path
        answer = server.call("GET", path, key=made["token"])
        assert answer.status_code == 401, path
