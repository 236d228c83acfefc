"""Sync and pagination tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.tokens import BadToken, PageToken, SyncToken, parse_sync_token, parse_token

numbers = st.integers(-(2**63), 2**63 - 1)


@given(st.integers(0, 2**63 - 1))
def test_a_sync_token_is_read_back_as_it_was_written(position: int) -> None:
    token = SyncToken(position)
    assert parse_sync_token(str(token)) == parse_token(str(token)) == token


@given(numbers, numbers)
def test_a_pagination_token_is_read_back_as_it_was_written(depth: int, position: int) -> None:
    token = PageToken(depth, position)
    assert parse_token(str(token)) == token


@given(st.one_of(st.text(max_size=12), st.from_regex(r"[st]?-?[0-9_٣]{0,25}", fullmatch=True)))
def test_a_text_is_either_refused_or_the_only_one_for_its_token(text: str) -> None:
    try:
        token = parse_token(text)
    except BadToken:
        return
    assert str(token) == text


@pytest.mark.parametrize(
    "text", ["", "s", "123", "s-1", "s01", "s+1", "s 1", "s1 ", "s1\n", "s٣", "s9223372036854775808", "S1", "s1_2"]
)
def test_what_is_no_sync_token_is_refused(text: str) -> None:
    with pytest.raises(BadToken):
        parse_sync_token(text)


@pytest.mark.parametrize(
    "text", ["t", "t1", "t1_", "t_1", "t1_2_3", "t-0_1", "t01_1", "t1_9223372036854775808", "x1_2"]
)
def test_what_is_no_pagination_token_is_refused(text: str) -> None:
    with pytest.raises(BadToken):
        parse_token(text)


def test_a_pagination_token_is_no_place_to_sync_from() -> None:
    with pytest.raises(BadToken, match="leave it out"):
        parse_sync_token("t1_2")


def test_tokens_stand_in_the_order_of_what_they_point_to() -> None:
    assert PageToken(1, 9) < PageToken(2, -5) < PageToken(2, 1)
    assert SyncToken(9) < SyncToken(10)
