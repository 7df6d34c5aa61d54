"""Asks the endpoint of a stage as Prometheus and a probe do."""

from __future__ import annotations

import http.client
import json
from typing import Any

from prometheus_client.parser import text_string_to_metric_families


def ask(port: int, path: str, *, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers. Raises `OSError` where nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def probe(port: int, path: str) -> tuple[int, list[str]] | None:
    """Status and reasons of /livez or /readyz; None while nobody listens."""
    try:
        status, body, _ = ask(port, path)
    except (OSError, http.client.HTTPException):
        return None
    document: dict[str, Any] = json.loads(body)
    return status, document["reasons"]


def numbers(port: int) -> dict[str, float]:
    """Every series by its name and, where it has any, the values of its labels: `name` or `name value`."""
    status, body, _ = ask(port, "/metrics")
    assert status == 200
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
