"""Globs. Specification: Appendices, "Glob-style matching"."""

import re

from hypothesis import given
from hypothesis import strategies as st
from pytest import mark

from homeserver.core import glob

patterns = st.text(alphabet="ab*?.- _", max_size=8)
texts = st.text(alphabet="ab.- _\n", max_size=14)


def as_regex(pattern: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)


@given(patterns, texts)
def test_a_glob_fits_what_the_plain_regular_expression_fits(pattern: str, text: str) -> None:
    assert glob.whole(pattern)(text) is (re.fullmatch(as_regex(pattern), text, re.DOTALL) is not None)


@given(patterns, texts)
def test_a_glob_of_words_fits_what_the_plain_regular_expression_fits(pattern: str, text: str) -> None:
    # A star at an edge may always be taken as far as the edge of the text.
    start = "" if pattern.startswith("*") else "(?<![A-Za-z0-9_])"
    end = "" if pattern.endswith("*") else "(?![A-Za-z0-9_])"
    plain = re.search(f"{start}{as_regex(pattern)}{end}", text, re.DOTALL) is not None
    if pattern:
        assert glob.within_words(pattern)(text) is plain


@mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("m.room.*", "m.room.message", True),
        ("m.room.*", "mxroom.message", False),
        ("*.message", "m.room.message", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("?", "", False),
        ("a?c", "a\nc", True),
    ],
)
def test_examples_of_whole_globs(pattern: str, text: str, fits: bool) -> None:
    assert glob.whole(pattern)(text) is fits


def test_a_question_mark_can_stand_for_itself() -> None:
    assert glob.whole("a?*", question_mark=False)("a?b")
    assert not glob.whole("a?*", question_mark=False)("abb")
    assert not glob.whole("a?", question_mark=False)("ab")
    assert not glob.whole("a?*b*", question_mark=False)("axxb")


def test_a_hostile_pattern_does_not_make_matching_slow() -> None:
    # With backtracking this would not end in anybody's lifetime.
    hostile = "*".join("a" * 20) + "*b"
    text = "b" + "a " * 30_000
    assert not glob.whole(hostile)(text)
    assert not glob.within_words(hostile)(text)
