"""Arithmetic of rate limits: a token bucket whose whole state is one number.

A bucket holds `burst` requests and refills at `per_second`. Instead of its level we keep the time at which it will be
full again: each request puts that time off by 1/per_second, and is refused if it would come to lie more than
burst/per_second ahead. A bucket whose time is past is full, and may be forgotten.

Specification: Client-Server API, "Rate limiting" (429, M_LIMIT_EXCEEDED, retry_after_ms and Retry-After).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NewType

Bucket = NewType("Bucket", int)
"""The time in microseconds at which the bucket is full again. A whole number, so that sums are exact."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many requests may come in the long run (up to a million a second), and how many at once."""

    per_second: float
    burst: int
    interval_us: int = field(init=False)
    """The time in which one request comes back."""

    def __post_init__(self) -> None:
        if not (0 < self.per_second <= 1_000_000) or self.burst < 1:
            raise ValueError("a rate limit needs a positive number per second and a burst of at least one")
        object.__setattr__(self, "interval_us", math.ceil(1_000_000 / self.per_second))


def spend(bucket: Bucket | None, limit: Limit, now_ms: int, cost: float = 1) -> tuple[Bucket, int | None]:
    """Take a request out of the bucket (None: a full one).

    Returns the bucket, and None if the request may pass, or the milliseconds after which it may be tried again; a
    refused request costs nothing. A cost above the burst counts as the burst, or it could never pass.
    """
    now_us = now_ms * 1000
    latest_us = now_us + limit.burst * limit.interval_us
    full_at_us = now_us if bucket is None or bucket < now_us else int(bucket)
    # A clock that was set back must not lock anybody out for longer than an empty bucket does.
    full_at_us = min(full_at_us, latest_us)
    wanted_us = full_at_us + math.ceil(min(cost, limit.burst) * limit.interval_us)
    if wanted_us > latest_us:
        return Bucket(full_at_us), -((latest_us - wanted_us) // 1000)  # rounded up
    return Bucket(wanted_us), None


def is_full(bucket: Bucket, now_ms: int) -> bool:
    """Whether a bucket is as good as none, so that it need not be kept."""
    return bucket <= now_ms * 1000


LOGIN_BY_ADDRESS = "login_by_address"
LOGIN_BY_ACCOUNT = "login_by_account"
FAILED_LOGIN = "failed_login"
REGISTRATION = "registration"
MESSAGE = "message"
JOIN = "join"
INVITE = "invite"
ROOM_CREATION = "room_creation"
DIRECTORY = "directory"
KEYS = "keys"
MEDIA = "media"
REPORT = "report"
SYNC = "sync"
OTHER = "other"

LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        LOGIN_BY_ADDRESS: Limit(per_second=1, burst=20),
        LOGIN_BY_ACCOUNT: Limit(per_second=0.5, burst=10),
        FAILED_LOGIN: Limit(per_second=0.1, burst=5),
        REGISTRATION: Limit(per_second=0.2, burst=5),
        MESSAGE: Limit(per_second=10, burst=50),
        JOIN: Limit(per_second=1, burst=20),
        INVITE: Limit(per_second=1, burst=30),
        ROOM_CREATION: Limit(per_second=0.5, burst=20),
        DIRECTORY: Limit(per_second=2, burst=20),
        KEYS: Limit(per_second=20, burst=200),
        MEDIA: Limit(per_second=10, burst=100),
        REPORT: Limit(per_second=0.2, burst=10),
        SYNC: Limit(per_second=20, burst=100),
        OTHER: Limit(per_second=50, burst=250),
    }
)
"""The limit of each class of request, for one user or one address: enough for people, too little for floods."""
