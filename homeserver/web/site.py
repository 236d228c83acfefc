"""One HTTP site: the connections of the listeners that serve the same endpoints, and an eye on their deadlines."""

from __future__ import annotations

import itertools
import secrets
from typing import Final

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory

from homeserver.runtime.clock import Clock, Timer
from homeserver.web.answer import Heads
from homeserver.web.channel import Channel
from homeserver.web.contracts import SocketOpener, Watched
from homeserver.web.gate import Gate
from homeserver.web.measures import HttpMeasures
from homeserver.web.proxies import TrustedProxies

LOOK_EVERY_S: Final = 2.0
STOP_LOOK_EVERY_S: Final = 0.05


class Site(ServerFactory):
    """Makes a `Channel` for each connection; give it to a listening endpoint of Twisted."""

    noisy = False

    def __init__(
        self,
        gate: Gate,
        clock: Clock,
        sockets: SocketOpener,
        measures: HttpMeasures,
        proxies: TrustedProxies | None = None,
    ) -> None:
        self.heads = Heads(clock)
        self.proxies = proxies or TrustedProxies()
        self.sockets = sockets
        self.now_s = clock.monotonic_s()
        self.stopping = False
        self._gate = gate
        self._clock = clock
        self._measures = measures
        self._channels: set[Watched] = set()
        self._look: Timer | None = None
        self._numbers = itertools.count(1)
        self._prefix = secrets.token_hex(3)

    def buildProtocol(self, addr: IAddress | None) -> Channel:
        """A connection has been accepted."""
        if self._look is None:
            self.now_s = self._clock.monotonic_s()
            self._look = self._clock.call_later(LOOK_EVERY_S, self._look_at_deadlines)
        return Channel(self, self._gate)

    def next_request_id(self) -> str:
        """Unique in this process, and hardly ever the same in two."""
        return f"{self._prefix}-{next(self._numbers):x}"

    def opened(self, channel: Watched) -> None:
        """A connection is there."""
        self._channels.add(channel)
        self._measures.connections += 1

    def closed(self, channel: Watched) -> None:
        """A connection has gone."""
        self._channels.discard(channel)
        self._measures.connections -= 1

    async def stop(self, grace_s: float) -> None:
        """Close what waits, let what is being done finish within this time, then cut off the rest.

        Stop listening first.
        """
        self.stopping = True
        until_s = self._clock.monotonic_s() + grace_s
        waited_for = [channel for channel in list(self._channels) if channel.stop()]
        while waited_for and self._clock.monotonic_s() < until_s:
            await self._clock.sleep(STOP_LOOK_EVERY_S)
            waited_for = [channel for channel in waited_for if channel in self._channels]
        for channel in list(self._channels):
            channel.abort()
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _look_at_deadlines(self) -> None:
        """One timer for all connections: setting one for each request would cost more than looking at all of them."""
        now_s = self.now_s = self._clock.monotonic_s()
        for channel in [each for each in self._channels if each.deadline_s < now_s]:
            channel.overdue()
        busy = bool(self._channels)
        self._look = self._clock.call_later(LOOK_EVERY_S, self._look_at_deadlines) if busy else None
