"""A serving process on a string: joins its control socket to the test, and does as it is told."""
import http.server
import json
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


class Gateway(http.server.BaseHTTPRequestHandler):
    """Just enough of RunPod's worker protocol for one job; every answer closes its connection."""

    def log_message(self, *_):
        pass

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if "/ping/" in self.path:
            return self.answer(200)
        if "/job-take/" in self.path and not os.path.exists(taken):
            open(taken, "x").close()
            return self.answer(200, json.dumps({"id": "job", "input": {"n": 1}}).encode())
        threading.Event().wait(20)
        return self.answer(204)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        puppet.sendall(f"{self.path} {body.decode()}\n".encode())
        self.answer(200)


def serve():
    server = http.server.ThreadingHTTPServer(("", 0), Gateway, bind_and_activate=False)
    server.socket = listening
    server.serve_forever()


puppet = join("puppet")
wire = join("wire")
threading.Thread(target=pump, args=(control, wire), daemon=True).start()
threading.Thread(target=pump, args=(wire, control), daemon=True).start()
for line in puppet.makefile("r"):
    word, *rest = line.split()
    if word == "exit":
        os._exit(int(rest[0]))
    if word == "serve":
        taken = rest[0]
        threading.Thread(target=serve, daemon=True).start()
    if word == "answer":
        connection, _ = listening.accept()
        request = connection.recv(65536)
        connection.sendall(b"got " + request)
        connection.close()
os._exit(0)
