"""Opening the listeners: TCP, with TLS or without, and Unix sockets."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

import structlog
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory

from homeserver.web.tls import TlsLayer

BACKLOG: Final = 1024

log: Final = structlog.get_logger("homeserver.web")


class ListenFailed(Exception):
    """The listener cannot be opened; the message says why."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate (with the chain behind it) and its key, as PEM files."""

    certificate: Path
    private_key: Path


class Port(Protocol):
    """An open listener."""

    def getHost(self) -> object:
        """Its address."""
        ...

    def stopListening(self) -> object:
        """Close it; maybe a Deferred."""
        ...


class ListeningReactor(Protocol):
    """The part of a reactor that we use here. (zope's interfaces carry no usable types.)"""

    def listenTCP(self, port: int, factory: Any, backlog: int = ..., interface: str = ...) -> Port: ...

    def listenUNIX(self, address: str, factory: Any, backlog: int = ..., mode: int = ...) -> Port: ...


class TlsContext:
    """Gives each new connection the certificate that is in the files now, so that a renewed one needs no restart."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._context, self._stamp = self._load(), self._stamp_now()

    def now(self) -> ssl.SSLContext:
        """For one connection."""
        try:
            stamp = self._stamp_now()
            if stamp != self._stamp:
                self._context, self._stamp = self._load(), stamp
        except (OSError, ListenFailed) as error:
            # In the middle of a renewal, perhaps: the certificate that we have still works.
            log.warning("certificate not read anew", reason=str(error))
        return self._context

    def _stamp_now(self) -> tuple[int, int]:
        return os.stat(self._files.certificate).st_mtime_ns, os.stat(self._files.private_key).st_mtime_ns

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._files.certificate, self._files.private_key, password=_no_password)
        except (OSError, ValueError) as error:
            raise ListenFailed(
                f"the TLS certificate {self._files.certificate} with key {self._files.private_key} "
                f"cannot be used: {error or type(error).__name__}"
            ) from error
        return context


class _Secured(ServerFactory):
    """Makes the protocols of another factory, each with TLS below."""

    noisy = False

    def __init__(self, factory: ServerFactory, context: TlsContext) -> None:
        self._factory = factory
        self._context = context

    def doStart(self) -> None:
        self._factory.doStart()  # type: ignore[no-untyped-call]  # Twisted has no types here

    def doStop(self) -> None:
        self._factory.doStop()  # type: ignore[no-untyped-call]  # as above

    def buildProtocol(self, addr: IAddress | None) -> TlsLayer | None:
        above = self._factory.buildProtocol(addr)
        return None if above is None else TlsLayer(self._context.now(), above, is_server=True)


def listen(reactor: object, factory: ServerFactory, bind: str, port: int, tls: TlsFiles | None = None) -> Port:
    """Open a listener; `bind` is an address, or the path of a Unix socket. Raises ListenFailed."""
    listening = cast(ListeningReactor, reactor)
    try:
        if bind.startswith("/"):
            return listening.listenUNIX(bind, factory, backlog=BACKLOG, mode=0o660)
        if tls is not None:
            factory = _Secured(factory, TlsContext(tls))
        return listening.listenTCP(port, factory, backlog=BACKLOG, interface=bind)
    except Exception as error:
        if isinstance(error, ListenFailed):
            raise
        raise ListenFailed(f"cannot listen on {bind} port {port}: {error}") from error


def _no_password() -> str:
    # Otherwise OpenSSL asks whoever started the server at the terminal.
    raise ValueError("the key is protected by a password; store it without one")
