"""Arithmetic of rate limits: a token bucket whose whole state is one number.

A bucket holds `burst` requests and refills at `per_second`. Instead of its level we keep the time at which it will be
full again: each request puts that time off by 1/per_second, and is refused if it would come to lie more than
burst/per_second ahead. A bucket whose time is past is full, and may be forgotten.

Specification: Client-Server API, "Rate limiting" (429, M_LIMIT_EXCEEDED, retry_after_ms and Retry-After).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NewType

Bucket = NewType("Bucket", float)
"""The time in milliseconds at which the bucket is full again."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many requests may come in the long run, and how many at once."""

    per_second: float
    burst: int

    def __post_init__(self) -> None:
        if not (0 < self.per_second < math.inf) or self.burst < 1:
            raise ValueError("a rate limit needs a positive number per second and a burst of at least one")


def spend(bucket: Bucket | None, limit: Limit, now_ms: float, cost: float = 1) -> tuple[Bucket, int | None]:
    """Take a request out of the bucket (None: a full one).

    Returns the bucket, and None if the request may pass, or the milliseconds after which it may be tried again; a
    refused request costs nothing. A cost above the burst counts as the burst, or it could never pass.
    """
    interval_ms = 1000 / limit.per_second
    room_ms = limit.burst * interval_ms
    full_at_ms = now_ms if bucket is None or bucket < now_ms else float(bucket)
    # A clock that was set back must not lock anybody out for longer than an empty bucket does.
    full_at_ms = min(full_at_ms, now_ms + room_ms)
    wanted_ms = full_at_ms + min(cost, limit.burst) * interval_ms
    wait_ms = wanted_ms - (now_ms + room_ms)
    # Sums of fractions are off by tiny amounts, which must not turn the last request of a burst away.
    if wait_ms > 1e-3:
        return Bucket(full_at_ms), math.ceil(wait_ms)
    return Bucket(wanted_ms), None


def is_full(bucket: Bucket, now_ms: float) -> bool:
    """Whether a bucket is as good as none, so that it need not be kept."""
    return bucket <= now_ms


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
