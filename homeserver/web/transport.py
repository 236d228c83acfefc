"""What we use of Twisted's transports, with types, and how much of what was written has not left yet."""

from __future__ import annotations

import array
import fcntl
import sys
import termios
from typing import Protocol, cast

from twisted.internet.interfaces import IAddress, IProducer
from twisted.internet.tcp import Client, Server


class Transport(Protocol):
    """A TCP, TLS or Unix connection. (zope's interfaces carry no usable types.)"""

    def write(self, data: bytes) -> None: ...

    def loseConnection(self) -> None: ...

    def abortConnection(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def registerProducer(self, producer: IProducer, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def getPeer(self) -> IAddress: ...


def write_now(transport: Transport, data: bytes) -> None:
    """Write; where nothing waits to be written before it, at once.

    Twisted's write leaves the data to the next turn of the reactor, at the price of two changes to what epoll watches.
    For answers that nearly always fit into the kernel's buffer that is a fifth of what a small request costs.
    """
    if isinstance(transport, (Client, Server)) and transport.connected and not transport.disconnecting:
        waits = transport.dataBuffer or transport._tempDataBuffer
        if not waits:
            try:
                sent = transport.socket.send(data)
            except OSError:
                # Full, or gone: the transport finds out by itself, and knows what to do then.
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
    transport.write(data)


def unsent_bytes(transport: object) -> int:
    """Bytes that wait in this process or in the kernel, because the other side has not taken them yet.

    Twisted tells when its buffer is full, not how full it is, so this looks at its buffers (tcp.Connection's, and
    those of TLS on top of it). The kernel's share is known on Linux only; elsewhere it counts as nothing.
    """
    waiting = 0
    below: object = transport
    while below is not None:
        waiting += len(getattr(below, "dataBuffer", b"")) - int(getattr(below, "offset", 0))
        waiting += int(getattr(below, "_tempDataLen", 0))
        waiting += sum(map(len, cast("list[bytes]", getattr(below, "_appSendBuffer", ()))))
        deeper = getattr(below, "transport", None)
        if deeper is None:
            waiting += _in_kernel(below)
        below = deeper
    return waiting


def _in_kernel(transport: object) -> int:
    fileno = getattr(transport, "fileno", None)
    if fileno is None or not sys.platform.startswith("linux"):
        return 0
    count = array.array("i", [0])
    try:
        # SIOCOUTQ has the number of TIOCOUTQ: bytes in the send queue that the peer has not acknowledged.
        fcntl.ioctl(fileno(), termios.TIOCOUTQ, count)
    except (OSError, ValueError):
        return 0
    return count[0]
