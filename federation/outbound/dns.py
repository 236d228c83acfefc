"""Questions to the DNS: addresses as this machine resolves names (hosts file included), and SRV records."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, DeferredSemaphore, TimeoutError
from twisted.internet.error import BindError, ConnectError
from twisted.names import client, dns
from twisted.names.error import DNSNameError, DomainError, ResolverError

from homeserver.core.discovery import SrvRecord

LOOKUP_THREADS: Final = 16
SRV_TIMEOUTS_S: Final = (2.0, 4.0)
"""How long to wait for an answer, and, asked again, for another."""
ABSENT_FOR_S: Final = 300
FAILED_FOR_S: Final = 60
LONGEST_FOR_S: Final = 24 * 3600
SHORTEST_FOR_S: Final = 30


class NoAddress(Exception):
    """A host name has no address; the text says why."""


@dataclass(frozen=True, slots=True)
class SrvAnswer:
    """SRV records, and for how long they hold. A DNS that fails counts as one without records, for a short time."""

    records: tuple[SrvRecord, ...]
    valid_for_s: int


class Dns(Protocol):
    """What discovery asks."""

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of a host, the preferred ones first. Raises NoAddress."""
        ...

    async def srv(self, name: str) -> SrvAnswer:
        """The SRV records at a name."""
        ...


class SystemDns:
    """The DNS of this machine. `srv_servers` are name servers for SRV records instead of those in resolv.conf."""

    def __init__(
        self,
        reactor: Any,
        srv_servers: Sequence[tuple[str, int]] = (),
        srv_timeouts_s: Sequence[float] = SRV_TIMEOUTS_S,
    ) -> None:
        self._reactor = reactor
        self._turns = DeferredSemaphore(LOOKUP_THREADS)
        self._resolver: Any = client.Resolver(  # type: ignore[no-untyped-call]  # Twisted has no types here
            resolv=None if srv_servers else "/etc/resolv.conf",
            servers=list(srv_servers),
            timeout=srv_timeouts_s,
            reactor=reactor,
        )

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of a host, in the order that the system's resolver prefers (RFC 6724)."""
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            return await self._look_up_in_thread(host)

    async def _look_up_in_thread(self, host: str) -> list[str]:
        await self._turns.acquire()
        found: Deferred[list[str]] = Deferred()
        # A thread of its own, which nobody has to wait for at the stop: a look-up can take half a minute, and cannot
        # be ended. Its turn is over when it is, whether or not somebody still waits for the answer.
        threading.Thread(target=self._look_up, args=(host, found), name="dns", daemon=True).start()
        return await found

    async def srv(self, name: str) -> SrvAnswer:
        """The SRV records at a name."""
        try:
            answers, _, _ = await self._resolver.lookupService(name)
        except DNSNameError:
            return SrvAnswer((), ABSENT_FOR_S)
        except (DomainError, ResolverError, TimeoutError, ConnectError, BindError, OSError, ValueError, EOFError):
            # Broken name servers are common, and a host that has none of these records works without them. TLS
            # makes sure that nobody gains by suppressing them.
            return SrvAnswer((), FAILED_FOR_S)
        found = [(answer.ttl, answer.payload) for answer in answers if answer.type == dns.SRV]
        if not found:
            return SrvAnswer((), ABSENT_FOR_S)
        records = tuple(
            SrvRecord(record.priority, record.weight, record.port, record.target.name.decode("ascii", "replace"))
            for _, record in found
        )
        return SrvAnswer(records, max(SHORTEST_FOR_S, min(LONGEST_FOR_S, *(ttl or 0 for ttl, _ in found))))

    def _look_up(self, host: str, found: Deferred[list[str]]) -> None:
        try:
            result: list[str] | Exception = look_up(host)
        except Exception as error:  # noqa: BLE001 -- handed to the one who waits
            result = error
        self._reactor.callFromThread(self._hand_back, found, result)

    def _hand_back(self, found: Deferred[list[str]], result: list[str] | Exception) -> None:
        self._turns.release()
        if found.called:  # nobody waits any more
            return
        if isinstance(result, Exception):
            found.errback(result)
        else:
            found.callback(result)


def look_up(host: str) -> list[str]:
    """The addresses of a host, as the system's resolver finds them. Takes its time. Raises NoAddress."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "it is no host name"
        raise NoAddress(f"the name {host} has no address: {reason}") from None
    # A zone ("fe80::1%eth0") stays in the text, so that the check of addresses sees and refuses it.
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))
