"""X-Forwarded-For is believed only where it comes from a proxy."""

from __future__ import annotations

import pytest

from homeserver.web.proxies import TrustedProxies


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("172.32.0.1", False),
        ("::ffff:192.168.1.1", True),
        ("fe80::1%eth0", True),
        ("203.0.113.9", False),
        ("2001:db8::1", False),
        ("", True),
        ("nonsense", False),
    ],
)
def test_loopback_and_private_addresses_may_be_proxies(peer: str, trusted: bool) -> None:
    assert TrustedProxies().trusts(peer) is trusted


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("203.0.113.9:1234", "203.0.113.9"),
        ("2001:DB8::1", "2001:db8::1"),
        ("unknown", "127.0.0.1"),
        ("1.1.1.1, unknown, 10.0.0.2", "10.0.0.2"),
        ("", "127.0.0.1"),
    ],
)
def test_the_last_address_that_is_no_proxy_is_the_client(forwarded_for: str, client: str) -> None:
    assert TrustedProxies().client("127.0.0.1", forwarded_for) == client


def test_the_admin_says_who_may_be_a_proxy() -> None:
    proxies = TrustedProxies(["203.0.113.0/24"])
    assert proxies.trusts("203.0.113.9")
    assert not proxies.trusts("127.0.0.1")
