"""TLS towards other servers: which authorities are trusted, and which name a certificate must be for."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final

from homeserver.web.tls import TlsLayer

NAME_MISMATCHES: Final = frozenset({62, 63, 64})
"""OpenSSL's codes for a certificate of another host, e-mail address, IP address."""
AUTHORITIES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep their authorities, for a Python that was not built for the one that it runs on."""


class BadTrust(Exception):
    """The file with further authorities cannot be used; the text says why."""


class TlsTrust:
    """One context for all connections (loading the authorities for each would take tens of milliseconds)."""

    def __init__(self, *, verify: bool = True, ca_file: Path | None = None) -> None:
        self.verify = verify
        # No protocols are offered (ALPN): servers on Twisted that expect none break off when they see an offer.
        context = self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hostname_checks_common_name = False
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return
        _load_authorities(context)
        if ca_file is not None:
            try:
                context.load_verify_locations(str(ca_file))
            except (ssl.SSLError, OSError) as error:
                raise BadTrust(f"federation.ca_file: {ca_file} holds no certificates that can be read") from error

    def layer(self, name: str, above: Any) -> TlsLayer:
        """TLS to the holder of a certificate for this host name or IP address, below a protocol."""
        return TlsLayer(self._context, above, name=name.removesuffix("."))


def describe(error: ssl.SSLError) -> str:
    """Why there is no TLS, in words for an admin."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in NAME_MISMATCHES:
            return "its certificate is for another name"
        return f"TLS failed: {error.verify_message}"
    return f"TLS failed: {error.reason or error}"


def _load_authorities(context: ssl.SSLContext) -> None:
    context.load_default_certs()
    known = ssl.get_default_verify_paths()
    if not (known.cafile or known.capath):
        for file in AUTHORITIES:
            if Path(file).is_file():
                context.load_verify_locations(file)
                return
