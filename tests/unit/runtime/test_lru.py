"""The mapping that forgets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from homeserver.runtime.lru import Lru


def test_the_least_recently_used_goes_first() -> None:
    gone: list[str] = []
    lru: Lru[str, int] = Lru(2, dropped=lambda key, value: gone.append(key))
    lru.put("a", 1)
    lru.put("b", 2)
    assert lru.get("a") == 1
    lru.put("c", 3)
    assert (list(lru), gone) == (["a", "c"], ["b"])
    assert (lru.hits, lru.misses) == (1, 0)


def test_a_peek_is_no_use() -> None:
    lru: Lru[str, int] = Lru(2)
    lru.put("a", 1)
    lru.put("b", 2)
    assert lru.peek("a") == 1
    lru.put("c", 3)
    assert "a" not in lru


def test_what_outweighs_everything_is_not_kept() -> None:
    lru: Lru[str, bytes] = Lru(10, weigh=lambda key, value: len(value))
    lru.put("a", b"12345")
    lru.put("b", b"x" * 11)
    assert (list(lru), lru.weight) == (["a"], 5)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 6))))
def test_the_weight_is_what_it_holds_and_never_too_much(steps: list[tuple[int, int]]) -> None:
    lru: Lru[int, int] = Lru(12, weigh=lambda key, value: value)
    for key, value in steps:
        if value == 6:
            lru.discard(key)
        elif value == 5:
            lru.get(key)
        else:
            lru.put(key, value)
            assert lru.peek(key) == value
        assert lru.weight == sum(lru.peek(each) or 0 for each in lru) <= 12
