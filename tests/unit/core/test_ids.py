"""Identifiers beyond what the vectors have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.ids import (
    InvalidId,
    ServerName,
    check_new_localpart,
    is_compliant_user_id,
    is_hash_event_id,
    localpart_from,
    localpart_of,
    make_user_id,
    parse_alias,
    parse_event_id,
    parse_room_id,
    parse_server_name,
    parse_user_id,
    server_name_of,
)

HASH = "Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ"


@pytest.mark.parametrize("text", ["!a:b", "!a:[::1]:8448", "!" + HASH, "!:example.org", "!a b\u00fc:example.org"])
def test_room_ids_have_a_domain_or_are_a_hash(text: str) -> None:
    assert parse_room_id(text) == text


@pytest.mark.parametrize(
    "text", ["", "!", "a:b", "!a", "!a:", "!a:b c", "!" + HASH[1:], "$" + HASH, "!" + "a" * 255 + ":b"]
)
def test_what_is_no_room_id(text: str) -> None:
    with pytest.raises(InvalidId):
        parse_room_id(text)


@pytest.mark.parametrize("text", ["$a:b", "$" + HASH, "$acR1l0raoZnm60CBwAVgqbZqoO/mYU81xysh1u7XcJk"])
def test_event_ids_are_opaque(text: str) -> None:
    assert parse_event_id(text) == text


@pytest.mark.parametrize("text", ["", "$", "!a:b", "$a\0b", "$" + "a" * 255, "$" + "\u00fc" * 128])
def test_what_is_no_event_id(text: str) -> None:
    with pytest.raises(InvalidId):
        parse_event_id(text)


def test_only_url_safe_hashes_have_the_new_form() -> None:
    assert is_hash_event_id("$" + HASH)
    assert not is_hash_event_id("$" + HASH + "a")
    assert not is_hash_event_id("$acR1l0raoZnm60CBwAVgqbZqoO/mYU81xysh1u7XcJk")


@pytest.mark.parametrize("text", ["#a:b", "#\u65e5\u672c:example.org", "#a#b:example.org"])
def test_aliases_take_nearly_all_characters(text: str) -> None:
    assert parse_alias(text) == text


@pytest.mark.parametrize("text", ["#a", "a:b", "#a\0:b", "#a:b:c", "#" + "\u00fc" * 127 + ":b"])
def test_what_is_no_alias(text: str) -> None:
    with pytest.raises(InvalidId):
        parse_alias(text)


def test_lone_surrogates_are_no_characters() -> None:
    with pytest.raises(InvalidId):
        parse_user_id("@\ud800:example.org")


def test_a_newline_at_the_end_is_not_overlooked() -> None:
    for text in ("example.org\n", "example.org:80\n", "[::1]\n"):
        with pytest.raises(InvalidId):
            parse_server_name(text)
    with pytest.raises(InvalidId):
        check_new_localpart("alice\n")
    with pytest.raises(InvalidId):
        parse_room_id("!" + HASH + "\n")


def test_the_domain_is_all_after_the_first_colon() -> None:
    assert server_name_of("@a:[::1]:8448") == "[::1]:8448"
    assert server_name_of("$a:b:80") == "b:80"
    with pytest.raises(InvalidId):
        server_name_of("!" + HASH)


def test_a_user_id_may_not_grow_too_long() -> None:
    server = ServerName("example.org")
    assert make_user_id("a" * 242, server) == "@" + "a" * 242 + ":example.org"
    with pytest.raises(InvalidId):
        make_user_id("a" * 243, server)


def test_which_user_ids_stay_out_of_what_is_no_event() -> None:
    assert is_compliant_user_id("@Alice!:example.org")
    assert not is_compliant_user_id("@:example.org")
    assert not is_compliant_user_id("@a b:example.org")
    assert not is_compliant_user_id("@\u00fc:example.org")


@given(st.text(min_size=1, max_size=40), st.booleans())
def test_every_text_maps_to_a_localpart(text: str, keep_case: bool) -> None:
    localpart = localpart_from(text, keep_case=keep_case)
    check_new_localpart(localpart)
    assert localpart_of(make_user_id(localpart, ServerName("a"))) == localpart if len(localpart) < 250 else True


@given(st.text(max_size=20), st.text(max_size=20))
def test_with_case_kept_different_texts_stay_different(one: str, other: str) -> None:
    assert (localpart_from(one, keep_case=True) == localpart_from(other, keep_case=True)) is (one == other)
