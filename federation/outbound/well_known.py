"""Asks for /.well-known/matrix/server, and remembers the answers and the failures for as long as each holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from federation.outbound.web_client import WebClient, WebFailed
from homeserver.core import well_known
from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru

TIMEOUT_S: Final = 10.0
KEPT_ANSWERS: Final = 20_000

log: Final = structlog.get_logger("federation.discovery")


@dataclass(frozen=True, slots=True)
class Delegation:
    """What a host says: the server name that it delegates to, or None where it does not, up to this time."""

    server: str | None
    until_ms: int


class Delegations(Protocol):
    """Where discovery learns of delegation."""

    async def of(self, hostname: str) -> Delegation:
        """What https://HOSTNAME/.well-known/matrix/server says."""
        ...


@dataclass(frozen=True, slots=True)
class _Known:
    delegation: Delegation
    fetched_ms: int  # when there was a valid response last
    failures: int = 0


class WellKnown:
    """The hosts' own answers over HTTPS."""

    def __init__(self, web: WebClient, clock: Clock) -> None:
        self._web = web
        self._clock = clock
        self._known: Lru[str, _Known] = Lru(KEPT_ANSWERS)

    async def of(self, hostname: str) -> Delegation:
        """The answer that is remembered, or a new one."""
        known = self._known.get(hostname)
        if known is not None and known.delegation.until_ms > self._clock.now_ms():
            return known.delegation
        fresh = await self._ask(hostname, known)
        self._known.put(hostname, fresh)
        return fresh.delegation

    async def _ask(self, hostname: str, known: _Known | None) -> _Known:
        reason = ""
        passing = True
        try:
            answer = await self._web.request(
                "GET",
                f"https://{hostname}/.well-known/matrix/server",
                {"Accept": "application/json"},
                timeout_s=TIMEOUT_S,
                limit_bytes=well_known.MAX_BYTES,
                max_redirects=well_known.MAX_REDIRECTS,
            )
        except WebFailed as error:
            reason = str(error)
        else:
            now_ms = self._clock.now_ms()
            server = well_known.parse_well_known(answer.status, answer.body)
            if server is not None:
                return _Known(Delegation(server, now_ms + well_known.valid_for_ms(answer.headers, now_ms)), now_ms)
            reason = f"status {answer.status}"
            passing = answer.status >= 500
        failures = 1 if known is None else known.failures + 1
        now_ms = self._clock.now_ms()
        until_ms = now_ms + well_known.error_for_ms(failures)
        log.debug("no delegation", hostname=hostname, reason=reason)
        if (
            passing
            and known is not None
            and known.delegation.server is not None
            and now_ms < known.fetched_ms + well_known.LONGEST_MS
        ):
            # The host does not answer just now. What it said before is still the best guess, up to the longest time
            # for which an answer may hold (RFC 9111, 4.2.4: stale answers may be used where the origin is away).
            stale_until_ms = min(until_ms, known.fetched_ms + well_known.LONGEST_MS)
            return _Known(Delegation(known.delegation.server, stale_until_ms), known.fetched_ms, failures)
        return _Known(Delegation(None, until_ms), 0, failures)
