"""HTTP to a route: checked addresses, TLS to the right name, connections kept for a while, bodies limited.

The addresses of a host are looked up and judged for each new connection, and the connection goes to the address that
was judged. Redirects are never followed here.
"""

from __future__ import annotations

import random
import re
import ssl
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import Factory

from federation.outbound.connecting import Connecting, NotConnected
from federation.outbound.exchanges import Connection, Exchange, ExchangeFailed, HttpAnswer, Opened, Take, describe
from federation.outbound.tls import TlsTrust
from federation.outbound.tls import describe as describe_tls
from homeserver.core.discovery import Route
from homeserver.runtime.lru import Lru
from homeserver.web.tls import TlsLayer

__all__ = ["ExchangeFailed", "HttpAgent", "HttpAnswer", "Peer"]

MAX_PEERS: Final = 5_000
KEPT_CONNECTIONS: Final = 4
KEPT_FOR_S: Final = 30.0
"""Idle connections; below what usual servers and proxies keep them for, so that few are closed under our hands."""
LOOK_EVERY_S: Final = 10.0

_TARGET: Final = re.compile(r"/[\x21-\x7e]*")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e\t]*")


class Peer(msgspec.Struct, frozen=True):
    """Somebody to speak HTTP with."""

    route: Route
    secure: bool = True


class HttpAgent:
    """Sends requests to peers."""

    def __init__(self, reactor: Any, connecting: Connecting, trust: TlsTrust) -> None:
        self._reactor = reactor
        self._connecting = connecting
        self._trust = trust
        self._peers: Lru[Peer, _Kept] = Lru(MAX_PEERS, dropped=lambda peer, kept: kept.close())
        self._look: Any = None

    async def request(
        self,
        peer: Peer,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        limit_bytes: int,
        take: Take | None = None,
        opened: Opened | None = None,
    ) -> HttpAnswer:
        """One request; the Host header is that of the route. Cancel it to end it: there is no time-out here.

        Of a 200, `opened` gets the answer without its body, and `take` the body in pieces as they come.
        Raises ExchangeFailed, BodyTooLong, NotTaken where `take` fails, and what `opened` raises.
        """
        asked = self.ask_kept(peer, method, target, headers, body, limit_bytes=limit_bytes, take=take, opened=opened)
        if asked is not None:
            return await asked
        request = _encoded(method, target, peer.route.host_header, headers, body)
        kept = self._peers.get(peer)
        if kept is None:
            kept = _Kept(self)
            self._peers.put(peer, kept)
        connection = await self._connect(peer, kept)
        return await connection.ask(request, Exchange(method, limit_bytes, take, opened))

    def ask_kept(
        self,
        peer: Peer,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        limit_bytes: int,
        take: Take | None = None,
        opened: Opened | None = None,
    ) -> Deferred[HttpAnswer] | None:
        """The same on a connection that is open and has nothing to do; None where there is none."""
        kept = self._peers.get(peer)
        if kept is None:
            return None
        request = _encoded(method, target, peer.route.host_header, headers, body)
        connection = kept.take(self._reactor.seconds())
        return None if connection is None else connection.ask(request, Exchange(method, limit_bytes, take, opened))

    async def close(self) -> None:
        """Close the connections that are kept."""
        peers = [self._peers.discard(peer) for peer in list(self._peers)]
        closing = [closed for kept in peers if kept is not None for closed in kept.close()]
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for closed in closing:
            await closed

    def note_idle(self, connection: Connection) -> None:
        """A connection is kept: it is looked at from time to time, so that it does not stay for ever."""
        connection.idle_since_s = self._reactor.seconds()
        if self._look is None:
            self._look = self._reactor.callLater(LOOK_EVERY_S, self._close_old)

    def _close_old(self) -> None:
        self._look = None
        now_s = self._reactor.seconds()
        still_idle = 0
        for peer in self._peers:
            kept = self._peers.peek(peer)
            still_idle += 0 if kept is None else kept.close_old(now_s)
        if still_idle:
            self._look = self._reactor.callLater(LOOK_EVERY_S, self._close_old)

    async def _connect(self, peer: Peer, kept: _Kept) -> Connection:
        route = peer.route

        def make() -> Connection | TlsLayer:
            connection = Connection(kept)
            return self._trust.layer(route.tls_name, connection) if peer.secure else connection

        factory: Any = Factory.forProtocol(make)
        factory.noisy = False
        try:
            made = await self._connecting.connect(route.targets, factory, random.random)
            made.transport.setTcpNoDelay(True)
            if isinstance(made, TlsLayer):
                await made.when_open()
                made = made.above
        except NotConnected as error:
            raise ExchangeFailed(str(error), may_have_arrived=False) from error
        except ssl.SSLError as error:
            raise ExchangeFailed(describe_tls(error), may_have_arrived=False) from error
        except ConnectionClosed as error:
            raise ExchangeFailed(describe(error), may_have_arrived=False) from error
        connection: Connection = made
        return connection


class _Kept:
    """The connections to a peer that wait for another request."""

    def __init__(self, agent: HttpAgent) -> None:
        self._agent = agent
        self._idle: list[Connection] = []
        self._is_closed = False

    def take(self, now_s: float) -> Connection | None:
        """The connection that was used last, so that those that are not needed grow old."""
        self.close_old(now_s)
        return self._idle.pop() if self._idle else None

    def keep(self, connection: Connection) -> None:
        """A connection has nothing to do."""
        if self._is_closed or len(self._idle) >= KEPT_CONNECTIONS:
            connection.close()
        else:
            self._idle.append(connection)
            self._agent.note_idle(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is closed."""
        if connection in self._idle:
            self._idle.remove(connection)

    def close_old(self, now_s: float) -> int:
        """Close those that nobody has used for a while; how many are left."""
        while self._idle and now_s - self._idle[0].idle_since_s > KEPT_FOR_S:
            self._idle.pop(0).close()
        return len(self._idle)

    def close(self) -> list[Deferred[None]]:
        """Close them all, and keep no more; what tells when they are closed."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        return [connection.closed for connection in idle]


def _encoded(method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    if _TARGET.fullmatch(target) is None:
        raise ValueError(f"{target[:100]!r} is no target of a request")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    for name, value in headers.items():
        if _HEADER_VALUE.fullmatch(value) is None:
            raise ValueError(f"the header {name} holds what it must not")
        lines.append(f"{name}: {value}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    elif method not in ("GET", "HEAD"):
        lines.append("Content-Length: 0")
    lines.append("\r\n")
    head = "\r\n".join(lines).encode("ascii")
    return head if body is None else head + body
