"""A worker of the same protocol without the SDK: it starts in a blink, so many can be killed.

It takes one job after the other, notes each execution, runs `input.seconds` (or until the file
`input.gate` exists) and posts `{"output": {"nonce", "execution"}}`, where `execution` is unlike
any other, so that a second execution's result cannot pass for the first one's. With `input.error` it
posts that error instead.
"""

import http.client
import json
import os
import threading
import urllib.parse
import uuid

from common import hold, note

KEY = {"Authorization": os.environ["RUNPOD_AI_API_KEY"]}
WORKER = os.environ["RUNPOD_POD_ID"]
TAKE = os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", WORKER)
DONE = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", WORKER)
PING = os.environ["RUNPOD_WEBHOOK_PING"].replace("$RUNPOD_POD_ID", WORKER)
PING_S = max(1, int(os.environ.get("RUNPOD_PING_INTERVAL", "10000")) // 1000)

pause = threading.Event()
current = []


def request(method, address, body=None):
    """One request on a connection of its own: (status, body), or (0, b"") if nobody answered."""
    url = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=600)
    try:
        connection.request(method, f"{url.path}?{url.query}", body, KEY)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def ping():
    while True:
        ids = urllib.parse.quote(",".join(current), safe="")
        request("GET", PING + (f"&job_id={ids}" if ids else "") + "&runpod_version=1.12.0")
        pause.wait(PING_S)


def run(job):
    note(job)
    given = job["input"]
    if "gate" in given:
        hold(given["gate"])
    else:
        pause.wait(given.get("seconds", 0))
    output = {"nonce": given.get("nonce"), "execution": uuid.uuid4().hex, "worker": WORKER}
    body = json.dumps({"error": given["error"]} if "error" in given else {"output": output}).encode()
    address = DONE.replace("$ID", job["id"]) + "&isStream=false"
    # The SDK tries three times, and on a server's error only.
    for wait_s in (0, 2, 3):
        pause.wait(wait_s)
        status, _ = request("POST", address, body)
        if status < 500:
            return


def main():
    threading.Thread(target=ping, daemon=True).start()
    while True:
        status, body = request("GET", TAKE + "&job_in_progress=0")
        if status == 200 and body:
            job = json.loads(body)
            current.append(job["id"])
            run(job)
            current.clear()
        elif status not in (200, 204):
            pause.wait(0.2)


if __name__ == "__main__":
    main()
