"""A webhook receiver that keeps every request, and a decoy that only counts connects."""

import http.server
import socket
import threading
from dataclasses import dataclass


@dataclass
class Delivery:
    """One request as it came."""

    headers: dict
    body: bytes

    @property
    def id(self):
        return self.headers["webhook-id"]


class Receiver:
    """Answers with the next of `answers` (status, headers), the last one for ever."""

    def __init__(self, *answers):
        self.answers = list(answers) or [(204, {})]
        self.deliveries = []
        # Clear while requests are to be held without an answer.
        self.open = threading.Event()
        self.open.set()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.deliveries.append(Delivery({k.lower(): v for k, v in self.headers.items()}, body))
                receiver.open.wait(60)
                receiver.hold()
                status, headers = receiver.answers[0]
                if len(receiver.answers) > 1:
                    receiver.answers.pop(0)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    # The server that asked was killed.
                    pass

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def hold(self):
        """What happens between a request and its answer; nothing here."""

    def close(self):
        self.open.set()
        self.server.shutdown()
        self.server.server_close()


class Decoy:
    """Listens on loopback, IPv6 too where there is one, and counts who connects."""

    def __init__(self):
        self.connects = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.listeners = [self.listener]
        if socket.has_ipv6:
            try:
                self.listeners.append(
                    socket.create_server(("::1", self.port), family=socket.AF_INET6)
                )
            except OSError:
                pass
        for listener in self.listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return
            self.connects.append(address)
            connection.close()

    def close(self):
        for listener in self.listeners:
            listener.close()
