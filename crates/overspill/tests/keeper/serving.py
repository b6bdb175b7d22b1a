"""A serving process on a string: joins its control socket to the test, and does as it is told."""
import os
import socket
import sys
import threading

control = socket.socket(fileno=int(os.environ["OVERSPILL_CONTROL_FD"]))
listening = socket.socket(fileno=int(os.environ["OVERSPILL_LISTEN_FD"]))
port = listening.getsockname()[1]
test = ("127.0.0.1", int(sys.argv[1]))


def join(name):
    connection = socket.create_connection(test)
    connection.sendall(f"{name} {os.getpid()} {port}\n".encode())
    return connection


def pump(source, sink):
    while data := source.recv(65536):
        sink.sendall(data)
    if source is control:
        os._exit(0)


puppet = join("puppet")
wire = join("wire")
threading.Thread(target=pump, args=(control, wire), daemon=True).start()
threading.Thread(target=pump, args=(wire, control), daemon=True).start()
for line in puppet.makefile("r"):
    word, *rest = line.split()
    if word == "exit":
        os._exit(int(rest[0]))
    if word == "answer":
        connection, _ = listening.accept()
        request = connection.recv(65536)
        connection.sendall(b"got " + request)
        connection.close()
os._exit(0)
