"""Makes TCP connections to the first of several addresses that answers, and only to addresses that may be reached."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from federation.outbound.addresses import AddressRules
from federation.outbound.dns import Dns, NoAddress
from homeserver.core.discovery import SrvRecord, in_order
from homeserver.runtime.clock import Clock

CONNECT_S: Final = 10
HEAD_START_S: Final = 0.3
"""How long an address is tried alone before the next is tried beside it (RFC 8305, "Happy Eyeballs")."""
MAX_ADDRESSES: Final = 8


class NotConnected(Exception):
    """No connection could be made; the text says why."""


class Connecting:
    """Connects to hosts."""

    def __init__(self, reactor: Any, dns: Dns, rules: AddressRules, clock: Clock) -> None:
        self._reactor = reactor
        self._dns = dns
        self._rules = rules
        self._clock = clock

    async def connect(self, targets: Iterable[SrvRecord], factory: Factory, random: Callable[[], float]) -> Any:
        """The protocol that the factory made, connected to the first target that can be reached."""
        reasons: list[str] = []
        for target in in_order(targets, random):
            try:
                addresses = await self._allowed(target.host)
                return await _Race(self._reactor, self._clock, addresses, target.port, factory).won()
            except NotConnected as error:
                reasons.append(str(error))
        raise NotConnected("; ".join(reasons) or "there is no host to connect to")

    async def _allowed(self, host: str) -> list[str]:
        try:
            found = await self._dns.addresses(host)
        except NoAddress as error:
            raise NotConnected(str(error)) from None
        allowed = [address for address in found if self._rules.may_reach(address)]
        if not allowed:
            raise NotConnected(
                f"{host} is at {', '.join(found[:3]) or 'no address'}, which requests may not go to "
                "(federation.allow_private_addresses lets them go to private networks)"
            )
        return _alternating(allowed)[:MAX_ADDRESSES]


class _Race:
    """Tries addresses, each with a head start before the next; the first connection wins and ends the others."""

    def __init__(self, reactor: Any, clock: Clock, addresses: Sequence[str], port: int, factory: Factory) -> None:
        self._reactor = reactor
        self._clock = clock
        self._waiting = list(addresses)
        self._port = port
        self._factory = factory
        self._running: list[Deferred[Any]] = []
        self._reasons: list[str] = []
        self._result: Deferred[Any] = Deferred(lambda _: self._end())
        self._ended = False

    def won(self) -> Deferred[Any]:
        """The protocol of the first connection. Fails with NotConnected."""
        self._next()
        return self._result

    def _next(self) -> None:
        if self._ended or not self._waiting:
            return
        address = self._waiting.pop(0)
        kind = TCP4ClientEndpoint if ipaddress.ip_address(address).version == 4 else TCP6ClientEndpoint
        endpoint: Any = kind(self._reactor, address, self._port, timeout=CONNECT_S)
        attempt: Deferred[Any] = endpoint.connect(self._factory)
        self._running.append(attempt)
        timer = self._clock.call_later(HEAD_START_S, self._next) if self._waiting else None

        def ended(result: Any) -> None:
            self._running.remove(attempt)
            if timer is not None:
                timer.cancel()
            if not isinstance(result, Failure):
                self._end()
                if self._result.called:  # nobody waits any more
                    result.transport.abortConnection()
                else:
                    self._result.callback(result)
                return
            if not isinstance(result.value, CancelledError):
                self._reasons.append(f"{address} port {self._port}: {result.value}")
            if self._ended:
                return
            if self._waiting:
                self._next()
            elif not self._running:
                self._ended = True
                self._result.errback(NotConnected("; ".join(self._reasons)))

        attempt.addBoth(ended)

    def _end(self) -> None:
        self._ended = True
        for attempt in list(self._running):
            attempt.cancel()


def _alternating(addresses: Sequence[str]) -> list[str]:
    """The preferred family first, then turn by turn, so that one that does not work costs one head start only."""
    first = [address for address in addresses if (":" in address) == (":" in addresses[0])]
    second = [address for address in addresses if (":" in address) != (":" in addresses[0])]
    mixed: list[str] = []
    while first or second:
        mixed += first[:1] + second[:1]
        first, second = first[1:], second[1:]
    return mixed
