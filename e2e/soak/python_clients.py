"""The Python client's users, all in this process: `python -m soak.python_clients KIND …`.

KIND is `sync` (a thread for each user) or `async` (a task for each). The client is unmodified; the session
below it is watched, so that each request is timed from its first byte to its whole answer.
"""

import argparse
import asyncio
import sys
import threading
import time

import aiohttp
import requests
import runpod
import runpod.http_client

from soak import user
from soak.tally import Tally

JOB_S = 300


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["sync", "async"])
    parser.add_argument("--base", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--late", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    return parser.parse_args()


def watch_requests(tally, limit_s):
    real = requests.Session.request

    def request(self, method, url, **rest):
        began = time.monotonic()
        answer = real(self, method, url, **rest)
        tally.answered(url, began, limit_s)
        return answer

    requests.Session.request = request


def watch_aiohttp(tally, limit_s):
    real = aiohttp.ClientSession._request

    async def request(self, method, url, **rest):
        began = time.monotonic()
        answer = await real(self, method, url, **rest)
        await answer.read()
        tally.answered(url, began, limit_s)
        assert answer.status == 200, f"{method} {url}: {answer.status} {await answer.text()}"
        return answer

    aiohttp.ClientSession._request = request


def follow_stream(endpoint, given, tally):
    job = endpoint.run({"input": given})
    tally.jobs[given["nonce"]] = job.job_id
    user.check(given, list(job.stream()))


def follow_status(endpoint, given, tally):
    job = endpoint.run({"input": given})
    tally.jobs[given["nonce"]] = job.job_id
    user.check(given, job.output(timeout=JOB_S))


def follow_run_sync(endpoint, given, tally):
    # The client shows no id of such a job.
    tally.jobs[given["nonce"]] = None
    user.check(given, endpoint.run_sync({"input": given}, timeout=JOB_S))


SYNC = (follow_stream, follow_status, follow_run_sync)


def sync(options, tally):
    watch_requests(tally, options.late)
    runpod.endpoint_url_base = f"{options.base}/v2"
    runpod.api_key = options.key
    until = time.monotonic() + options.seconds

    def one(number):
        endpoint = runpod.Endpoint(options.endpoint)
        follow = SYNC[number % len(SYNC)]
        for given in user.jobs(f"sync{number}", options.seed):
            if time.monotonic() > until:
                return
            try:
                follow(endpoint, given, tally)
            except Exception as error:
                tally.errors.append(f"sync, {follow.__name__}, {given['nonce']}: {error!r}")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(options.users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def follow_stream_async(endpoint, given, tally):
    job = await endpoint.run(given)
    tally.jobs[given["nonce"]] = job.job_id
    user.check(given, [chunk async for chunk in job.stream()])


async def follow_status_async(endpoint, given, tally):
    job = await endpoint.run(given)
    tally.jobs[given["nonce"]] = job.job_id
    user.check(given, await job.output(timeout=JOB_S))


ASYNC = (follow_stream_async, follow_status_async)


async def asynchronous(options, tally):
    watch_aiohttp(tally, options.late)
    runpod.endpoint_url_base = f"{options.base}/v2"
    runpod.api_key = options.key
    until = time.monotonic() + options.seconds

    async def one(number, session):
        endpoint = runpod.AsyncioEndpoint(options.endpoint, session)
        follow = ASYNC[number % len(ASYNC)]
        for given in user.jobs(f"async{number}", options.seed):
            if time.monotonic() > until:
                return
            try:
                await follow(endpoint, given, tally)
            except Exception as error:
                tally.errors.append(f"async, {follow.__name__}, {given['nonce']}: {error!r}")

    async with runpod.http_client.AsyncClientSession() as session:
        await asyncio.gather(*(one(number, session) for number in range(options.users)))


def main():
    options = arguments()
    tally = Tally()
    # What the client prints goes to standard error; standard output is the tally's alone.
    out, sys.stdout = sys.stdout, sys.stderr
    if options.kind == "sync":
        sync(options, tally)
    else:
        asyncio.run(asynchronous(options, tally))
    out.write(tally.text())


if __name__ == "__main__":
    main()
