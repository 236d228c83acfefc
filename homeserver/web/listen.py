"""Opening the listeners: TCP, with TLS or without, and Unix sockets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

import structlog
from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.protocol import ServerFactory
from zope.interface import implementer

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

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = ..., interface: str = ...
    ) -> Port: ...

    def listenUNIX(self, address: str, factory: Any, backlog: int = ..., mode: int = ...) -> Port: ...


@implementer(IOpenSSLContextFactory)
class TlsContext:
    """Gives each new connection the certificate that is in the files now, so that a renewed one needs no restart."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._context, self._stamp = self._load(), self._stamp_now()

    def getContext(self) -> SSL.Context:
        """What Twisted calls for each connection."""
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

    def _load(self) -> SSL.Context:
        try:
            chain = _certificates(self._files.certificate.read_bytes())
            key = crypto.load_privatekey(crypto.FILETYPE_PEM, self._files.private_key.read_bytes())
            options = ssl.CertificateOptions(
                privateKey=key,
                certificate=chain[0],
                extraCertChain=chain[1:],
                raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
                acceptableProtocols=[b"http/1.1"],
            )
            context: SSL.Context = options.getContext()
        except (OSError, crypto.Error, SSL.Error, ValueError, IndexError) as error:
            raise ListenFailed(
                f"the TLS certificate {self._files.certificate} with key {self._files.private_key} "
                f"cannot be used: {error or type(error).__name__}"
            ) from error
        return context


def listen(reactor: object, factory: ServerFactory, bind: str, port: int, tls: TlsFiles | None = None) -> Port:
    """Open a listener; `bind` is an address, or the path of a Unix socket. Raises ListenFailed."""
    listening = cast(ListeningReactor, reactor)
    try:
        if bind.startswith("/"):
            return listening.listenUNIX(bind, factory, backlog=BACKLOG, mode=0o660)
        if tls is not None:
            return listening.listenSSL(port, factory, TlsContext(tls), backlog=BACKLOG, interface=bind)
        return listening.listenTCP(port, factory, backlog=BACKLOG, interface=bind)
    except Exception as error:
        if isinstance(error, ListenFailed):
            raise
        raise ListenFailed(f"cannot listen on {bind} port {port}: {error}") from error


def _certificates(pem: bytes) -> list[crypto.X509]:
    end = b"-----END CERTIFICATE-----"
    blocks = [block + end for block in pem.split(end)[:-1]]
    return [crypto.load_certificate(crypto.FILETYPE_PEM, block) for block in blocks]
