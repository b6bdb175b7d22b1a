"""Connections that are slow on purpose: one in three each with its headers, its body, or reading its answer.

A reader asks for an answer that is larger than what the kernel holds for it, and reads no more than its first line.
"""

import asyncio
import socket
import time
from collections import Counter

KINDS = ("headers", "body", "answer")
# A byte of headers or of a body is sent at this pace, forever.
BYTE_EVERY_S = 1.0
# As little as the kernel gives: what does not fit into it waits at the server.
RECEIVE_BYTES = 4096
ESTABLISHED = 1


def opening(kind, number, key, job):
    """What such a connection sends at once."""
    who = f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    if kind == "headers":
        return f"GET /v2/tts/health HTTP/1.1\r\n{who}X-{number}: ".encode()
    if kind == "body":
        head = f"POST /v2/tts/run HTTP/1.1\r\n{who}Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
        return head.encode() + b'{"input": {"text": "'
    return f"GET /v2/tts/status/{job} HTTP/1.1\r\n{who}\r\n".encode()


def is_open(connection):
    """Whether the other side has neither ended nor broken it; nothing is read for that."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED


class Slow:
    """All slow connections, and what became of them."""

    def __init__(self, port, key, job):
        self.port, self.key, self.job = port, key, job
        # By kind: how many there were, were closed by the server, or were told to come again later.
        self.begun, self.closed, self.refused = Counter(), Counter(), Counter()
        self.lasted = Counter()

    async def one(self, number, limit_s):
        """Opens one and watches it: for so long from when it has nothing more to wait for itself."""
        kind = KINDS[number % len(KINDS)]
        loop = asyncio.get_running_loop()
        with socket.socket() as connection:
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            await loop.sock_connect(connection, ("127.0.0.1", self.port))
            began = time.monotonic()
            self.begun[kind] += 1
            try:
                await loop.sock_sendall(connection, opening(kind, number, self.key, self.job))
                if kind == "answer" and b" 503 " in await loop.sock_recv(connection, 16):
                    self.refused[kind] += 1
                    return
                until = time.monotonic() + limit_s
                while is_open(connection):
                    if time.monotonic() > until:
                        return
                    await asyncio.sleep(BYTE_EVERY_S)
                    if kind != "answer":
                        await loop.sock_sendall(connection, b"x")
                self.note_end(kind, began)
            except OSError:
                self.note_end(kind, began)

    def note_end(self, kind, began):
        self.closed[kind] += 1
        self.lasted[kind] = max(self.lasted[kind], time.monotonic() - began)

    def count(self):
        """All that were open at some time."""
        return sum(self.begun.values())

    def summary(self):
        def one(kind):
            later = f", {self.refused[kind]} told to come again" if self.refused[kind] else ""
            return f"{kind} {self.closed[kind]} closed after at most {self.lasted[kind]:.0f} s{later}"

        return "; ".join(one(kind) for kind in KINDS)
