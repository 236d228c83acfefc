"""Doors for those who run the server: is it well, and what does it measure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from homeserver.runtime.metrics import CONTENT_TYPE, Metrics
from homeserver.web.endpoint import NONE, endpoint, endpoints
from homeserver.web.errors import Unavailable
from homeserver.web.response import Response


class Operations:
    """`check` returns when the server can work (the database answers), and raises otherwise."""

    def __init__(self, metrics: Metrics, check: Callable[[], Awaitable[object]]) -> None:
        self.metrics = metrics
        self.check = check


@endpoint("GET", "/health", access=NONE)
async def health(operations: Operations) -> Response:
    """OK if the server can serve; for load balancers and service managers."""
    try:
        await operations.check()
    except Exception as error:
        raise Unavailable("The server is not well: its database does not answer.") from error
    return Response(200, {"Content-Type": "text/plain; charset=utf-8"}, b"OK")


@endpoint("GET", "/metrics", access=NONE)
async def metrics(operations: Operations) -> Response:
    """All measures in Prometheus' text format."""
    return Response(200, {"Content-Type": CONTENT_TYPE}, operations.metrics.text())


ENDPOINTS = endpoints(__name__)
