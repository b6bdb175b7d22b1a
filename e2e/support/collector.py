"""An OTLP receiver: takes spans over HTTP and reads them with the official `opentelemetry-proto`."""

import http.server
import threading
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass
class Span:
    """One span, with its ids in hexadecimal and its attributes as Python values."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    start_ms: float
    end_ms: float
    attributes: dict
    events: dict
    links: list
    error: str | None
    resource: dict


def _value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def _attributes(pairs):
    return {pair.key: _value(pair.value) for pair in pairs}


def _spans(body):
    request = ExportTraceServiceRequest.FromString(body)
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            assert scope_spans.scope.name == "overspill"
            for span in scope_spans.spans:
                failed = span.status.code == Status.STATUS_CODE_ERROR
                yield Span(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    kind=span.kind,
                    start_ms=span.start_time_unix_nano / 1e6,
                    end_ms=span.end_time_unix_nano / 1e6,
                    attributes=_attributes(span.attributes),
                    events={event.name: event.time_unix_nano / 1e6 for event in span.events},
                    links=[link.span_id.hex() for link in span.links],
                    error=span.status.message if failed else None,
                    resource=resource,
                )


class Collector:
    """Listens on loopback; answers 200, or `status` while that is set. `headers` are those of the last post."""

    def __init__(self):
        self.spans = []
        self.posts = 0
        self.status = 200
        self.headers = {}
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.posts += 1
                collector.headers = {k.lower(): v for k, v in self.headers.items()}
                status = collector.status
                if status == 200:
                    assert self.path == "/v1/traces"
                    assert self.headers["Content-Type"] == "application/x-protobuf"
                    collector.spans.extend(_spans(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, trace, name=None):
        """The spans of a trace, in the order of their starts; each id once, as a receiver keeps them."""
        found = {span.id: span for span in list(self.spans) if span.trace == trace}
        found = sorted(found.values(), key=lambda span: (span.start_ms, span.end_ms))
        return [span for span in found if name in (None, span.name)]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
