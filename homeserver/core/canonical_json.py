"""JSON in, canonical JSON out.

Specification: appendices, "Canonical JSON". Strict for room version 6 and later, lenient (large integers, fractions)
for older rooms. msgspec writes the canonical form of everything but fractions, for which its digits differ from what
other servers hash; those few values go through the json module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, cast

import msgspec

JsonValue: TypeAlias = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
JsonObject: TypeAlias = dict[str, JsonValue]

MAX_INTEGER: Final = 2**53 - 1
MAX_NESTING: Final = 100
# What others send us wraps events, whose contents may have all the levels of MAX_NESTING, in a few levels more.
MAX_FEDERATION_NESTING: Final = MAX_NESTING + 10

_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_PARENTHESES: Final = bytes.maketrans(b"{[]}", b"(())")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{[]}"))

_ODD_NUMBER: Final = re.compile(rb"(?:[:,\[]|\A)-?(?:[0-9]{16}|[0-9]+[.eE])")
"""In compact JSON, where a number may be a fraction or too large. A string may look like it."""

_decoder: Final = msgspec.json.Decoder()
_raw_decoder: Final = msgspec.json.Decoder(msgspec.Raw)
_encoder: Final = msgspec.json.Encoder(order="sorted")


class BadJson(ValueError):
    """The bytes are not JSON that we take."""


class NotCanonical(ValueError):
    """The value has no canonical JSON form."""


def decode(data: bytes, max_nesting: int = MAX_NESTING) -> JsonValue:
    """The value that these bytes hold, or BadJson. Of keys that are there twice the last one counts."""
    try:
        value: JsonValue = _decoder.decode(data)
    except RecursionError:
        raise BadJson(f"the JSON is nested more than {max_nesting} levels deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadJson(f"not valid JSON: {error}") from None
    if is_deeper(data, max_nesting):
        raise BadJson(f"the JSON is nested more than {max_nesting} levels deep")
    return value


def decode_object(data: bytes, max_nesting: int = MAX_NESTING) -> JsonObject:
    """The object that these bytes hold; BadJson too if it is something else than an object."""
    value = decode(data, max_nesting)
    if not isinstance(value, dict):
        raise BadJson("the JSON must be an object")
    return value


def is_json(data: bytes) -> bool:
    """Whether these bytes are one JSON value, whatever it holds; costs a tenth of decoding it."""
    try:
        _raw_decoder.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def is_deeper(data: bytes, max_nesting: int = MAX_NESTING) -> bool:
    """Whether JSON, which must be well-formed, has more levels than that."""
    # Counting brackets is cheapest, and nearly everything passes here.
    if data.count(b"{") + data.count(b"[") <= max_nesting:
        return False
    left = _STRING.sub(b"", data).translate(_PARENTHESES, _NO_BRACKETS)
    for _ in range(max_nesting):
        if not left:
            break
        # The innermost level goes.
        left = left.replace(b"()", b"")
    return bool(left)


def encode(value: JsonValue) -> bytes:
    """The canonical form, or NotCanonical. Numbers such as 1e10 count as the integers that they are."""
    if _check_strict((value,)):
        value = _without_floats(value)
    return _encode(value)


def encode_lenient(value: JsonValue) -> bytes:
    """Sorted, compact JSON of values that room versions 1 to 5 allow: any integers, and fractions."""
    if not _has_floats((value,)):
        return _encode(value)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
        return text.encode("utf-8")
    except (ValueError, TypeError, RecursionError) as error:
        raise NotCanonical(f"this has no JSON form: {error}") from None


def encode_integers(value: JsonValue) -> bytes:
    """The canonical form; NotCanonical also for 1.0 and 1e10, which events must not hold from room version 6 on."""
    return writer_of(value, strict=True)(value)


def writer_of(value: JsonValue, *, strict: bool) -> Callable[[JsonValue], bytes]:
    """What writes this value, and parts of it, in the canonical form of strict or of old room versions.

    The numbers in it are looked at once, here, rather than for each part. NotCanonical where it has no such form; what
    it gives may raise that too.
    """
    if strict:
        if _check_strict((value,)):
            raise NotCanonical("numbers must be integers, without fraction or exponent")
        return _encode
    return encode_lenient if _has_floats((value,)) else _encode


def write_decoded(value: JsonValue, *, strict: bool) -> tuple[bytes, Callable[[JsonValue], bytes]]:
    """A value that was decoded from JSON in the canonical form, and what writes parts of it; see `writer_of`.

    What is written tells at once whether there is a number worth looking at.
    """
    if strict:
        encoded = _encode(value)
        if _ODD_NUMBER.search(encoded) is None and encoded.count(b"{") + encoded.count(b"[") <= MAX_NESTING:
            return encoded, _encode
    write = writer_of(value, strict=strict)
    return write(value), write


def encode_trusted(value: object) -> bytes:
    """The canonical form of a value whose numbers are known to be integers in range. Takes msgspec.Raw inside."""
    return _encoder.encode(value)


def encode_trusted_lines(values: Sequence[object]) -> bytes:
    """The same of several values, one a line: no JSON has a raw newline in it."""
    return _encoder.encode_lines(values).rstrip(b"\n")


def _encode(value: JsonValue) -> bytes:
    try:
        return _encoder.encode(value)
    except (TypeError, UnicodeEncodeError, RecursionError, OverflowError) as error:
        raise NotCanonical(f"this has no canonical JSON form: {error}") from None


def _check_strict(values: Iterable[Any], level: int = 0) -> bool:
    """Check numbers and nesting; whether there are whole numbers written as fractions."""
    if level > 2 * MAX_NESTING:
        raise NotCanonical("nested too deeply")
    floats = False
    for value in values:
        kind = type(value)
        if kind is str or value is None or kind is bool:
            continue
        if kind is dict:
            floats |= _check_strict(value.values(), level + 1)
        elif kind is list:
            floats |= _check_strict(value, level + 1)
        elif kind is int:
            if not -MAX_INTEGER <= value <= MAX_INTEGER:
                raise NotCanonical("integers must lie between -(2**53)+1 and (2**53)-1")
        elif kind is float:
            if not value.is_integer() or abs(value) > MAX_INTEGER:
                raise NotCanonical("numbers must be integers between -(2**53)+1 and (2**53)-1")
            floats = True
        else:
            raise NotCanonical(f"{kind.__name__} is no JSON type")
    return floats


def _has_floats(values: Iterable[JsonValue], level: int = 0) -> bool:
    if level > 2 * MAX_NESTING:
        raise NotCanonical("nested too deeply")
    for value in values:
        kind = type(value)
        if kind is float:
            return True
        if kind is dict:
            if _has_floats(cast(JsonObject, value).values(), level + 1):
                return True
        elif kind is list and _has_floats(cast("list[JsonValue]", value), level + 1):
            return True
    return False


def _without_floats(value: JsonValue) -> JsonValue:
    if isinstance(value, float):
        return int(value)
    if isinstance(value, dict):
        return {key: _without_floats(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_floats(inner) for inner in value]
    return value
