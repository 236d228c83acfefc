"""Homeservers that speak to each other: TLS with certificates of an authority of the tests, names that are 127.0.0.1:PORT.

def test_a_message_crosses(pair: Pair) -> None:
    alice, bob = pair.first.cast("alice"), pair.second.cast("bob")
"""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cast import Actor, Cast, Device
from tests.integration.admin import free_port
from tests.servers import Myelin
from tests.wire import Json

HOST: Final = "127.0.0.1"


class TestAuthority:
    """Makes the certificates of test servers. `file` is its own."""

    __test__ = False

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="myelin-authority-"))
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of the tests")])
        builder = self._builder(self._name, self._key.public_key())
        certificate = builder.add_extension(x509.BasicConstraints(True, None), True).sign(self._key, hashes.SHA256())
        self.file = self.folder / "authority.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.tls = self._certificate()

    def remove(self) -> None:
        """Delete the files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _certificate(self) -> dict[str, Json]:
        """A certificate for this machine, as a listener's `tls`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST)), x509.DNSName("localhost")])
        builder = self._builder(subject, key.public_key()).add_extension(names, False)
        certificate = builder.sign(self._key, hashes.SHA256())
        files = {"certificate": self.folder / "server.crt", "private_key": self.folder / "server.key"}
        files["certificate"].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files["private_key"].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return {name: str(file) for name, file in files.items()}

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )


class Federated(Myelin):
    """A server that is part of the federation of a test, with people on it."""

    def __init__(self, dsn: str, authority: TestAuthority, **settings: Json) -> None:
        port, federation_port = free_port(), free_port()
        settings.setdefault("server_name", f"{HOST}:{federation_port}")
        settings.setdefault("public_baseurl", f"http://{HOST}:{port}/")
        settings.setdefault(
            "listeners",
            [
                {"bind": HOST, "port": port, "serves": ["client", "media", "admin"]},
                {"bind": HOST, "port": federation_port, "tls": authority.tls, "serves": ["federation", "media"]},
            ],
        )
        federation = {"ca_file": str(authority.file), "allow_private_addresses": True, "trusted_key_servers": []}
        settings["federation"] = {"enabled": True, **federation, **settings.get("federation", {})}
        super().__init__(dsn, port=port, **settings)

    def cast(self, name: str, devices: Sequence[str] = ("device",)) -> Actor:
        """Someone on this server whom no other test knows."""
        return Cast(self)(name, devices)


MakeFederated = Callable[..., Federated]
"""Makes and starts a server; its arguments are settings."""


EVERYTHING: Final = {"room": {"timeline": {"limit": 1000}}}
"""A filter for those who want to see all messages in the answers of /sync."""


def joins_through(who: Device, room: str, server: Federated) -> None:
    """Join a room through a server that is in it."""
    assert who.asks("POST", "join", room, body={}, via=server.server_name)["room_id"].startswith("!")
