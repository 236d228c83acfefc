"""All listeners of the server: what each serves, opened together and stopped together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from config.settings import Listener
from homeserver.runtime.clock import Clock
from homeserver.runtime.metrics import Metrics
from homeserver.web.access import AccessControl
from homeserver.web.gate import Gate, InThread
from homeserver.web.groups import served
from homeserver.web.limits import Limiter
from homeserver.web.listen import ListenFailed, Port, TlsFiles, listen
from homeserver.web.measures import HttpMeasures
from homeserver.web.plan import BoundEndpoint
from homeserver.web.proxies import TrustedProxies
from homeserver.web.site import Site
from homeserver.web.websocket import Heartbeat, WebSockets

log: Final = structlog.get_logger("homeserver.web")


class HttpServer:
    """Serves endpoints on listeners. `unavailable` are the exceptions that a client is told as 503."""

    def __init__(
        self,
        reactor: object,
        clock: Clock,
        endpoints: Iterable[BoundEndpoint],
        access: AccessControl,
        limiter: Limiter,
        metrics: Metrics,
        unavailable: tuple[type[Exception], ...] = (),
        in_thread: InThread | None = None,
        proxies: TrustedProxies | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._endpoints = tuple(endpoints)
        self._access = access
        self._limiter = limiter
        self._unavailable = unavailable
        self._in_thread = in_thread or pool_of(reactor)
        self._proxies = proxies
        self._measures = HttpMeasures()
        metrics.collect(self._measures)
        self._sockets = WebSockets(reactor, clock, heartbeat or Heartbeat())
        self._sites: list[Site] = []
        self._ports: list[Port] = []

    def open(self, listeners: Sequence[Listener]) -> None:
        """Open them all, or none: raises ListenFailed for the first that cannot be opened."""
        try:
            for listener in listeners:
                self._open(listener)
        except ListenFailed:
            for port in self._ports:
                port.stopListening()
            self._ports.clear()
            raise

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports that were opened, in the order of the listeners; the system's choice where 0 was asked for."""
        return tuple(int(getattr(port.getHost(), "port", 0)) for port in self._ports)

    async def stop(self, grace_s: float) -> None:
        """Take no more connections, let what is being done finish within this time, then cut off the rest."""
        closing = [port.stopListening() for port in self._ports]
        self._ports.clear()
        stopping = [Deferred.fromCoroutine(site.stop(grace_s)) for site in self._sites]
        for each in (*closing, *stopping):
            if isinstance(each, Deferred):
                await each

    def _open(self, listener: Listener) -> None:
        gate = Gate(
            served(self._endpoints, listener.serves),
            self._access,
            self._limiter,
            self._clock,
            self._measures,
            self._in_thread,
            self._unavailable,
        )
        site = Site(gate, self._clock, self._sockets, self._measures, self._proxies)
        tls = None if listener.tls is None else TlsFiles(listener.tls.certificate, listener.tls.private_key)
        self._ports.append(listen(self._reactor, site, listener.bind, listener.port, tls))
        self._sites.append(site)
        log.info("listening", bind=listener.bind, port=listener.port, tls=tls is not None, serves=listener.serves)


def pool_of(reactor: object) -> InThread:
    """Runs functions in the reactor's thread pool."""
    pool = cast(Any, reactor).getThreadPool

    def in_thread(function: object, *arguments: object) -> Deferred[bytes]:
        return cast("Deferred[bytes]", deferToThreadPool(cast(Any, reactor), pool(), cast(Any, function), *arguments))

    return in_thread
