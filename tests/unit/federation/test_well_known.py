"""What /.well-known/matrix/server may say, and for how long it holds."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.well_known import (
    DEFAULT_MS,
    LONGEST_ERROR_MS,
    LONGEST_MS,
    SHORTEST_MS,
    error_for_ms,
    parse_well_known,
    valid_for_ms,
)

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("headers", "expected_ms"),
    [
        ({}, DEFAULT_MS),
        ({"cache-control": "max-age=3600"}, HOUR_MS),
        ({"cache-control": "public, Max-Age=7200, immutable"}, 2 * HOUR_MS),
        ({"cache-control": 'max-age="7200"'}, 2 * HOUR_MS),
        ({"cache-control": "max-age=7200", "age": "3600"}, HOUR_MS),
        ({"cache-control": "max-age=7200", "age": "nonsense"}, 2 * HOUR_MS),
        ({"cache-control": "s-maxage=1"}, DEFAULT_MS),
        ({"cache-control": "max-age=99999999"}, LONGEST_MS),
        ({"cache-control": "max-age=0"}, SHORTEST_MS),
        ({"cache-control": "no-store, max-age=7200"}, SHORTEST_MS),
        ({"cache-control": "no-cache"}, SHORTEST_MS),
        ({"cache-control": "max-age=7200", "expires": "0"}, 2 * HOUR_MS),
        ({"expires": formatdate(NOW_MS / 1000 + 3600, usegmt=True)}, HOUR_MS),
        ({"expires": formatdate(NOW_MS / 1000 - 3600, usegmt=True)}, SHORTEST_MS),
        ({"expires": "0"}, SHORTEST_MS),
    ],
)
def test_cache_headers_are_respected_within_limits(headers: dict[str, str], expected_ms: int) -> None:
    assert valid_for_ms(headers, NOW_MS) == expected_ms


@given(st.dictionaries(st.sampled_from(["cache-control", "age", "expires"]), st.text(max_size=60)))
def test_no_header_makes_it_last_longer_or_shorter_than_the_limits(headers: dict[str, str]) -> None:
    assert SHORTEST_MS <= valid_for_ms(headers, NOW_MS) <= LONGEST_MS


def test_errors_hold_longer_each_time_up_to_an_hour() -> None:
    times = [error_for_ms(failures) for failures in range(1, 30)]
    assert times == sorted(times)
    assert times[0] < times[1] < HOUR_MS
    assert times[-1] == LONGEST_ERROR_MS == HOUR_MS


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"m.server": "d.example:443"}', "d.example:443"),
        (200, b'{"m.server": "[::1]", "x": 1}', "[::1]"),
        (404, b'{"m.server": "d.example:443"}', None),
        (302, b'{"m.server": "d.example:443"}', None),
        (200, b'{"m.server": "https://d.example"}', None),
        (200, b'{"m.server": ""}', None),
        (200, b'{"m.server": 5}', None),
        (200, b'["m.server"]', None),
        (200, b"{}", None),
        (200, b"<html>", None),
        (200, b"", None),
        (200, b"\xff", None),
    ],
)
def test_only_a_200_with_a_server_name_delegates(status: int, body: bytes, expected: str | None) -> None:
    assert parse_well_known(status, body) == expected
