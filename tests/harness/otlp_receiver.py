"""A local stand-in for whatever takes OTLP over HTTP (a collector, the Datadog Agent): it decodes what it is sent."""

from __future__ import annotations

import gzip

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.harness.local_server import Handler, LocalServer


class OtlpReceiver(LocalServer):
    """Use it as a context manager. `traces` and `metrics` are the requests, `paths` those asked for."""

    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        receiver = self

        class Answers(Handler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                known = receiver.take(self.path, self.headers["content-type"], body)
                self.send_response(200 if known else 404)
                self.send_header("content-length", "0")
                self.end_headers()

        super().__init__(Answers)

    def take(self, path: str, kind: str, body: bytes) -> bool:
        if kind != "application/x-protobuf":
            return False
        if path == "/v1/traces":
            self.traces.append(ExportTraceServiceRequest.FromString(body))
            return True
        if path == "/v1/metrics":
            self.metrics.append(ExportMetricsServiceRequest.FromString(body))
            return True
        return False
