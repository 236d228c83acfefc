"""A little internet for tests: names, public addresses, certificates of an authority of its own, peers that speak HTTP.

Addresses are dialled through `Wires`, which lead every (address, port) to a real port of this machine and remember
what was dialled. So the rules about addresses are those of production, and nothing leaves the machine.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import ssl
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from federation.outbound.dns import NoAddress, SrvAnswer
from homeserver.core.discovery import SrvRecord
from homeserver.runtime.clock import ReactorClock


class Authority:
    """Makes certificates."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of the tests")])
        certificate = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        self.file = folder / "authority.pem"
        made = certificate.sign(self._key, hashes.SHA256())
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def server_context(self, *names: str) -> Any:
        """TLS of a server with a certificate for these names or addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = self._builder(subject, key).add_extension(x509.SubjectAlternativeName(alternatives), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return cast(Any, ssl.CertificateOptions)(privateKey=key, certificate=certificate)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )


class Wires:
    """A reactor whose TCP connections lead where the test says."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ends: dict[tuple[str, int], int] = {}
        self.dialled: list[tuple[str, int]] = []

    def lay(self, address: str, port: int, real_port: int) -> None:
        """Connections to this address and port reach that port of this machine."""
        self._ends[address, port] = real_port

    def connectTCP(self, host: str, port: int, *arguments: Any, **named: Any) -> Any:
        """What Twisted's endpoints call."""
        self.dialled.append((host, port))
        end = self._ends.get((host, port), 1)  # nothing listens on port 1: refused
        return self._reactor.connectTCP("127.0.0.1", end, *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


class Names:
    """A DNS that says what the test has put in. Several lists for a name: one answer after the other."""

    def __init__(self) -> None:
        self.addresses_of: dict[str, list[Sequence[str]]] = {}
        self.records: dict[str, Sequence[SrvRecord]] = {}
        self.srv_asked: list[str] = []

    async def addresses(self, host: str) -> Sequence[str]:
        """The next answer; the last one stays."""
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            answers = self.addresses_of.get(host)
        if not answers:
            raise NoAddress(f"the name {host} has no address: it is unknown")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def srv(self, name: str) -> SrvAnswer:
        """The records."""
        self.srv_asked.append(name)
        return SrvAnswer(tuple(self.records.get(name, ())), 300)


class MovableClock(ReactorClock):
    """The real time, but for the date, which a test can move."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.ahead_ms = 0

    def now_ms(self) -> int:
        """The date."""
        return super().now_ms() + self.ahead_ms


class Asked:
    """A request that has arrived."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = first.split(" ")
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.body = body


Script = Callable[[Asked, "Connection"], bytes | None]
"""What a peer does with a request: bytes are sent as they are; with None the script uses the connection itself."""


class Connection(Protocol):
    """One connection to a peer."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._received = b""

    def connectionMade(self) -> None:
        self.peer.connections.append(self)
        self.peer.open.add(self)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            length = Asked(head, b"").headers.get("content-length", "0")
            if len(rest) < int(length):
                return
            asked = Asked(head, rest[: int(length)])
            self._received = rest[int(length) :]
            self.peer.asked.append(asked)
            answer = self.peer.script(asked, self)
            if answer is not None:
                self.send(answer)

    def connectionLost(self, reason: Any = None) -> None:
        self.peer.open.discard(self)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.wire.write(data)

    def flood(self) -> None:
        """Send without end, as fast as it is taken."""
        if self in self.peer.open:
            # Small enough never to outrun a reader by much: the next piece goes when this one is under way.
            self.send(b"x" * 16_384)
            self.peer.reactor.callLater(0, self.flood)

    def close(self) -> None:
        """End the connection."""
        self.wire.loseConnection()

    def abort(self) -> None:
        """End the connection without a word."""
        self.wire.abortConnection()

    @property
    def wire(self) -> Any:
        """The transport."""
        return self.transport


class Peer:
    """A server of the test's own, that answers as its script says."""

    def __init__(self, reactor: Any, script: Script, context: Any) -> None:
        self.script = script
        self.reactor = reactor
        self.asked: list[Asked] = []
        self.connections: list[Connection] = []
        self.open: set[Connection] = set()
        factory: Any = Factory.forProtocol(lambda: Connection(self))
        tls = TLSMemoryBIOFactory(context, False, factory, reactor)
        self._port = reactor.listenTCP(0, tls, interface="127.0.0.1")
        self.port: int = self._port.getHost().port

    async def stop(self) -> None:
        """Close everything."""
        await self._port.stopListening()
        for connection in list(self.open):
            connection.abort()


def answer(body: bytes, status: int = 200, **headers: str) -> bytes:
    """A response."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
