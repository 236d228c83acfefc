"""Where a server is: the steps of discovery as a generator of questions, so that it runs on DNS and on a table alike.

Specification: server-server API, "Resolving server names". Yields `AskWellKnown` and `AskSrv`; what is sent in answers
the question; returns the `Route`. Addresses of the hosts in a route are looked up when a connection is made.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from homeserver.core.ids import InvalidId, parse_server_name

DEFAULT_PORT: Final = 8448
HIGHEST_PORT: Final = 65_535

_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


class NoService(Exception):
    """The server name leads nowhere; the text says why."""


class SrvRecord(msgspec.Struct, frozen=True, order=True):
    """What an SRV record says (RFC 2782)."""

    priority: int
    weight: int
    port: int
    host: str


class Route(msgspec.Struct, frozen=True):
    """How to reach a server: where to connect to, which certificate to expect, which Host header to send."""

    host_header: str
    tls_name: str
    targets: tuple[SrvRecord, ...]

    @classmethod
    def direct(cls, host_header: str, tls_name: str, port: int) -> Route:
        """A route to one host, which must show a certificate for its own name."""
        return cls(host_header, tls_name, (SrvRecord(0, 0, port, tls_name),))


@dataclass(frozen=True, slots=True)
class AskWellKnown:
    """What does https://HOSTNAME/.well-known/matrix/server delegate to? Answer: the m.server text; None: no answer."""

    hostname: str


@dataclass(frozen=True, slots=True)
class AskSrv:
    """Which SRV records are there at this name? Answer: the records; none where there are none."""

    name: str


Question: TypeAlias = AskWellKnown | AskSrv
Answer: TypeAlias = str | None | Sequence[SrvRecord]


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The parts of a server name."""

    host: str  # an IPv6 address without its brackets
    port: int | None
    is_ip: bool


def split_server_name(server_name: str) -> ServerAddress:
    """Host and port of a server name; InvalidId for what cannot be reached under any circumstances."""
    parse_server_name(server_name)
    if server_name.startswith("["):
        host, _, rest = server_name[1:].partition("]")
        port_text = rest[1:]
    else:
        host, _, port_text = server_name.partition(":")
    port = int(port_text) if port_text else None
    if port is not None and not 1 <= port <= HIGHEST_PORT:
        raise InvalidId(f"{server_name!r} has no valid port")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.removesuffix(".").split(".")
        if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
            raise InvalidId(f"{server_name!r} has no valid host name") from None
        return ServerAddress(host, port, is_ip=False)
    return ServerAddress(host, port, is_ip=True)


def discover(server_name: str) -> Generator[Question, Answer, Route]:
    """The route to a server. Raises NoService; step numbers are those of the specification."""
    try:
        address = split_server_name(server_name)
    except InvalidId as error:
        raise NoService(str(error)) from None
    if address.is_ip or address.port is not None:  # steps 1 and 2
        return Route.direct(server_name, address.host, address.port or DEFAULT_PORT)
    delegated = yield AskWellKnown(address.host)
    if isinstance(delegated, str):  # step 3
        try:
            address = split_server_name(delegated)
        except InvalidId:
            return (yield from _by_srv(address.host))  # an invalid response counts as none
        if address.is_ip or address.port is not None:  # steps 3.1 and 3.2
            return Route.direct(delegated, address.host, address.port or DEFAULT_PORT)
    return (yield from _by_srv(address.host))  # steps 3.3 to 3.5, or 4 to 6


def _by_srv(hostname: str) -> Generator[Question, Answer, Route]:
    """SRV records, the registered service name before the deprecated one, and else the host itself."""
    for service in ("_matrix-fed", "_matrix"):
        records = yield AskSrv(f"{service}._tcp.{hostname}")
        if records and not isinstance(records, str):
            targets = tuple(sorted(record for record in records if record.host not in ("", ".") and record.port))
            if not targets:
                # RFC 2782: a target of "." says that the service is decidedly not offered.
                raise NoService(f"the DNS of {hostname} says that no homeserver is there")
            return Route(hostname, hostname, targets)
    return Route.direct(hostname, hostname, DEFAULT_PORT)


def in_order(targets: Iterable[SrvRecord], random: Callable[[], float]) -> list[SrvRecord]:
    """The order in which to try: by priority, and by chance according to the weights within one (RFC 2782)."""
    ordered: list[SrvRecord] = []
    waiting = sorted(targets)
    while waiting:
        equals = [each for each in waiting if each.priority == waiting[0].priority]
        mark = random() * sum(each.weight for each in equals)
        chosen = equals[-1]
        for each in equals:
            mark -= each.weight
            if mark < 0:
                chosen = each
                break
        waiting.remove(chosen)
        ordered.append(chosen)
    return ordered
