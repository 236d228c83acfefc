"""Which addresses may be reached."""

from __future__ import annotations

import pytest

from federation.outbound.addresses import AddressRules

PUBLIC = [
    "1.1.1.1",
    "9.9.9.9",
    "2606:4700::1111",
    "2a00:1450:4001::8a",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
    "2002:101:101::1",
]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:c0a8:101",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00::1%eth0",
    "ff02::1",
    "2001:db8::1",
    "2001::1",
    "::ffff:0.0.0.0",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "",
    "example.org",
    "1.2.3",
    "0x7f.1",
    "127.1",
    "127.0.0.1 ",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert AddressRules().may_reach(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_may_be_reached_only_where_the_admin_says_so(address: str) -> None:
    assert not AddressRules().may_reach(address)
    assert AddressRules(allow_private=True).may_reach(address)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_reached(address: str) -> None:
    assert not AddressRules().may_reach(address)
    assert not AddressRules(allow_private=True).may_reach(address)


def test_the_neighbours_of_private_ranges_are_public() -> None:
    edges = [
        "9.255.255.255",
        "11.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
    ]
    assert [address for address in edges if not AddressRules().may_reach(address)] == []
