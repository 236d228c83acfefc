"""TLS towards other servers: which authorities are trusted, and which name a certificate must be for."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Final

import structlog
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

log: Final = structlog.get_logger("federation.tls")


class BadTrust(Exception):
    """The file with further authorities cannot be used; the text says why."""


class TlsTrust:
    """One context for all connections (loading the authorities for each would take tens of milliseconds)."""

    def __init__(self, *, verify: bool = True, ca_file: Path | None = None) -> None:
        self.verify = verify
        options = ssl.CertificateOptions(
            trustRoot=_platform_trust() if verify else None,
            raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
            acceptableProtocols=[b"http/1.1"],
        )
        self._context: SSL.Context = options.getContext()
        if verify and ca_file is not None:
            try:
                self._context.load_verify_locations(str(ca_file))
            except SSL.Error as error:
                raise BadTrust(f"federation.ca_file: {ca_file} holds no certificates that can be read") from error

    def creator(self, name: str) -> Any:
        """What makes TLS connections to the holder of a certificate for this host name or IP address."""
        return _Creator(self._context, name, self.verify)


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    def __init__(self, context: SSL.Context, name: str, verify: bool) -> None:
        self._context = context
        self._verify = verify
        self._name = name.removesuffix(".")
        try:
            ipaddress.ip_address(name)
            self._is_ip = True
        except ValueError:
            self._is_ip = False

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """A connection that fails its handshake unless the certificate is for the name."""
        connection = SSL.Connection(self._context, None)
        if not self._is_ip:  # server-server API, "TLS": no SNI for IP addresses
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        if self._verify:
            expected = IPAddress_ID(self._name) if self._is_ip else DNS_ID(self._name)
            connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _Check(protocol, expected))
        else:
            connection.set_verify(SSL.VERIFY_NONE, lambda *_: True)
        return connection


class _Check:
    """OpenSSL has judged the chain; the name of the certificate at its end is for us to compare."""

    def __init__(self, protocol: Any, expected: DNS_ID | IPAddress_ID) -> None:
        self._protocol = protocol
        self._expected = expected

    def __call__(self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
        if depth != 0 or not ok:
            return bool(ok)
        try:
            verify_service_identity(extract_patterns(certificate.to_cryptography()), [self._expected], [])
        except VerificationError as error_found:
            self._protocol.failVerification(Failure(error_found))  # type: ignore[no-untyped-call]  # Twisted has no types here
            return False
        except Exception:  # nobody sees what is raised into OpenSSL
            log.exception("a certificate could not be read")
            return False
        finally:
            self._protocol = None
        return True


def _platform_trust() -> Any:
    return ssl.platformTrust()  # type: ignore[no-untyped-call]  # Twisted has no types here
