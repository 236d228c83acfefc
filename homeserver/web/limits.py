"""Rate limits: how many requests of a class one user, or one address, may make.

Owns the buckets, in memory, bounded: under a flood of addresses the least recently seen are forgotten. The arithmetic
and the classes are those of `homeserver.core.rate`. Specification: client-server API, "Rate limiting".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

from homeserver.core.rate import LIMITS, Bucket, Limit, spend
from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru
from homeserver.web.errors import LimitExceeded

MAX_BUCKETS: Final = 50_000


class Limiter:
    """Takes requests out of buckets and refuses those for which nothing is left."""

    def __init__(
        self,
        clock: Clock,
        enabled: bool = True,
        limits: Mapping[str, Limit] = LIMITS,
        max_buckets: int = MAX_BUCKETS,
    ) -> None:
        self._clock = clock
        self._enabled = enabled
        self._limits = limits
        self._buckets: Lru[tuple[str, str], Bucket] = Lru(max_buckets)

    def knows(self, limit_class: str) -> bool:
        """Whether there is such a class; an endpoint that names another is mistaken."""
        return limit_class in self._limits

    def spend(self, limit_class: str, who: str, cost: float = 1) -> None:
        """Count a request of this user (an id) or address. Raises LimitExceeded."""
        if not self._enabled:
            return
        key = (limit_class, who)
        bucket, wait_ms = spend(
            self._buckets.get(key), self._limits[limit_class], int(self._clock.monotonic_s() * 1000), cost
        )
        self._buckets.put(key, bucket)
        if wait_ms is not None:
            raise LimitExceeded(wait_ms)


def address_key(ip: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that an IPv6 customer has for himself."""
    if ":" not in ip:
        return ip
    try:
        return str(ipaddress.IPv6Network((ip.partition("%")[0], 64), strict=False))
    except ValueError:
        return ip
