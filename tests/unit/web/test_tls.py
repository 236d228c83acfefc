"""TLS on both sides of a connection that is only in memory."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import StringTransport

from bench.authority import HOST, Authority
from homeserver.web.tls import TlsLayer
from tests.unit.deferreds import result_of


class Listening(Protocol):
    """Keeps what it hears, and may hang up as soon as it hears something."""

    def __init__(self, last_words: bytes | None = None) -> None:
        self.heard: list[bytes] = []
        self._last_words = last_words

    def dataReceived(self, data: bytes) -> None:
        """Bytes, as they were before TLS."""
        self.heard.append(data)
        wire: Any = self.transport
        if self._last_words is not None:
            wire.write(self._last_words)
            wire.loseConnection()


class Wire:
    """A client and a server, and the bytes between them."""

    def __init__(self, authority: Authority, name: str = HOST, last_words: bytes | None = None) -> None:
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(authority.certificate, authority.private_key)
        asking = ssl.create_default_context(cafile=authority.file)
        self.client: Any = TlsLayer(asking, Listening(), name=name)
        self.server: Any = TlsLayer(serving, Listening(last_words), is_server=True)
        make: Any = StringTransport
        self.ends: tuple[Any, Any] = (make(), make())
        self.layers = self._on_wires(self.client, self.server)

    def _on_wires(self, *layers: Any) -> tuple[Any, ...]:
        for layer, end in zip(layers, self.ends, strict=True):
            layer.makeConnection(end)
        return layers

    def carry(self) -> None:
        """Bring everything over, in both directions, until both are silent."""
        while any(end.value() for end in self.ends):
            for side in (0, 1):
                data = self.ends[side].value()
                self.ends[side].clear()
                if data and not self.ends[1 - side].disconnected:
                    self.layers[1 - side].dataReceived(data)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom both trust."""
    return Authority(Path(tmp_path_factory.mktemp("authority")))


def test_what_is_written_before_tls_is_agreed_on_arrives_too(authority: Authority) -> None:
    wire = Wire(authority)
    opened = wire.client.when_open()
    wire.client.write(b"early")
    wire.carry()
    assert result_of(opened) is None
    wire.client.write(b"late")
    wire.server.write(b"x" * 200_000)
    wire.carry()
    assert b"".join(wire.server.above.heard) == b"earlylate"
    assert b"".join(wire.client.above.heard) == b"x" * 200_000
    assert b"early" not in wire.ends[0].value()


def test_a_certificate_for_another_name_opens_nothing(authority: Authority) -> None:
    wire = Wire(authority, name="elsewhere.example")
    opened = wire.client.when_open()
    wire.client.write(b"a secret")
    wire.carry()
    assert isinstance(result_of(opened), ssl.SSLCertVerificationError)
    assert wire.server.above.heard == []


def test_last_words_arrive_although_more_was_asked(authority: Authority) -> None:
    wire = Wire(authority, last_words=b"bye")
    wire.carry()
    wire.client.write(b"first")
    wire.client.write(b"second")
    wire.carry()
    assert wire.server.above.heard == [b"first"]
    assert wire.client.above.heard == [b"bye"]
    assert wire.ends[1].disconnecting
    assert not wire.ends[1].disconnected


def test_writing_to_a_connection_that_is_closed_does_nothing(authority: Authority) -> None:
    wire = Wire(authority)
    wire.carry()
    wire.server.loseConnection()
    wire.server.write(b"too late")
    wire.carry()
    wire.client.write(b"nobody there")
    wire.client.connectionLost(connectionDone)
    wire.client.write(b"nobody there")
    assert wire.client.above.heard == []
    assert wire.server.above.heard == []


def test_what_is_no_tls_ends_the_connection(authority: Authority) -> None:
    wire = Wire(authority)
    wire.carry()
    wire.server.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    assert wire.ends[1].disconnected
    assert wire.server.above.heard == []
