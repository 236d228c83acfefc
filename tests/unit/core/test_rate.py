"""Rate limits and back-off: arithmetic only, with times given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.backoff import Backoff, delay_ms
from homeserver.core.rate import LIMITS, Bucket, Limit, is_full, spend

limits = st.builds(Limit, st.floats(0.01, 1000), st.integers(1, 100))


def test_a_burst_passes_and_the_next_request_is_told_when_to_come_back() -> None:
    limit = Limit(per_second=2, burst=3)
    bucket: Bucket | None = None
    for _ in range(3):
        bucket, wait_ms = spend(bucket, limit, 1000)
        assert wait_ms is None
    bucket, wait_ms = spend(bucket, limit, 1000)
    assert wait_ms == 500
    bucket, wait_ms = spend(bucket, limit, 1499)
    assert wait_ms == 1
    bucket, wait_ms = spend(bucket, limit, 1500)
    assert wait_ms is None


def test_a_bucket_fills_up_to_the_burst_and_no_further() -> None:
    limit = Limit(per_second=1, burst=2)
    bucket, _ = spend(None, limit, 0)
    assert not is_full(bucket, 999)
    assert is_full(bucket, 1000)
    later = 1_000_000_000
    waits: list[int | None] = []
    for _ in range(3):
        bucket, wait_ms = spend(bucket, limit, later)
        waits.append(wait_ms)
    assert waits == [None, None, 1000]


def test_a_refused_request_costs_nothing() -> None:
    limit = Limit(per_second=1, burst=1)
    bucket, _ = spend(None, limit, 0)
    for _ in range(50):
        bucket, wait_ms = spend(bucket, limit, 0)
        assert wait_ms == 1000


def test_costly_requests_take_more_and_even_the_costliest_can_pass() -> None:
    limit = Limit(per_second=1, burst=4)
    bucket, wait_ms = spend(None, limit, 0, cost=3)
    assert wait_ms is None
    assert spend(bucket, limit, 0, cost=2)[1] == 1000
    assert spend(None, limit, 0, cost=1000)[1] is None


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    limit = Limit(per_second=1, burst=2)
    bucket, _ = spend(None, limit, 1_000_000_000)
    _, wait_ms = spend(bucket, limit, 0)
    assert wait_ms == 1000


@given(limits, st.integers(0, 2**45))
def test_exactly_a_burst_passes_at_once(limit: Limit, now_ms: int) -> None:
    bucket: Bucket | None = None
    for _ in range(limit.burst):
        bucket, wait_ms = spend(bucket, limit, now_ms)
        assert wait_ms is None
    assert spend(bucket, limit, now_ms)[1] is not None


@given(limits, st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_whoever_waits_as_long_as_told_passes(limit: Limit, gaps_ms: list[int]) -> None:
    bucket: Bucket | None = None
    now_ms = 0
    for passed, gap_ms in enumerate(gaps_ms, start=1):
        now_ms += gap_ms
        bucket, wait_ms = spend(bucket, limit, now_ms)
        if wait_ms is not None:
            now_ms += wait_ms
            bucket, wait_ms = spend(bucket, limit, now_ms)
        assert wait_ms is None
        assert passed <= limit.burst + now_ms * limit.per_second / 1000 + 0.01


def test_limits_without_sense_are_refused() -> None:
    for per_second, burst in [(0.0, 1), (-1.0, 1), (1.0, 0), (float("inf"), 1), (float("nan"), 1)]:
        with pytest.raises(ValueError, match="a rate limit needs"):
            Limit(per_second, burst)


def test_there_is_a_limit_for_each_class_of_request() -> None:
    assert {"login_by_address", "registration", "message", "join", "other"} <= set(LIMITS)


def test_waits_double_up_to_the_limit() -> None:
    backoff = Backoff(first_ms=1000, longest_ms=60_000)
    waits = [delay_ms(backoff, failures, random=0.0) for failures in range(1, 9)]
    assert waits == [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]
    assert delay_ms(backoff, 10**9, 0.0) == 60_000
    assert delay_ms(Backoff(5, 50, factor=1), 10**9, 0.0) == 5


@given(
    st.builds(Backoff, st.integers(1, 1000), st.integers(1000, 10**8), st.floats(1, 10), st.floats(0, 1)),
    st.integers(1, 5000),
    st.floats(0, 1),
)
def test_chance_shortens_a_wait_by_no_more_than_its_part(backoff: Backoff, failures: int, random: float) -> None:
    whole_ms = delay_ms(backoff, failures, 0.0)
    assert max(1, whole_ms * (1 - backoff.jitter) - 1) <= delay_ms(backoff, failures, random) <= whole_ms
    assert whole_ms <= delay_ms(backoff, failures + 1, 0.0) <= backoff.longest_ms


def test_a_back_off_without_sense_is_refused() -> None:
    for bad in ({"first_ms": 0}, {"longest_ms": 5}, {"factor": 0.5}, {"jitter": 1.5}):
        with pytest.raises(ValueError, match="a back-off needs"):
            Backoff(**{"first_ms": 10, "longest_ms": 100, **bad})  # type: ignore[arg-type]  # wrong on purpose
