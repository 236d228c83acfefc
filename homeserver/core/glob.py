"""Glob matching in linear time, as Matrix defines it: `*` is any run of characters, `?` is one character.

Patterns come from strangers (push rules, filters, server ACLs), so a pattern must not be able to make matching slow.
A star never needs to be tried twice: if the piece after it fits at its leftmost place and the rest fails, the rest
fails at every later place too. Pieces are therefore matched in atomic groups, which never backtrack.

All functions compare exactly. For a comparison that ignores case, lower both the pattern and the text.

Specification: Appendices, "Glob-style matching"; Client-Server API, "Push notifications", "Conditions".
"""

import re
from collections.abc import Callable

Matcher = Callable[[str], bool]
"""Says whether a text fits the pattern that the matcher was made from."""

WORD_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_NOT_AFTER_WORD = "(?<![A-Za-z0-9_])"
_NOT_BEFORE_WORD = "(?![A-Za-z0-9_])"


def has_wildcard(pattern: str) -> bool:
    """Whether the pattern is more than a plain text."""
    return "*" in pattern or "?" in pattern


def whole(pattern: str, *, question_mark: bool = True) -> Matcher:
    """A matcher for texts that fit the pattern from beginning to end.

    Event filters know only `*`: they pass `question_mark=False`, and `?` then stands for itself.
    """
    if "*" not in pattern and not (question_mark and "?" in pattern):
        return pattern.__eq__
    if pattern.count("*") == 1 and not (question_mark and "?" in pattern):
        start, end = pattern.split("*")
        length = len(start) + len(end)
        return lambda text: len(text) >= length and text.startswith(start) and text.endswith(end)
    first, *middle = (_piece(piece, question_mark) for piece in pattern.split("*"))
    if not middle:
        return _match(rf"{first}\Z")
    last = middle.pop()
    stars = "".join(f"(?>.*?{piece})" for piece in middle if piece)
    return _match(rf"{first}{stars}.*{last}\Z")


def within_words(pattern: str) -> Matcher:
    """A matcher for texts in which the pattern fits a part that starts and ends at a word boundary.

    A word boundary is the start or the end of the text, or any character outside A-Z, a-z, 0-9 and `_`.
    """
    if not has_wildcard(pattern):
        return lambda text: contains_words(text, pattern)
    first, *middle = (_piece(piece, True) for piece in pattern.split("*"))
    if not middle:
        expression = _search(f"{_NOT_AFTER_WORD}{first}{_NOT_BEFORE_WORD}")
    else:
        last = middle.pop()
        # An empty first or last piece is a star at the edge: it reaches to the edge of the text, which is a boundary.
        start = f"(?>.*?{_NOT_AFTER_WORD}{first})" if first else ""
        stars = "".join(f"(?>.*?{piece})" for piece in middle if piece)
        end = f".*?{last}{_NOT_BEFORE_WORD}" if last else ""
        expression = _match(f"{start}{stars}{end}")
    needed = max(re.split(r"[*?]", pattern), key=len)
    # Most texts do not hold the longest plain piece, which a plain search finds out many times faster.
    return lambda text: needed in text and expression(text)


def contains_words(text: str, words: str) -> bool:
    """Whether the text holds these words, not inside of longer words."""
    at = text.find(words)
    while at >= 0:
        end = at + len(words)
        if (at == 0 or text[at - 1] not in WORD_CHARACTERS) and (end == len(text) or text[end] not in WORD_CHARACTERS):
            return True
        at = text.find(words, at + 1)
    return False


def _piece(piece: str, question_mark: bool) -> str:
    escaped = re.escape(piece)
    return escaped.replace(r"\?", ".") if question_mark else escaped


def _match(expression: str) -> Matcher:
    match = re.compile(expression, re.DOTALL).match
    return lambda text: match(text) is not None


def _search(expression: str) -> Matcher:
    find = re.compile(expression, re.DOTALL).search
    return lambda text: find(text) is not None
