"""Answers of /.well-known/matrix/server: what they say, and how long they hold.

Specification: server-server API, "Resolving server names", step 3, and GET /.well-known/matrix/server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from homeserver.core.canonical_json import BadJson, decode_object
from homeserver.core.discovery import split_server_name
from homeserver.core.ids import InvalidId

DEFAULT_MS: Final = 24 * 3_600_000
LONGEST_MS: Final = 48 * 3_600_000
SHORTEST_MS: Final = 60_000
"""Whatever the headers say: without it, one header would have us ask before each request."""
FIRST_ERROR_MS: Final = 60_000
LONGEST_ERROR_MS: Final = 3_600_000
MAX_BYTES: Final = 50 * 1024
MAX_REDIRECTS: Final = 5

_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?([0-9]{1,15})\"?", re.IGNORECASE)
_NO_CACHE: Final = re.compile(r"(?:^|[\s,])no-(?:store|cache)(?:$|[\s,=])", re.IGNORECASE)


def parse_well_known(status: int, body: bytes) -> str | None:
    """The server name that is delegated to; None if the response is invalid."""
    if status != 200:
        return None
    try:
        delegated = decode_object(body).get("m.server")
        if not isinstance(delegated, str):
            return None
        split_server_name(delegated)
    except (BadJson, InvalidId):
        return None
    return delegated


def valid_for_ms(headers: Mapping[str, str], now_ms: int) -> int:
    """How long a valid response holds, by its headers (names in lower case)."""
    return max(SHORTEST_MS, min(_by_headers(headers, now_ms), LONGEST_MS))


def error_for_ms(failures: int) -> int:
    """How long an error holds, after so many in a row: longer each time, up to an hour."""
    return min(FIRST_ERROR_MS << min(failures - 1, 20), LONGEST_ERROR_MS)


def _by_headers(headers: Mapping[str, str], now_ms: int) -> int:
    cache_control = headers.get("cache-control", "")
    if _NO_CACHE.search(cache_control):
        return 0
    max_age = _MAX_AGE.search(cache_control)
    if max_age:
        age = headers.get("age", "").strip()
        return (int(max_age[1]) - (int(age) if age.isdecimal() and len(age) < 16 else 0)) * 1000
    expires = headers.get("expires")
    if expires is not None:
        try:
            return int(parsedate_to_datetime(expires).timestamp() * 1000) - now_ms
        except (ValueError, OverflowError, TypeError):
            return 0  # RFC 9111: an invalid date, "0" above all, means already expired
    return DEFAULT_MS
