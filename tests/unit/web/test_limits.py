"""Rate limits at the door."""

from __future__ import annotations

import pytest

from homeserver.core.rate import Limit
from homeserver.runtime.clock import FakeClock
from homeserver.web.errors import LimitExceeded
from homeserver.web.limits import Limiter, address_key

LIMITS = {"login": Limit(per_second=1, burst=2), "message": Limit(per_second=100, burst=1)}


def test_what_is_left_after_a_burst_comes_with_time() -> None:
    clock = FakeClock()
    limiter = Limiter(clock, limits=LIMITS)
    limiter.spend("login", "a")
    limiter.spend("login", "a")
    with pytest.raises(LimitExceeded) as caught:
        limiter.spend("login", "a")
    assert caught.value.extra == {"retry_after_ms": 1000}
    assert caught.value.headers == {"Retry-After": "1"}
    assert caught.value.status == 429
    clock.advance(1)
    limiter.spend("login", "a")


def test_users_and_classes_do_not_count_against_each_other() -> None:
    limiter = Limiter(FakeClock(), limits=LIMITS)
    for who in ("a", "b"):
        limiter.spend("login", who)
        limiter.spend("login", who)
        limiter.spend("message", who)
        with pytest.raises(LimitExceeded):
            limiter.spend("message", who)


def test_turned_off_there_is_no_limit() -> None:
    limiter = Limiter(FakeClock(), enabled=False, limits=LIMITS)
    for _ in range(100):
        limiter.spend("login", "a")


def test_a_flood_of_addresses_takes_no_more_memory_than_agreed() -> None:
    limiter = Limiter(FakeClock(), limits=LIMITS, max_buckets=10)
    for number in range(1000):
        limiter.spend("message", str(number))
    assert len(limiter._buckets) == 10


def test_a_customers_ipv6_addresses_count_as_one() -> None:
    assert address_key("2001:db8:1:2:3:4:5:6") == address_key("2001:db8:1:2::9") != address_key("2001:db8:1:3::9")
    assert address_key("192.0.2.1") == "192.0.2.1"
    assert address_key("fe80::1%eth0") == "fe80::/64"
    assert address_key("") == ""
