"""Which addresses requests of this server may go to.

Names that others give us (servers, push gateways, pages to preview) must not lead into our own network. The check is
made on the address that is then connected to, so a name that changes its address in between gains nothing.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Loopback, private and shared ranges: allowed where the admin says so.
_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
# No homeserver is there in any network: unspecified, link-local (the metadata of clouds), protocol assignments,
# documentation, benchmarks, multicast, reserved.
_NEVER: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/128", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16"),
        *("fe80::/10", "fec0::/10", "ff00::/8"),
    )
)  # fmt: skip
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Whether loopback and private addresses may be reached, as the admin decided."""

    allow_private: bool = False

    def may_reach(self, address: str) -> bool:
        """Whether a connection may be made to this address (as text, without a zone)."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return all(self._may_reach(each) for each in _with_embedded(parsed))

    def _may_reach(self, address: Address) -> bool:
        if any(address in network for network in _NEVER if network.version == address.version):
            return False
        if any(address in network for network in _PRIVATE if network.version == address.version):
            return self.allow_private
        return address.is_global and not address.is_multicast


def _with_embedded(address: Address) -> tuple[Address, ...]:
    """The addresses to judge: for an IPv6 address that only wraps an IPv4 address, the one that is meant."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.scope_id is not None:
        return (ipaddress.IPv6Address("fe80::"),)  # a zone belongs to link-local addresses
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if any(address in network for network in _NAT64):
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    if address in _COMPATIBLE and int(address) > 1:
        return (ipaddress.IPv4Address(int(address)),)
    return (address,)
