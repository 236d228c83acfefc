"""HTTP to a route: checked addresses, TLS to the right name, connections kept for a while, bodies limited.

The addresses of a host are looked up and judged for each new connection, and the connection goes to the address that
was judged. Redirects are never followed here.

Twisted's Agent is used as it is: treq's client on top of it cost 0.4 ms of CPU a request (cookie jars, URL objects),
as much as everything else that a delivery takes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from federation.outbound.bodies import BodyTooLong, NotTaken, drop, read_body
from federation.outbound.connecting import Connecting, NotConnected
from federation.outbound.head_limit import HeadLimited
from federation.outbound.tls import TlsTrust
from homeserver.core.discovery import Route
from homeserver.runtime.lru import Lru

MAX_PEERS: Final = 5_000
KEPT_CONNECTIONS: Final = 4
KEPT_FOR_S: Final = 30
"""Idle connections; below what usual servers and proxies keep them for, so that few are closed under our hands."""


class ExchangeFailed(Exception):
    """There was no complete answer. `may_have_arrived`: the request was, at least in part, sent."""

    def __init__(self, reason: str, *, may_have_arrived: bool) -> None:
        super().__init__(reason)
        self.may_have_arrived = may_have_arrived


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A response. Header names are in lower case. The body is empty where it was handed on piece by piece."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody to speak HTTP with."""

    route: Route
    secure: bool = True


class HttpAgent:
    """Sends requests to peers."""

    def __init__(self, reactor: Any, connecting: Connecting, trust: TlsTrust) -> None:
        self._reactor = reactor
        self._connecting = connecting
        self._trust = trust
        self._peers: Lru[Peer, _Kept] = Lru(MAX_PEERS, dropped=lambda peer, kept: kept.pool.closeCachedConnections())

    async def request(
        self,
        peer: Peer,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        limit_bytes: int,
        take: Callable[[bytes], object] | None = None,
        opened: Callable[[HttpAnswer], object] | None = None,
    ) -> HttpAnswer:
        """One request; the Host header is that of the route. Cancel it to end it: there is no time-out here.

        Of a 200, `opened` gets the answer without its body, and `take` the body in pieces as they come.
        Raises ExchangeFailed, BodyTooLong, NotTaken where `take` fails, and what `opened` raises.
        """
        kept = self._peers.get(peer)
        if kept is None:
            kept = self._keep(peer)
        raw = Headers({name: [value] for name, value in headers.items()})
        raw.setRawHeaders("Host", [peer.route.host_header])
        # The host in this URL is not looked at: the endpoint leads to the peer.
        url = b"https://peer" + target.encode("ascii")
        producer = None if body is None else _Bytes(body)
        try:
            response = await kept.agent.request(method.encode("ascii"), url, raw, cast(Any, producer))
        except Exception as error:
            raise _failure(error) from error
        head = HttpAnswer(response.code, _headers_of(response), b"")
        handing_on = response.code == 200 and take is not None
        if response.code == 200 and opened is not None:
            try:
                opened(head)
            except Exception:
                drop(response)
                raise
        announced = None if response.length is UNKNOWN_LENGTH else int(cast(int, response.length))
        try:
            received = await read_body(response, announced, limit_bytes, take if handing_on else None)
        except (BodyTooLong, NotTaken):
            raise
        except Exception as error:
            raise _failure(error) from error
        return replace(head, body=received)

    async def close(self) -> None:
        """Close the connections that are kept."""
        peers = [self._peers.discard(peer) for peer in list(self._peers)]
        for kept in peers:
            if kept is not None:
                await kept.close()

    def _keep(self, peer: Peer) -> _Kept:
        endpoint: Any = _Endpoint(self._connecting, peer.route)
        if peer.secure:
            endpoint = wrapClientTLS(self._trust.creator(peer.route.tls_name), endpoint, self._reactor)
        pool: Any = HTTPConnectionPool(self._reactor, persistent=True)  # type: ignore[no-untyped-call]  # as below
        pool.maxPersistentPerHost = KEPT_CONNECTIONS
        pool.cachedConnectionTimeout = KEPT_FOR_S
        # Whether a request may be repeated is known to the one who makes it.
        pool.retryAutomatically = False
        # Twisted has no types here.
        agent = Agent.usingEndpointFactory(self._reactor, _Always(HeadLimited(endpoint)), pool)  # type: ignore[no-untyped-call]
        kept = _Kept(agent, pool)
        self._peers.put(peer, kept)
        return kept


def _failure(error: Exception) -> Exception:
    """What becomes of an error that Twisted raised."""
    causes = _causes(error)
    if any(isinstance(cause, CancelledError) for cause in causes):
        return CancelledError()  # Twisted wraps it where a request was under way
    if isinstance(error, NotConnected):
        return ExchangeFailed(str(error), may_have_arrived=False)
    # Where TLS failed, the request was never sent.
    of_tls = any(isinstance(cause, SSL.Error | VerificationError) for cause in causes)
    return ExchangeFailed(describe(error), may_have_arrived=not of_tls)


def _headers_of(response: Any) -> Mapping[str, str]:
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }


def describe(error: BaseException) -> str:
    """The cause of a failed exchange in words for an admin."""
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, VerificationError):
            return "its certificate is for another name"
        if isinstance(cause, SSL.Error):
            details = [str(part[-1]) for part in cause.args[0]] if cause.args else []
            return f"TLS failed: {', '.join(details) or 'the connection was closed'}"
    for cause in causes:
        if not isinstance(cause, ConnectionClosed):
            return f"{type(cause).__name__} {cause}".strip()
    return "the connection was closed before the answer was complete"


def _causes(error: BaseException) -> list[BaseException]:
    """The errors that Twisted has wrapped, from the inside."""
    reasons: Sequence[Failure] = getattr(error, "reasons", None) or ()
    inner = [cause for reason in reasons if reason.value is not None for cause in _causes(reason.value)]
    return inner or [error]


@dataclass(frozen=True, slots=True)
class _Kept:
    agent: Any
    pool: Any

    async def close(self) -> None:
        await self.pool.closeCachedConnections()


@implementer(IAgentEndpointFactory)
class _Always:
    """Leads every URL to one endpoint."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: object) -> Any:
        return self._endpoint


class _Endpoint:
    """A route, as something that Twisted can connect to."""

    def __init__(self, connecting: Connecting, route: Route) -> None:
        self._connecting = connecting
        self._route = route

    def connect(self, factory: Factory) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._connecting.connect(self._route.targets, factory, random.random))


@implementer(IBodyProducer)
class _Bytes:
    """A body that is there as a whole."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """Everything is written at once."""

    def resumeProducing(self) -> None:
        """Everything is written at once."""

    def stopProducing(self) -> None:
        """Everything is written at once."""
