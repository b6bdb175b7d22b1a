"""A worker of the same protocol without the SDK that misbehaves as TURN says, for the doctor's tests.

`silent`: it asks for one job, without waiting, and never again; its heartbeats go on. `quick`: it
runs every job in one second. It reports RUNPOD_VERSION_SAID as the version of RunPod's package.
"""

import http.client
import json
import os
import threading
import urllib.parse

from common import note

KEY = {"Authorization": os.environ["RUNPOD_AI_API_KEY"]}
WORKER = os.environ["RUNPOD_POD_ID"]
TAKE = os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", WORKER)
DONE = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", WORKER)
PING = os.environ["RUNPOD_WEBHOOK_PING"].replace("$RUNPOD_POD_ID", WORKER)
VERSION = os.environ.get("RUNPOD_VERSION_SAID", "1.12.0")

pause = threading.Event()


def request(method, address, body=None, timeout=600):
    url = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)
    try:
        connection.request(method, f"{url.path}?{url.query}", body, KEY)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def silent():
    request("GET", TAKE, timeout=0.5)
    while True:
        request("GET", PING + f"&runpod_version={VERSION}")
        pause.wait(1)


def quick():
    while True:
        status, body = request("GET", TAKE)
        if status != 200:
            pause.wait(0.2)
            continue
        job = json.loads(body)
        note(job)
        pause.wait(1)
        address = DONE.replace("$ID", job["id"]) + "&isStream=false"
        request("POST", address, json.dumps({"output": {"worker": WORKER}}).encode())


{"silent": silent, "quick": quick}[os.environ["TURN"]]()
