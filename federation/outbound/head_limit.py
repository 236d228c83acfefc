"""Ends connections of servers whose headers do not end. Twisted's client limits lines, but not their number."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory
from zope.interface import implementer

MAX_HEAD_BYTES: Final = 256 * 1024


class HeadLimited:
    """An endpoint for HTTP clients."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def connect(self, factory: Any) -> Deferred[Any]:
        """As the endpoint within does."""
        connected: Deferred[Any] = self._endpoint.connect(_Limiting(factory))
        return connected


@implementer(IProtocolFactory)
class _Limiting:
    """Makes the protocols of another factory, each with a meter in front."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()

    def buildProtocol(self, address: IAddress) -> Any:
        protocol = self._factory.buildProtocol(address)
        if protocol is not None:
            _Meter(protocol)
        return protocol


class _Meter:
    """Counts what arrives between a request and the end of the head of its response."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._receive = protocol.dataReceived
        self._request = protocol.request
        self._waiting = False
        self._bytes = 0
        protocol.dataReceived = self._data_received
        protocol.request = self._ask

    def _ask(self, request: Any) -> Deferred[Any]:
        self._waiting, self._bytes = True, 0

        def has_head(response: Any) -> Any:
            self._waiting = False
            return response

        asked: Deferred[Any] = self._request(request)
        return asked.addBoth(has_head)

    def _data_received(self, data: bytes) -> None:
        if self._waiting:
            self._bytes += len(data)
            if self._bytes > MAX_HEAD_BYTES:
                self._protocol.transport.abortConnection()
                return
        self._receive(data)
