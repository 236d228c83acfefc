"""TLS between a TCP connection and a protocol, on either side of it.

Python's own `ssl` on buffers in memory, in place of Twisted's layer with pyOpenSSL. What is written leaves at once, and
what has arrived is read without asking in vain: of what a small request and its answer took, that saves a tenth.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterable
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IProducer, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from homeserver.web.transport import write_now

READ_BYTES: Final = 64 * 1024


@implementer(ITransport)
class TlsLayer(Protocol):
    """The TLS of one connection. It is the transport of the protocol above, from when TCP is there.

    A client says which name the certificate of the other side must be for. `context` judges it.
    """

    def __init__(self, context: ssl.SSLContext, above: Any, *, is_server: bool = False, name: str = "") -> None:
        self.above = above
        self._received = ssl.MemoryBIO()
        self._to_send = ssl.MemoryBIO()
        # As bytes: in a text Python would look for what is not ASCII. To an IP address it sends no SNI, as it must be
        # (server-server API, "TLS").
        expected = None if is_server else name.encode("ascii")
        self._ssl = context.wrap_bio(self._received, self._to_send, is_server, server_hostname=expected)
        self._is_open = False
        self._is_closing = False
        self._early: list[bytes] = []
        """What was written before TLS was agreed on."""
        self._failed: ssl.SSLError | Failure | None = None
        self._waiting: Deferred[None] | None = None

    def when_open(self) -> Deferred[None]:
        """Fires when TLS is agreed on; fails with ssl.SSLError, or with the reason why the connection was lost."""
        if self._is_open:
            return succeed(None)
        if self._failed is not None:
            return fail(self._failed)
        waiting = self._waiting = Deferred[None](lambda _: self.abortConnection())
        return waiting

    # What the TCP connection calls.

    def connectionMade(self) -> None:
        """TCP is there."""
        self.above.makeConnection(self)
        self._shake_hands()

    def dataReceived(self, data: bytes) -> None:
        """Bytes have arrived."""
        self._received.write(data)
        if self._is_open or self._shake_hands():
            self._read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """TCP has ended."""
        self._is_closing = True
        self._fail(reason)
        self.above.connectionLost(reason)

    # What the protocol above calls.

    def write(self, data: bytes) -> None:
        """Send; nothing, once the connection is closed from either side."""
        if self._is_closing:
            return
        if not self._is_open:
            self._early.append(data)
            return
        left = memoryview(data)
        while left:
            left = left[self._ssl.write(left) :]
        self._flush()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Say goodbye and close, once all that was written is sent."""
        if self._is_open and not self._is_closing:
            with contextlib.suppress(ssl.SSLError):  # the other side need not say goodbye too
                self._ssl.unwrap()
            self._flush()
        self._is_closing = True
        self._tcp.loseConnection()

    def abortConnection(self) -> None:
        """Close at once."""
        self._is_closing = True
        self._tcp.abortConnection()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Have the producer paused while TCP does not take more: nothing else is held back here."""
        self._tcp.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Nobody is to be paused any more."""
        self._tcp.unregisterProducer()

    def pauseProducing(self) -> None:
        """Read no further for now."""
        self._tcp.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self._tcp.resumeProducing()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Whether small pieces are sent at once."""
        self._tcp.setTcpNoDelay(enabled)

    def getPeer(self) -> IAddress:
        """The address of the other side."""
        return cast(IAddress, self._tcp.getPeer())

    def getHost(self) -> IAddress:
        """The address of this side."""
        return cast(IAddress, self._tcp.getHost())

    # TLS.

    @property
    def _tcp(self) -> Any:
        return self.transport

    def _shake_hands(self) -> bool:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()  # it tells the other side why
            self._fail(error)
            self._tcp.loseConnection()
            return False
        self._is_open = True
        self._flush()
        early, self._early = self._early, []
        for data in early:
            self.write(data)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)
        return True

    def _fail(self, reason: ssl.SSLError | Failure) -> None:
        if self._failed is None:
            self._failed = reason
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.errback(reason)

    def _read(self) -> None:
        try:
            while not self._is_closing and (self._received.pending or self._ssl.pending()):
                data = self._ssl.read(READ_BYTES)
                if not data:
                    self.loseConnection()  # the other side has said goodbye
                    break
                self.above.dataReceived(data)
        except ssl.SSLWantReadError:
            pass  # the rest of a record is still to come
        except ssl.SSLError:
            self.abortConnection()
        self._flush()

    def _flush(self) -> None:
        if self._to_send.pending:
            write_now(self._tcp, self._to_send.read())
