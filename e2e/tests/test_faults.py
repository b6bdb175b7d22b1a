"""What one machine can do to the server: a full disk, no file descriptors, no log, standing still.

Each test bears the number of its fault in docs/reliability.md.
"""

import fcntl
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from crash.leg import serving_process
from support.processes import binary
from support.server import SUITE, Server, endpoint, local_pool, scripted_pool
from support.small_disk import SmallDisk
from support.wait import until


def code_of(answer):
    return answer.json().get("code")


def troubles(server):
    overview = server.call("GET", "/api/v1/overview").json()
    return [trouble["code"] for trouble in overview.get("troubles", [])]


@pytest.fixture
def small(tmp_path):
    """A server whose data directory is on a disk of 300 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    disk = SmallDisk.make(folder, folder / "data", 300)
    if disk is None:
        pytest.skip("this machine lets nobody mount a disk of its own: F05 is not tested here")
    server = Server(folder, [endpoint("tts", scripted_pool(1))], program=disk.program)
    try:
        yield server, disk
    finally:
        server.stop()
        disk.end()


def test_f05_a_full_disk_refuses_jobs_records_results_and_heals(small, tmp_path):
    server, disk = small
    server.start()
    gate = tmp_path / "gate"
    running = server.submit("tts", {"gate": str(gate), "nonce": "a"})
    kept = {"Idempotency-Key": "kept"}
    answer = server.call("POST", "/v2/tts/run", json={"input": {"nonce": "b"}}, headers=kept)
    queued = answer.json()["id"]
    cancelled = server.submit("tts", {"nonce": "c"})
    until(lambda: server.executions(running), "a worker has the job")
    disk.fill()

    def refused():
        answer = server.call("POST", "/v2/tts/run", json={"input": {"nonce": "d"}})
        return answer.status_code == 507 and code_of(answer) == "storage_full"

    until(refused, "submissions are refused with 507", 10)
    # What is stored is stored: the same submission again is no new one.
    again = server.call("POST", "/v2/tts/run", json={"input": {"nonce": "b"}}, headers=kept)
    assert (again.status_code, again.json()["id"]) == (200, queued), again.text
    assert server.call("POST", f"/v2/tts/cancel/{cancelled}").json()["status"] == "CANCELLED"
    assert server.health("tts")["jobs"]["inProgress"] == 1
    until(lambda: troubles(server) == ["storage_full"], "the overview says so", 10)
    assert 'overspill_trouble{code="storage_full"} 1' in server.call("GET", "/metrics").text
    gate.touch()
    for job, nonce in ((running, "a"), (queued, "b")):
        status = server.wait_final("tts", job)
        assert (status["status"], status["output"]["nonce"]) == ("COMPLETED", nonce)
    assert refused()
    disk.clear()

    def accepted():
        answer = server.call("POST", "/v2/tts/run", json={"input": {"nonce": "e"}})
        return answer.status_code == 200 and answer.json()["id"]

    job = until(accepted, "submissions are taken again, without a restart", 10)
    assert server.wait_final("tts", job)["status"] == "COMPLETED"
    until(lambda: troubles(server) == [], "all is well again", 10)


def test_f05_it_starts_on_a_full_disk_with_all_it_had(small):
    server, disk = small
    server.start()
    before = server.finish("tts", {"nonce": "a"})
    server.child.kill()
    disk.fill()
    server.start()
    assert server.status("tts", before["id"]) == before
    answer = server.call("POST", "/v2/tts/run", json={"input": {}})
    assert (answer.status_code, code_of(answer)) == (507, "storage_full")
    disk.clear()
    until(
        lambda: server.call("POST", "/v2/tts/run", json={"input": {}}).status_code == 200,
        "submissions are taken again",
        10,
    )


def test_f11_more_connections_than_file_descriptors(make, tmp_path):
    program = tmp_path / "few-files"
    program.write_text(f'#!/bin/sh\nexec prlimit --nofile=120:120 {binary()} "$@"\n')
    program.chmod(0o755)
    server = make.server(endpoint("tts", scripted_pool(1)), program=program)
    job = server.submit("tts", {"nonce": "a"})
    crowd = []
    try:
        for _ in range(200):
            crowd.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        # Those that have no place are told so, and closed.
        crowd[-1].settimeout(10)
        assert crowd[-1].recv(1000).startswith(b"HTTP/1.1 503")
    finally:
        for connection in crowd:
            connection.close()

    def finished():
        answer = server.call("GET", f"/v2/tts/status/{job}")
        return answer.status_code == 200 and answer.json()["status"] == "COMPLETED"

    until(finished, "the server goes on when they have gone", 30)
    assert server.finish("tts", {"nonce": "b"})["status"] == "COMPLETED"


def test_f11_a_serving_process_that_runs_out_of_memory_is_replaced_and_loses_nothing(make):
    server = make.server(endpoint("tts", scripted_pool(1), execution_timeout='"2m"'))
    until(lambda: server.health("tts")["workers"]["idle"] == 1, "a worker waits", 60)
    first = serving_process(server)
    # Hardly more address space than it has: soon an allocation fails, and the process with it.
    size = int(Path(f"/proc/{first}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(first, resource.RLIMIT_AS, (size + (48 << 20),) * 2)
    taken = []
    failures = []

    def client(number):
        """Submits until it is answered, as one with an Idempotency-Key may."""
        body = {"input": {"nonce": number, "filler": "x" * (8 << 20)}}

        def submitted():
            try:
                headers = {"Idempotency-Key": f"n{number}"}
                answer = server.call("POST", "/v2/tts/run", json=body, headers=headers)
            except requests.RequestException:
                return False
            if answer.status_code == 200:
                taken.append((number, answer.json()["id"]))
            return answer.status_code == 200

        try:
            until(submitted, f"job {number} is taken", 120)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    assert serving_process(server) != first, "it was to run out of memory"
    for number, job in taken:
        status = server.wait_final("tts", job, 120)
        assert (status["status"], status["output"]["nonce"]) == ("COMPLETED", number), status
    assert len({job for _, job in taken}) == 16


def test_f28_and_f40_a_crowd_is_slow_and_comes_back_at_once():
    # `cargo xtask crowd` has ten thousand of each.
    line = [sys.executable, "-m", "crowd", "--sockets", "600", "--clients", "600", "--jobs", "100", "--late", "10"]
    done = subprocess.run(line, cwd=SUITE, capture_output=True, text=True, timeout=170)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_f27_a_server_that_stood_still_hears_what_waited_first(make, tmp_path):
    server = make.server(endpoint("tts", scripted_pool(), execution_timeout='"5s"'))
    gate = tmp_path / "gate"
    job = server.submit("tts", {"gate": str(gate), "nonce": "a"})
    until(lambda: server.executions(job), "a worker has the job")
    workers = set(server.workers())
    ours = [pid for pid in server.child.descendants() if pid not in workers]
    for pid in ours:
        os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    gate.touch()
    # Longer than the job may run: by the clock alone, it is over its time.
    until(lambda: time.monotonic() - stopped > 8, "it stood still for 8 s", 20)
    for pid in ours:
        os.kill(pid, signal.SIGCONT)
    status = server.wait_final("tts", job)
    assert (status["status"], status["output"]["nonce"]) == ("COMPLETED", "a"), status
    assert len(server.executions(job)) == 1
    assert set(server.workers()) == workers


def serve_by_hand(folder, key, stderr, **variables):
    """`overspill serve` with a standard error of ours: (process, call)."""
    server = Server(folder, [endpoint("tts", scripted_pool())], key=key)
    env = server.env | variables
    command = [binary(), "serve", "--config", server.config, "--listen", "127.0.0.1:0"]
    server.child = None
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=stderr,
        stderr=stderr,
        start_new_session=True,
    )
    listen = server.data_dir / "listen"

    def address():
        assert process.poll() is None, f"serve ended with {process.returncode}"
        return listen.exists() and listen.read_text().strip()

    server.base = until(address, "the server listens")
    server.wait_ready()
    return process, server


@pytest.mark.parametrize("log", ["closed", "full", "unread"])
def test_f42_a_log_that_cannot_be_written_stops_nothing(tmp_path, log):
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    stderr = os.open("/dev/full", os.O_WRONLY) if log == "full" else theirs
    # Enough to say that an unread pipe is full at once.
    process, server = serve_by_hand(tmp_path, "a-key-of-the-users-own", stderr, OVERSPILL_LOG="debug")
    try:
        os.close(theirs)
        if log == "closed":
            os.close(ours)
        for n in range(20):
            status = server.finish("tts", {"nonce": str(n)})
            assert status["output"]["nonce"] == str(n)
        assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        if log != "closed":
            os.close(ours)
        if log == "full":
            os.close(stderr)


CLIENTS = 60
JOBS_EACH = 4


def test_f40_everyone_comes_back_at_once_after_an_outage(make, tmp_path):
    server = make.server(endpoint("tts", scripted_pool(2), execution_timeout='"60s"'))
    gate = tmp_path / "gate"
    jobs = [server.submit("tts", {"gate": str(gate), "nonce": str(n)}) for n in range(CLIENTS * JOBS_EACH)]
    until(lambda: len(server.executions()) == 2, "both workers are busy")
    assert server.child.kill() == []
    started = threading.Event()
    slowest = []
    ends = {}
    failures = []

    def client(mine):
        """Waits for the server like everyone, then for its jobs one after the other."""
        started.wait(60)
        longest = 0.0
        try:
            for job in mine:
                status = None
                while status is None or status["status"] not in ("COMPLETED", "FAILED"):
                    begin = time.monotonic()
                    answer = server.call("GET", f"/v2/tts/status/{job}")
                    longest = max(longest, time.monotonic() - begin)
                    assert answer.status_code == 200, answer.text
                    status = answer.json()
                ends[job] = (status["status"], (status.get("output") or {}).get("nonce"))
        except Exception as error:  # noqa: BLE001 - reported by the test's own thread
            failures.append(error)
        slowest.append(longest)

    threads = [
        threading.Thread(target=client, args=(jobs[n::CLIENTS],)) for n in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    gate.touch()
    server.start(f"127.0.0.1:{server.port}")
    started.set()
    for thread in threads:
        thread.join(120)
    assert not failures, failures[0]
    assert ends == {job: ("COMPLETED", str(n)) for n, job in enumerate(jobs)}
    # What was interrupted came first again, then the queue, oldest first.
    handed_out = []
    for job in jobs:
        attempts = server.call("GET", f"/api/v1/jobs/{job}").json()["attempts"]
        handed_out.append(max(attempt["leased_at_ms"] for attempt in attempts))
        assert len(server.executions(job)) == len(attempts), attempts
    assert handed_out == sorted(handed_out)
    print(f"the slowest answer took {max(slowest):.2f} s")
    assert max(slowest) < 10, max(slowest)


def test_f46_a_stop_releases_the_held_polls_of_real_workers(make):
    server = make.server(endpoint("tts", local_pool("sync")))
    assert server.finish("tts", {"n": 1}, 90)["status"] == "COMPLETED"
    # Idle now, its next job-take is held for most of a minute.
    begin = time.monotonic()
    server.child.process.terminate()
    assert server.child.process.wait(timeout=40) == 0
    assert time.monotonic() - begin < 25
    until(lambda: not server.child.descendants(), "nothing is left")
    ends = re.findall(r"a worker ended .*?code=(\S+) signal=(\S+)", server.child.text())
    assert ends in ([], [("Some(0)", "None")]), ends
    server.start(f"127.0.0.1:{server.port}")
    job = server.submit("tts", {"n": 2})
    assert server.wait_final("tts", job, 90)["status"] == "COMPLETED"
    assert len(server.executions(job)) == 1
