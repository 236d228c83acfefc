"""Requests that look nearly right: shapes read off the declarations of endpoints, filled with values good and bad."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from homeserver.web.endpoint import Endpoint

JsonLike = Any

NASTY_TEXTS = ["", "\0", "a\0b", "x" * 300, "é😀", "\ud7ff", "..", "/", "%2f", "%", "null", "-1", "0", "1e9", "@", "*"]
NASTY_NUMBERS = [0, -1, 1, 2**31, 2**53, 2**63, -(2**63) - 1, 10**40, 0.5, 1e308]

nasty_text = st.sampled_from(NASTY_TEXTS) | st.text(max_size=12)
scalars = st.none() | st.booleans() | st.sampled_from(NASTY_NUMBERS) | st.integers(-100, 100) | nasty_text
any_json: SearchStrategy[JsonLike] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(nasty_text, inner, max_size=3),
    max_leaves=6,
)


def mostly(good: SearchStrategy[Any], bad: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Nine good ones to one bad one."""
    return st.integers(0, 9).flatmap(lambda number: good if number else bad)


class Known:
    """What there is on the server, so that not every request ends at the first look-up."""

    def __init__(self, values: Mapping[str, list[str]], auth: JsonLike) -> None:
        self._values = values
        self._auth = auth
        self._all = sorted({value for some in values.values() for value in some})

    def text(self, name: str) -> SearchStrategy[str]:
        """A value for a parameter or field of this name: mostly one that fits."""
        key = max((each for each in self._values if each in name.lower()), key=len, default=None)
        fitting = self._all if key is None else self._values[key]
        # The first one is the one that is there.
        return mostly(st.sampled_from([fitting[0]] * 3 + fitting), st.sampled_from(self._all) | nasty_text)

    def like(self, kind: msgspec.inspect.Type, name: str) -> SearchStrategy[JsonLike]:
        """A value of a declared type, and now and then anything else."""
        fitting = st.just(self._auth) if name == "auth" else self._fitting(kind, name)
        return mostly(fitting, any_json)

    def _fitting(self, kind: msgspec.inspect.Type, name: str) -> SearchStrategy[JsonLike]:
        match kind:
            case msgspec.inspect.StructType():
                return self._struct(kind)
            case msgspec.inspect.UnionType():
                return st.one_of(*[self._fitting(each, name) for each in kind.types])
            case msgspec.inspect.LiteralType():
                return st.sampled_from(list(kind.values))
            case msgspec.inspect.NoneType():
                return st.none()
            case msgspec.inspect.BoolType():
                return st.booleans()
            case msgspec.inspect.IntType():
                return st.integers(-2, 50)
            case msgspec.inspect.StrType():
                return self.text(name)
            case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType():
                return st.lists(self.like(kind.item_type, name), max_size=3)
            case msgspec.inspect.DictType():
                return st.dictionaries(self.text(name), self.like(kind.value_type, name), max_size=3)
            case _:
                return any_json

    def _struct(self, kind: msgspec.inspect.StructType) -> SearchStrategy[JsonLike]:
        required = {each.encode_name: self.like(each.type, each.encode_name) for each in kind.fields if each.required}
        optional = {
            each.encode_name: self.like(each.type, each.encode_name) for each in kind.fields if not each.required
        }
        whole = st.fixed_dictionaries(required, optional=optional)
        # Now and then a key is missing that has to be there.
        return mostly(whole, st.fixed_dictionaries({}, optional={**required, **optional}))


def parameter_types(endpoint: Endpoint) -> dict[str, Any]:
    """The types of what a handler takes."""
    return inspect.get_annotations(endpoint.handler, eval_str=True)


def struct_of(hint: object) -> msgspec.inspect.Type | None:
    """The declared shape of a body or query; None where it is not a struct."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(each for each in typing.get_args(hint) if each is not types.NoneType)
    if not (inspect.isclass(hint) and issubclass(hint, msgspec.Struct)):
        return None
    return msgspec.inspect.type_info(hint)
