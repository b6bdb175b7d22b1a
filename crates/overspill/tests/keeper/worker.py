"""A worker with a child that outlives it, as the heartbeat of RunPod's SDK does.

Each process holds a connection to the test, so the test sees the moment of its death.
"""
import os
import signal
import socket
import sys

test = ("127.0.0.1", int(sys.argv[1]))
name, kind = sys.argv[2:4]


def hold(role):
    connection = socket.create_connection(test)
    connection.sendall(f"{role}-{name} {os.getpid()}\n".encode())
    while True:
        signal.pause()


print("hello from", name, flush=True)
if os.fork() == 0:
    if kind == "stray":
        os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hold("child")
hold("main")
