"""Doors for those who run the server: is it well, and what does it measure."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.internet.defer import Deferred

from homeserver.runtime.clock import Clock
from homeserver.runtime.metrics import CONTENT_TYPE, Metrics
from homeserver.runtime.time_limit import within
from homeserver.web.endpoint import NONE, endpoint, endpoints
from homeserver.web.errors import Unavailable
from homeserver.web.response import Response

WELL_S: Final = 5.0
"""A database that takes longer for nothing is not well. Load balancers wait about as long."""


class Operations:
    """`check` returns when the server can work (the database answers), and raises otherwise."""

    def __init__(
        self, metrics: Metrics, clock: Clock, check: Callable[[], Coroutine[Deferred[Any], Any, object]]
    ) -> None:
        self.metrics = metrics
        self.clock = clock
        self.check = check


@endpoint("GET", "/health", access=NONE)
async def health(operations: Operations) -> Response:
    """OK if the server can serve; for load balancers and service managers."""
    try:
        await within(operations.clock, WELL_S, operations.check())
    except Exception as error:
        raise Unavailable("The server is not well: its database does not answer.") from error
    return Response(200, {"Content-Type": "text/plain; charset=utf-8"}, b"OK")


@endpoint("GET", "/metrics", access=NONE)
async def metrics(operations: Operations) -> Response:
    """All measures in Prometheus' text format."""
    return Response(200, {"Content-Type": CONTENT_TYPE}, operations.metrics.text())


ENDPOINTS = endpoints(__name__)
