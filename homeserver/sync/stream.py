"""The stream over WebSocket: deltas as they happen, and requests on the same connection.

A socket that subscribes gets deltas shaped as answers of /sync. What it has not acknowledged is counted in bytes; past
UNACKNOWLEDGED_BYTES nothing is computed for it until it catches up, and what came meanwhile goes as one delta, whose
timelines are limited as in any /sync after a pause. So a slow reader costs neither memory nor work.
The protocol is described in docs/websocket.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from homeserver.core.filters import Filter
from homeserver.sync.engine import SyncEngine, SyncRequest
from homeserver.sync.feeds import Feeds
from homeserver.sync.reader import STATE, STATE_AFTER
from homeserver.sync.to_device import ToDeviceQueue

log = structlog.get_logger(__name__)

UNACKNOWLEDGED_BYTES = 256 * 1024
REPLACED = 4409


class FrameSink(Protocol):
    """The sending side of a socket."""

    def send(self, frame: bytes) -> None:
        """Send a text frame."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close with a code."""
        ...

    async def writable(self) -> None:
        """Return once the transport takes more."""
        ...


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a socket subscribes to. `since` None: everything first."""

    user_id: str
    device: int
    since: int | None
    filter: Filter
    use_state_after: bool


class Pump:
    """Sends deltas to one socket, as fast as it acknowledges them."""

    def __init__(self, engine: SyncEngine, feeds: Feeds, to_device: ToDeviceQueue, sink: FrameSink, what: Subscription):
        self._engine = engine
        self._feeds = feeds
        self._to_device = to_device
        self._sink = sink
        self._what = what
        self._sent: deque[tuple[int, int]] = deque()
        """Position and size of each delta that is not acknowledged."""
        self._unacknowledged_bytes = 0
        self._caught_up: Deferred[None] | None = None

    async def run(self) -> None:
        """Send deltas until cancelled."""
        what = self._what
        since = what.since
        if since is not None:
            await self._to_device.acknowledge(what.device, since)
        feed = await self._feeds.of(what.user_id)
        while True:
            await self._ready()
            if since is None or feed.touched > since:
                since = await self._tell(since)
            await self._feeds.touched(feed, since)
            # The feed may have been dropped as idle while the reader was slow; asking for it lists it again.
            feed = await self._feeds.of(what.user_id)

    async def _tell(self, since: int | None) -> int:
        """Send what is new; the position up to which it goes. (A method of its own, so that nobody holds on to it.)"""
        what = self._what
        state_as = STATE_AFTER if what.use_state_after else STATE
        delta = await self._engine.delta(SyncRequest(what.user_id, what.device, since, what.filter, state_as=state_as))
        if delta.is_news or since is None:
            self._send(delta.upto, delta.encoded())
        return delta.upto

    def acknowledge(self, position: int) -> Awaitable[None] | None:
        """The client has everything up to `position`. What has to be awaited then, None in most cases."""
        while self._sent and self._sent[0][0] <= position:
            self._unacknowledged_bytes -= self._sent.popleft()[1]
        if self._caught_up is not None and self._unacknowledged_bytes < UNACKNOWLEDGED_BYTES:
            caught_up, self._caught_up = self._caught_up, None
            caught_up.callback(None)
        if self._to_device.has_nothing_for(self._what.device):
            return None
        return self._to_device.acknowledge(self._what.device, position)

    def _send(self, position: int, frame: bytes) -> None:
        self._sent.append((position, len(frame)))
        self._unacknowledged_bytes += len(frame)
        self._sink.send(frame)

    async def _ready(self) -> None:
        """Wait until the reader is not too far behind."""
        if self._unacknowledged_bytes >= UNACKNOWLEDGED_BYTES:
            self._caught_up = Deferred()
            await self._caught_up
        await self._sink.writable()


class Streams:
    """The subscribed sockets of this process: one for each device."""

    def __init__(self, engine: SyncEngine, feeds: Feeds, to_device: ToDeviceQueue) -> None:
        self._engine = engine
        self._feeds = feeds
        self._to_device = to_device
        self._by_device: dict[int, tuple[FrameSink, Deferred[None]]] = {}

    def subscribe(self, sink: FrameSink, what: Subscription) -> Pump:
        """Begin to send deltas. An older subscription of the device ends; if another socket held it, that is closed."""
        self.unsubscribe(what.device, REPLACED, "another connection of this device has taken over", but_not=sink)
        pump = Pump(self._engine, self._feeds, self._to_device, sink, what)
        running = Deferred.fromCoroutine(pump.run())
        self._by_device[what.device] = (sink, running)
        running.addErrback(self._ended, what.device, sink)
        return pump

    def unsubscribe(self, device: int, code: int, reason: str, *, but_not: FrameSink | None = None) -> None:
        """End the subscription of a device and close its socket, unless that is `but_not`."""
        held = self._by_device.pop(device, None)
        if held is None:
            return
        sink, running = held
        running.cancel()
        if sink is not but_not:
            sink.close(code, reason)

    def __len__(self) -> int:
        return len(self._by_device)

    def gone(self, device: int, sink: FrameSink) -> None:
        """The socket is closed."""
        held = self._by_device.get(device)
        if held is not None and held[0] is sink:
            del self._by_device[device]
            held[1].cancel()

    def _ended(self, failure: Failure, device: int, sink: FrameSink) -> None:
        if not isinstance(failure.value, CancelledError):
            log.error("a stream failed", device=device, exc_info=failure.value)
            self.gone(device, sink)
            sink.close(1011, "the server could not go on with this stream; connect again with the last position")
