"""A handler on the real SDK that finishes when the test says so."""
import asyncio
import os
import socket

import runpod

test = ("127.0.0.1", int(os.environ["TEST_PORT"]))


def join(name):
    connection = socket.create_connection(test)
    connection.sendall(f"{name} {os.getpid()}\n".encode())
    return connection


async def handler(job):
    loop = asyncio.get_running_loop()
    with join("handler") as connection:
        await loop.run_in_executor(None, connection.recv, 1)
    # The result is posted within milliseconds; a second later that is surely under way.
    loop.call_later(1, join, "posted")
    return {"n": job["input"]["n"] + 1}


runpod.serverless.start({"handler": handler})
