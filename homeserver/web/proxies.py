"""Who is on the other side, where a reverse proxy stands between."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

DEFAULT_TRUSTED: Final = (
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
    "fe80::/10",
)


class TrustedProxies:
    """Believes X-Forwarded-For only from proxies in these networks; by default loopback and private ones.

    The header is read from its end: each proxy appends whom it heard, so that the last address that is not itself a
    trusted proxy is the client; whatever stands before it may be the client's invention.
    """

    def __init__(self, networks: Sequence[str] = DEFAULT_TRUSTED) -> None:
        self._networks = tuple(ipaddress.ip_network(each) for each in networks)

    def trusts(self, ip: str) -> bool:
        """Whether a proxy may be at this address. An empty one is a Unix socket, which only this machine has."""
        if not ip:
            return True
        try:
            address = ipaddress.ip_address(ip.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def client(self, peer: str, forwarded_for: str) -> str:
        """The client's address, given the trusted peer and its X-Forwarded-For."""
        client = peer
        for each in reversed(forwarded_for.split(",")):
            candidate = _address(each.strip())
            if candidate is None:
                break
            client = candidate
            if not self.trusts(candidate):
                break
        return client


def _address(text: str) -> str | None:
    """An address as proxies write it: bare, in brackets, or with a port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
