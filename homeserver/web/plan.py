"""From an endpoint's signature to a plan that a request runs without looking at the signature again."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Union, cast

from twisted.internet.defer import Deferred

from homeserver.core.canonical_json import JsonObject
from homeserver.web.access import Access
from homeserver.web.decode import BodyDecoder, PathParser, QueryDecoder, decode_object, path_parsers
from homeserver.web.endpoint import Declaration, Endpoint
from homeserver.web.errors import InvalidParam
from homeserver.web.request import RequestInfo

_PATH_PARAMETER: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class Call(Protocol):
    """Makes the coroutine that answers a request; decoding errors are raised here, before anything runs."""

    def __call__(
        self, arguments: Mapping[str, str], who: object, request: RequestInfo, extra: object
    ) -> Coroutine[Deferred[Any], Any, object]: ...


@dataclass(frozen=True, slots=True)
class BoundEndpoint:
    """An endpoint with its service, ready to be called. `takes_upload` means that the body is not gathered first."""

    declaration: Declaration
    name: str
    call: Call
    takes_body: bool
    takes_upload: bool


# What fills one parameter: from path arguments, requester, request, and the upload or socket.
_Source = Callable[[Mapping[str, str], object, RequestInfo, object], object]


def path_parameters(path: str) -> tuple[str, ...]:
    """The names in braces in a path."""
    return tuple(_PATH_PARAMETER.findall(path))


def bind(endpoints: Iterable[Endpoint], service: object) -> tuple[BoundEndpoint, ...]:
    """Give the endpoints of a door the service that they call. Mistakes in a signature raise TypeError here."""
    return tuple(compile_endpoint(each, service) for each in endpoints)


def compile_endpoint(endpoint: Endpoint, service: object) -> BoundEndpoint:
    """Resolve every parameter of the handler once. Raises TypeError naming the handler for what cannot be resolved."""
    handler, declaration = endpoint.handler, endpoint.declaration
    name = f"{handler.__module__}.{handler.__qualname__}"
    try:
        hints = inspect.get_annotations(handler, eval_str=True)
    except NameError as error:
        raise TypeError(f"{name}: {error}; types of a handler must be imported at run time") from None
    parameters = list(inspect.signature(handler).parameters.values())
    if not parameters:
        raise TypeError(f"{name} must take the service as its first parameter")
    _check_service(name, hints.get(parameters[0].name), service)
    compiler = _Compiler(name, declaration, hints)
    sources: list[tuple[str, _Source]] = []
    for parameter in parameters[1:]:
        source = compiler.source(parameter)
        if source is not None:
            sources.append((parameter.name, source))
    compiler.check_all_used({parameter.name for parameter in parameters})
    plan = tuple(sources)
    # Handlers are coroutine functions: `endpoint` takes no others.
    answering = cast("Callable[..., Coroutine[Deferred[Any], Any, object]]", handler)

    def call(
        arguments: Mapping[str, str], who: object, request: RequestInfo, extra: object
    ) -> Coroutine[Deferred[Any], Any, object]:
        values = {name: source(arguments, who, request, extra) for name, source in plan}
        return answering(service, **values)

    return BoundEndpoint(declaration, name, call, compiler.takes_body, compiler.takes_upload)


def _check_service(name: str, hint: object, service: object) -> None:
    if inspect.isclass(hint) and not getattr(hint, "_is_protocol", False) and not isinstance(service, hint):
        raise TypeError(f"{name} needs a {hint.__name__}, was given {type(service).__name__}")


class _Compiler:
    """Finds the source of each parameter of one handler."""

    def __init__(self, name: str, declaration: Declaration, hints: Mapping[str, Any]) -> None:
        self._name = name
        self._declaration = declaration
        self._hints = hints
        self._in_path = frozenset(path_parameters(declaration.path))
        self._parsers = path_parsers()
        self.takes_body = False
        self.takes_upload = False
        for path in declaration.also:
            if frozenset(path_parameters(path)) != self._in_path:
                raise TypeError(f"{name}: {path} must have the parameters of {declaration.path}")

    def source(self, parameter: inspect.Parameter) -> _Source | None:
        """What fills the parameter; None to leave it at its default."""
        name = parameter.name
        hint = self._hints.get(name)
        if name in self._in_path:
            return self._from_path(name, hint)
        if name == "who":
            if self._declaration.access is Access.NONE:
                raise TypeError(f"{self._name} takes `who`, but its access is NONE")
            return lambda arguments, who, request, extra: who
        if name == "request":
            return lambda arguments, who, request, extra: request
        if name == "query":
            return self._from_query(hint)
        if name in ("body", "content"):
            self.takes_body = True
            return self._from_body(name, hint)
        if name == "upload":
            self.takes_upload = True
            return lambda arguments, who, request, extra: extra
        if name == "socket" and self._declaration.is_websocket:
            return lambda arguments, who, request, extra: extra
        if parameter.default is not inspect.Parameter.empty:
            return None
        raise TypeError(f"{self._name}: nothing in {self._declaration.path} gives the parameter {name}")

    def check_all_used(self, names: set[str]) -> None:
        """Raise where the path or the declaration names something that the handler does not take."""
        unused = self._in_path - names
        if unused:
            raise TypeError(f"{self._name} does not take {sorted(unused)} of its path {self._declaration.path}")
        once_per = self._declaration.once_per
        if once_per is not None and once_per not in self._in_path:
            raise TypeError(f"{self._name}: once_per={once_per!r} is not in its path")
        if self.takes_body and self.takes_upload:
            raise TypeError(f"{self._name} takes its body both whole and as a stream")
        if self._declaration.is_websocket and "socket" not in names:
            raise TypeError(f"{self._name} must take a `socket`")

    def _from_path(self, name: str, hint: object) -> _Source:
        parse = self._parsers.get(hint)
        if parse is None:
            raise TypeError(f"{self._name}: a path parameter cannot be a {hint!r}")
        if hint is str:
            return _text_source(name)
        return _parsed_source(name, parse)

    def _from_query(self, hint: object) -> _Source:
        decoder = QueryDecoder(cast("type[object]", hint))
        return lambda arguments, who, request, extra: decoder(request.query)

    def _from_body(self, name: str, hint: object) -> _Source:
        if name == "content":
            if hint != JsonObject:
                raise TypeError(f"{self._name}: `content` must be a JsonObject")
            return lambda arguments, who, request, extra: decode_object(request.body)
        kind, optional = _without_none(hint)
        decoder = BodyDecoder(kind, optional)
        return lambda arguments, who, request, extra: decoder(request.body)


def _text_source(name: str) -> _Source:
    def source(arguments: Mapping[str, str], who: object, request: RequestInfo, extra: object) -> str:
        value = arguments[name]
        if "\0" in value:
            raise InvalidParam(f"{name} has a NUL character.")
        return value

    return source


def _parsed_source(name: str, parse: PathParser) -> _Source:
    def source(arguments: Mapping[str, str], who: object, request: RequestInfo, extra: object) -> object:
        try:
            return parse(arguments[name])
        except ValueError as error:
            raise InvalidParam(f"{name} is not valid: {error}.") from None

    return source


def _without_none(hint: object) -> tuple[type[object], bool]:
    if typing.get_origin(hint) in (Union, types.UnionType):
        others = tuple(each for each in typing.get_args(hint) if each is not type(None))
        if len(others) < len(typing.get_args(hint)) and len(others) == 1:
            return cast("type[object]", others[0]), True
    return cast("type[object]", hint), False
