"""Finds the route to a server: runs discovery over .well-known and the DNS, and remembers routes while they hold."""

from __future__ import annotations

from typing import Final

from federation.outbound.dns import Dns
from federation.outbound.waiting import Together
from federation.outbound.well_known import Delegations
from homeserver.core.discovery import Answer, AskWellKnown, Route, discover
from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru

KEPT_ROUTES: Final = 20_000
LONGEST_MS: Final = 3_600_000
"""A route is put together anew at least this often; what it was made of may hold for longer."""


class Resolver:
    """Routes to servers."""

    def __init__(self, dns: Dns, well_known: Delegations, clock: Clock) -> None:
        self._dns = dns
        self._well_known = well_known
        self._clock = clock
        self._routes: Lru[str, tuple[Route, int]] = Lru(KEPT_ROUTES)
        self._find = Together(self._discover)

    async def route(self, server_name: str) -> Route:
        """The way to a server. Raises discovery.NoService."""
        return self.known_route(server_name) or await self._find(server_name)

    def known_route(self, server_name: str) -> Route | None:
        """The way to a server, where it is known and holds still."""
        known = self._routes.get(server_name)
        return known[0] if known is not None and known[1] > self._clock.now_ms() else None

    def knows(self, server_name: str) -> bool:
        """Whether a route to the server was found already, so that its name is one."""
        return server_name in self._routes

    def forget(self, server_name: str) -> None:
        """Look for a new route next time (what .well-known said still holds for its time)."""
        self._routes.discard(server_name)

    async def _discover(self, server_name: str) -> Route:
        steps = discover(server_name)
        until_ms = self._clock.now_ms() + LONGEST_MS
        try:
            question = next(steps)
            while True:
                answer: Answer
                if isinstance(question, AskWellKnown):
                    delegation = await self._well_known.of(question.hostname)
                    answer, good_until_ms = delegation.server, delegation.until_ms
                else:
                    found = await self._dns.srv(question.name)
                    answer, good_until_ms = found.records, self._clock.now_ms() + found.valid_for_s * 1000
                until_ms = min(until_ms, good_until_ms)
                question = steps.send(answer)
        except StopIteration as end:
            route: Route = end.value
        self._routes.put(server_name, (route, until_ms))
        return route
