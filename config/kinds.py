"""The kinds of value a setting can have beyond what Python offers: sizes, and the sentence that describes a kind."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Any, Literal, NewType, Union, get_args, get_origin

Bytes = NewType("Bytes", int)
"""A size. In the file: a number of bytes, or a number with K, M, G or T (powers of 1024), as in `100M`."""

Milliseconds = NewType("Milliseconds", int)
"""A span of time. In the file: a number with ms, s, m, h, d or w, as in `30s` or `7d`."""

_SIZE = re.compile(r"(\d+)([KMGT]?)(?:i?B)?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SPAN = re.compile(r"(\d+)(ms|s|m|h|d|w)")
_SPAN_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def parse_bytes(text: str) -> Bytes:
    """Read `100M` and the like; ValueError if it is no size."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return Bytes(int(match[1]) * _SIZE_UNITS[match[2].upper()])


def format_bytes(size: int) -> str:
    """Write a size with the largest unit that keeps it exact."""
    for unit in ("T", "G", "M", "K"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return str(size)


def parse_milliseconds(text: str) -> Milliseconds:
    """Read `30s` and the like; ValueError if it is no span of time."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return Milliseconds(int(match[1]) * _SPAN_UNITS[match[2]])


def format_milliseconds(span_ms: int) -> str:
    """Write a span of time with the largest unit that keeps it exact."""
    for unit in ("w", "d", "h", "m", "s"):
        if span_ms and span_ms % _SPAN_UNITS[unit] == 0:
            return f"{span_ms // _SPAN_UNITS[unit]}{unit}"
    return f"{span_ms}ms"


def optional_of(kind: Any) -> Any | None:
    """`T` for `T | None`, else None."""
    if get_origin(kind) in (Union, types.UnionType):
        inner = [part for part in get_args(kind) if part is not type(None)]
        if len(inner) == 1 and len(get_args(kind)) == 2:
            return inner[0]
    return None


def tuple_of(kind: Any) -> Any | None:
    """`T` for `tuple[T, ...]`, else None."""
    if get_origin(kind) is tuple:
        return get_args(kind)[0]
    return None


def choices_of(kind: Any) -> tuple[str, ...]:
    """The words of a `Literal`, else nothing."""
    return get_args(kind) if get_origin(kind) is Literal else ()


def describe(kind: Any) -> str:
    """What is allowed, as words that complete "expected ..."."""
    inner = optional_of(kind)
    if inner is not None:
        return f"{describe(inner)} or null"
    item = tuple_of(kind)
    if item is not None:
        return f"a list, each entry {describe(item)}"
    if choices_of(kind):
        words = choices_of(kind)
        return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]
    return _NAMES.get(kind, "keys with values")


_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a file name",
    Bytes: "a size such as 100M",
    Milliseconds: "a time such as 30s, 5m, 7d",
}
