"""The command: the slow crowd beside one client (F28), then everyone who comes back after a kill (F40)."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from crash.leg import serving_process
from crowd.http import Connection, Gone
from crowd.slow import KINDS, Slow
from support.processes import memory_mib
from support.server import Server, endpoint, scripted_pool

# New connections a second, as one process in Python can open them beside its other work.
OPENED_PER_S = 1000
# An answer larger than the kernel's buffers.
ANSWER_BYTES = 8 << 20
# A client beside the crowd asks so often; its 99th percentile of a few hundred answers is meant.
PROBES = 400
PROBE_EVERY_S = 0.05
# Headers have 10 s and an answer that nobody reads 30 s; then this much for a busy machine.
SPARE_S = 20.0
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
# Everyone is answered this soon after the server is back.
RETURN_S = 60.0


def arguments():
    parser = argparse.ArgumentParser(prog="crowd", description=__doc__)
    parser.add_argument("--sockets", type=int, default=10_000, help="slow connections")
    parser.add_argument("--clients", type=int, default=10_000, help="clients that come back at once")
    parser.add_argument("--late", type=float, default=1.0, help="seconds that a client beside them may wait")
    parser.add_argument("--jobs", type=int, default=2_000, help="jobs that these clients wait for")
    return parser.parse_args()


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def probe(server, count=PROBES):
    """How long one client's submissions and questions take, in seconds."""
    connection = Connection(server.port, server.key)
    took = []
    for number in range(count // 2):
        began = time.monotonic()
        status, job = await connection.ask("POST", "/v2/tts/run", {"input": {"nonce": f"p{number}"}})
        took.append(time.monotonic() - began)
        assert status == 200, job
        began = time.monotonic()
        status, told = await connection.ask("GET", f"/v2/tts/status/{job['id']}")
        took.append(time.monotonic() - began)
        assert status == 200, told
        await asyncio.sleep(PROBE_EVERY_S)
    connection.close()
    return took


async def slow(server, sockets, late_s):
    """F28: the findings, one sentence each."""
    large = Connection(server.port, server.key)
    _, job = await large.ask("POST", "/v2/tts/run", {"input": {"nonce": "x" * ANSWER_BYTES}})
    while True:
        _, told = await large.ask("GET", f"/v2/tts/status/{job['id']}?wait=9000")
        if told["status"] == "COMPLETED":
            break
    large.close()
    before = percentile(await probe(server), 0.99)
    pid = serving_process(server)
    rest = memory_mib(pid)
    crowd = Slow(server.port, server.key, job["id"])
    everyone = asyncio.gather(*(after(number / OPENED_PER_S, crowd.one(number, 30 + SPARE_S)) for number in range(sockets)))
    await asyncio.sleep(sockets / OPENED_PER_S)
    amid = percentile(await probe(server), 0.99)
    most = memory_mib(pid)
    await everyone
    later = percentile(await probe(server), 0.99)
    print(f"slow: {crowd.count()} of {sockets} connections: {crowd.summary()}")
    print(
        f"slow: p99 of a client beside them {amid * 1000:.1f} ms, before {before * 1000:.1f} ms, after "
        f"{later * 1000:.1f} ms; memory of the serving process {rest:.0f} MiB, then {most:.0f} MiB",
        flush=True,
    )
    findings = []
    if crowd.count() < sockets:
        findings.append(f"only {crowd.count()} of {sockets} connections came to be")
    for kind in ("headers", "answer"):
        expected = sum(KINDS[number % len(KINDS)] == kind for number in range(sockets))
        left = expected - crowd.closed[kind] - crowd.refused[kind]
        if left:
            findings.append(f"{left} connections that are slow with their {kind} are still open")
    if amid > late_s:
        findings.append(f"a client beside the crowd waited {amid:.2f} s")
    if serving_process(server) != pid:
        findings.append("the serving process ended")
    return findings


class Returning:
    """Clients that wait for jobs, before and after the server is killed."""

    def __init__(self, server, ids):
        self.server, self.ids = server, ids
        self.back = asyncio.Event()
        self.back_at = 0.0
        self.held = 0
        # From the server's return to each client's first answer, in seconds.
        self.first = []
        self.ends = {}
        self.trouble = Counter()

    async def ask(self, connection, job, wait_ms):
        """One question that is held until the job ends, or so long; `None` when the connection broke."""
        self.held += 1
        try:
            return await connection.ask("GET", f"/v2/tts/status/{job}?wait={wait_ms}")
        except Gone:
            return None
        finally:
            self.held -= 1

    async def client(self, number):
        job, connection = self.ids[number % len(self.ids)], Connection(self.server.port, self.server.key)
        has_answer = False
        while True:
            was_back = self.back.is_set()
            answer = await self.ask(connection, job, 9000 if has_answer or not was_back else 1000)
            if answer is None or answer[0] != 200:
                if was_back:
                    # A listener's backlog is finite: a client asks again.
                    self.trouble["asked again" if answer is None else f"status {answer[0]}"] += 1
                    await asyncio.sleep(0.2)
                else:
                    await self.back.wait()
                    connection.close()
                continue
            if was_back and not has_answer:
                has_answer = True
                self.first.append(time.monotonic() - self.back_at)
            told = answer[1]
            if told["status"] in FINAL:
                self.ends.setdefault(job, set()).add((told["status"], told["output"]["execution"]))
                if has_answer:
                    return connection.close()
                # It is known: all the same it asks once more after the outage.
                await self.back.wait()
                connection.close()


async def comes_back(server, clients, jobs):
    """F40: everyone waits for a job, the server is killed, and everyone is back at once; findings likewise."""
    one = Connection(server.port, server.key)
    ids = []
    gate = server.folder / "gate"
    for number in range(jobs):
        status, job = await one.ask("POST", "/v2/tts/run", {"input": {"nonce": f"j{number}", "gate": str(gate)}})
        assert status == 200, job
        ids.append(job["id"])
    one.close()
    crowd = Returning(server, ids)
    everyone = asyncio.gather(*(after(number / OPENED_PER_S, crowd.client(number)) for number in range(clients)))
    await asyncio.sleep(clients / OPENED_PER_S + 1)
    held = crowd.held
    gate.touch()
    left = await asyncio.to_thread(server.child.kill)
    await asyncio.to_thread(server.start, f"127.0.0.1:{server.port}")
    crowd.back_at = time.monotonic()
    crowd.back.set()
    await everyone
    print(
        f"comes back: {clients} clients, {held} of them held when the server was killed, {jobs} jobs: the last had its "
        f"first answer {max(crowd.first):.1f} s after the server was back, p99 {percentile(crowd.first, 0.99):.1f} s; "
        f"{dict(crowd.trouble) or 'nobody had to ask twice'}",
        flush=True,
    )
    findings = []
    if left:
        findings.append(f"processes outlived the keeper: {left}")
    if max(crowd.first) > RETURN_S:
        findings.append(f"a client had its first answer {max(crowd.first):.0f} s after the server was back")
    odd = [job for job in ids if [end[0] for end in crowd.ends[job]] != ["COMPLETED"]]
    if odd:
        findings.append(f"{len(odd)} jobs did not end once, COMPLETED: {odd[:5]}")
    return findings


async def after(seconds, body):
    await asyncio.sleep(seconds)
    return await body


def main():
    options = arguments()
    findings = []
    with tempfile.TemporaryDirectory(prefix="overspill-crowd-") as folder:
        server = Server(Path(folder), [endpoint("tts", scripted_pool(4))], name="crowd")
        try:
            server.start()
            findings += asyncio.run(slow(server, options.sockets, options.late))
            findings += asyncio.run(comes_back(server, options.clients, options.jobs))
        except BaseException:
            print(server.child.tail() if server.child else "", file=sys.stderr)
            raise
        finally:
            if server.child:
                server.child.kill()
    for finding in findings:
        print(finding)
    print(f"crowd: {options.sockets} slow connections, {options.clients} clients at once, {len(findings)} findings")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
