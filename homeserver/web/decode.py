"""From the bytes of a request to typed values, with the error code that the specification asks for where that fails.

Client-server API, "Common error codes": M_NOT_JSON for what is no JSON, M_BAD_JSON for JSON of the wrong form
(also where it is nested too deeply), M_MISSING_PARAM for a missing key, M_INVALID_PARAM for what came in the path or
the query string.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import inspect as msgspec_inspect

from homeserver.core import ids
from homeserver.core.canonical_json import MAX_NESTING, BadJson, JsonObject, JsonValue, decode, is_deeper
from homeserver.web.errors import BadJson as BadJsonAnswer
from homeserver.web.errors import InvalidParam, MatrixError, MissingParam, NotJson

# Fields of body structs that hold any JSON: msgspec cannot resolve the recursive JsonValue, the type checker can.
if TYPE_CHECKING:
    ObjectField = JsonObject
    ValueField = JsonValue
else:
    ObjectField = dict[str, Any]
    ValueField = Any

T = TypeVar("T")

_WITHOUT_LEVELS: Final = (
    msgspec_inspect.BoolType,
    msgspec_inspect.FloatType,
    msgspec_inspect.IntType,
    msgspec_inspect.LiteralType,
    msgspec_inspect.NoneType,
    msgspec_inspect.RawType,
    msgspec_inspect.StrType,
)

_MISSING: Final = "Object missing required field"
_ESCAPED_NUL: Final = b"\\u0000"


def decode_object(body: bytes) -> JsonObject:
    """The JSON object that a body holds. Raises NotJson or BadJson."""
    value = _decode_any(body)
    if type(value) is not dict:
        raise BadJsonAnswer("The request body must be a JSON object.")
    return value


def _decode_any(body: bytes) -> JsonValue:
    try:
        return decode(body)
    except BadJson as error:
        raise _malformed(body, str(error)) from None


def _malformed(body: bytes, reason: str) -> MatrixError:
    if "nested" in reason:
        return BadJsonAnswer(f"The request body has more than {MAX_NESTING} levels of nesting.")
    if not body:
        return NotJson("The request has no body; this endpoint needs a JSON object.")
    return NotJson(f"The request body is not valid JSON: {reason}.")


class BodyDecoder(Generic[T]):
    """Decodes bodies into one type."""

    def __init__(self, kind: type[T], optional: bool = False) -> None:
        self._kind = kind
        self._optional = optional
        self._decoder = msgspec.json.Decoder(kind)
        self._takes_empty = _can_be_empty(kind)
        self._may_nest = _may_nest(msgspec_inspect.type_info(kind))

    def __call__(self, body: bytes) -> T | None:
        """The value. Raises NotJson, BadJson or MissingParam; None for an empty body where that is allowed."""
        if not body:
            if self._optional:
                return None
            if self._takes_empty:
                body = b"{}"
        try:
            value = self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise _mismatch(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _decode_any(body)  # raises with the reason
            raise NotJson() from None
        if self._may_nest and is_deeper(body):
            raise _malformed(body, "nested")
        if _ESCAPED_NUL in body:
            _refuse_nul(value, msgspec_inspect.type_info(self._kind))
        return value


def _mismatch(error: msgspec.ValidationError) -> MatrixError:
    text = str(error)
    if text.startswith(_MISSING):
        return MissingParam(f"The request body lacks something: {text}.")
    return BadJsonAnswer(f"The request body has the wrong form: {text}.")


def _can_be_empty(kind: object) -> bool:
    try:
        msgspec.convert({}, cast("type[object]", kind))
    except (msgspec.ValidationError, TypeError):
        return False
    return True


def _may_nest(kind: msgspec_inspect.Type) -> bool:
    """Whether a value of the type may have any number of levels. What stays raw is decoded by others."""
    if isinstance(kind, msgspec_inspect.UnionType):
        return any(map(_may_nest, kind.types))
    if isinstance(kind, msgspec_inspect.StructType):
        return any(_may_nest(field.type) for field in kind.fields)
    if isinstance(kind, (msgspec_inspect.ListType, msgspec_inspect.SetType, msgspec_inspect.VarTupleType)):
        return _may_nest(kind.item_type)
    if isinstance(kind, msgspec_inspect.DictType):
        return _may_nest(kind.value_type)
    return not isinstance(kind, _WITHOUT_LEVELS)


def _refuse_nul(value: object, kind: msgspec_inspect.Type) -> None:
    """Raise where a string that we would store as text has a NUL in it; what is kept as JSON may have one."""
    if isinstance(value, str):
        if "\0" in value:
            raise BadJsonAnswer("NUL characters are not allowed here.")
    elif isinstance(kind, msgspec_inspect.UnionType):
        for each in kind.types:
            if not isinstance(each, msgspec_inspect.NoneType):
                _refuse_nul(value, each)
    elif isinstance(kind, msgspec_inspect.StructType) and isinstance(value, msgspec.Struct):
        for field in kind.fields:
            _refuse_nul_below(getattr(value, field.name), field.type)
    elif isinstance(kind, (msgspec_inspect.ListType, msgspec_inspect.SetType, msgspec_inspect.VarTupleType)):
        for item in cast("list[object]", value) if isinstance(value, (list, tuple, set, frozenset)) else ():
            _refuse_nul_below(item, kind.item_type)
    elif isinstance(kind, msgspec_inspect.DictType) and isinstance(value, dict):
        if isinstance(kind.value_type, msgspec_inspect.AnyType):
            return
        for key, item in cast("dict[object, object]", value).items():
            _refuse_nul_below(key, kind.key_type)
            _refuse_nul_below(item, kind.value_type)


def _refuse_nul_below(value: object, kind: msgspec_inspect.Type) -> None:
    if not isinstance(kind, (msgspec_inspect.AnyType, msgspec_inspect.RawType)):
        _refuse_nul(value, kind)


class QueryDecoder(Generic[T]):
    """Decodes query strings into one struct type."""

    def __init__(self, kind: type[T]) -> None:
        info = msgspec_inspect.type_info(kind)
        if not isinstance(info, msgspec_inspect.StructType):
            raise TypeError(f"the type of `query` must be a msgspec.Struct, not {kind!r}")
        self._kind = kind
        self._fields = tuple((field.encode_name, _is_list(field.type)) for field in info.fields)

    def __call__(self, query: Mapping[str, list[str]]) -> T:
        """The struct. Raises MissingParam or InvalidParam."""
        found: dict[str, str | list[str]] = {}
        for name, many in self._fields:
            values = query.get(name)
            if values:
                found[name] = values if many else values[0]
                if "\0" in "".join(values):
                    raise InvalidParam(f"The query parameter {name} has a NUL character.")
        try:
            return msgspec.convert(found, self._kind, strict=False)
        except msgspec.ValidationError as error:
            text = str(error)
            if text.startswith(_MISSING):
                raise MissingParam(f"The query string lacks something: {text}.") from None
            raise InvalidParam(f"A query parameter has the wrong form: {text}.") from None


def _is_list(kind: msgspec_inspect.Type) -> bool:
    if isinstance(kind, msgspec_inspect.UnionType):
        return any(_is_list(each) for each in kind.types)
    return isinstance(
        kind,
        (
            msgspec_inspect.ListType,
            msgspec_inspect.SetType,
            msgspec_inspect.FrozenSetType,
            msgspec_inspect.VarTupleType,
        ),
    )


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("it has a NUL character")
    return value


def _integer(value: str) -> int:
    if not (value.isascii() and value.removeprefix("-").isdigit() and len(value) <= 16):
        raise ValueError(f"{value[:40]!r} is not an integer")
    return int(value)


PathParser = Callable[[str], object]


def path_parsers() -> Mapping[object, PathParser]:
    """What checks a path parameter, by its annotation. ValueError from it is the client's mistake."""
    return {
        str: _text,
        int: _integer,
        ids.UserId: ids.parse_user_id,
        ids.RoomId: ids.parse_room_id,
        ids.EventId: ids.parse_event_id,
        ids.RoomAlias: ids.parse_alias,
        ids.ServerName: ids.parse_server_name,
        ids.DeviceId: _text,
    }


def decode_segment(segment: str) -> str:
    """One percent-decoded segment of a path. Raises InvalidParam where that is not UTF-8."""
    if "%" not in segment:
        return segment
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidParam("The path must be percent-encoded UTF-8.") from None
