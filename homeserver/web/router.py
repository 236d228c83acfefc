"""From method and path to an endpoint.

Paths are compared segment by segment, each percent-decoded for itself: an event type may hold an encoded slash. A
literal segment wins over a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from homeserver.web.decode import decode_segment
from homeserver.web.endpoint import Declaration
from homeserver.web.errors import MethodNotAllowed, Unrecognized
from homeserver.web.plan import path_parameters

V3: Final = "/_matrix/client/v3/"
R0: Final = "/_matrix/client/r0/"
MEDIA_V3: Final = "/_matrix/media/v3/"
MEDIA_R0: Final = "/_matrix/media/r0/"

MAY_BE_EMPTY: Final = "state_key"


class Routed(Protocol):
    """What a router leads to."""

    @property
    def declaration(self) -> Declaration:
        """The declaration with the paths."""
        ...


RoutedT = TypeVar("RoutedT", bound=Routed)


class Match(msgspec.Struct, Generic[RoutedT], frozen=True):
    """An endpoint and the decoded parameters of its path."""

    endpoint: RoutedT
    arguments: dict[str, str]


class _Node(Generic[RoutedT]):
    """One place in the tree of paths: what may follow, and the endpoints that end here with their parameters' names."""

    __slots__ = ("here", "literals", "parameter", "parameter_may_be_empty")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[RoutedT]] = {}
        self.parameter: _Node[RoutedT] | None = None
        self.parameter_may_be_empty = False
        self.here: dict[str, tuple[RoutedT, tuple[str, ...]]] = {}


class Router(Generic[RoutedT]):
    """The paths of one listener."""

    def __init__(self, endpoints: Iterable[RoutedT]) -> None:
        self._root: _Node[RoutedT] = _Node()
        for endpoint in endpoints:
            for path in all_paths(endpoint.declaration):
                self._add(path, endpoint)

    def match(self, method: str, path: str) -> Match[RoutedT]:
        """The endpoint. Raises Unrecognized (404), MethodNotAllowed (405), InvalidParam for undecodable paths."""
        segments = path.split("/")
        if "%" in path:
            segments = [decode_segment(each) if "%" in each else each for each in segments]
        readings = [segments]
        if len(segments) > 2 and not segments[-1]:
            # A slash at the end makes no difference where it is not an empty state key.
            readings.append(segments[:-1])
        for reading in readings:
            found = self._find(method, reading)
            if found is not None:
                return found
        allowed = {
            each for reading in readings for node, _ in self._ends(self._root, reading, 1, []) for each in node.here
        }
        if allowed:
            if "GET" in allowed:
                allowed.add("HEAD")
            raise MethodNotAllowed(", ".join(sorted({*allowed, "OPTIONS"})))
        raise Unrecognized()

    def _find(self, method: str, segments: Sequence[str]) -> Match[RoutedT] | None:
        for node, values in self._ends(self._root, segments, 1, []):
            entry = node.here.get(method)
            if entry is None and method == "HEAD":
                entry = node.here.get("GET")
            if entry is not None:
                endpoint, names = entry
                return Match(endpoint, dict(zip(names, values, strict=True)))
        return None

    def _ends(
        self, node: _Node[RoutedT], segments: Sequence[str], index: int, values: list[str]
    ) -> Iterator[tuple[_Node[RoutedT], list[str]]]:
        """The nodes at which this path may end, the most literal first."""
        count = len(segments)
        while index < count:
            segment = segments[index]
            index += 1
            literal = node.literals.get(segment)
            parameter = node.parameter
            if parameter is not None and not segment and not node.parameter_may_be_empty:
                parameter = None
            if literal is not None:
                if parameter is not None:
                    yield from self._ends(literal, segments, index, list(values))
                else:
                    node = literal
                    continue
            if parameter is None:
                return
            values.append(segment)
            node = parameter
        if node.here:
            yield node, values

    def _add(self, path: str, endpoint: RoutedT) -> None:
        node = self._root
        stripped = path.rstrip("/") if len(path) > 1 else path
        for segment in stripped.split("/")[1:]:
            names = path_parameters(segment)
            if not names:
                node = node.literals.setdefault(segment, _Node())
                continue
            if segment != f"{{{names[0]}}}":
                raise ValueError(f"{path}: a parameter must be a whole segment")
            node.parameter_may_be_empty = node.parameter_may_be_empty or names[0] == MAY_BE_EMPTY
            if node.parameter is None:
                node.parameter = _Node()
            node = node.parameter
        method = endpoint.declaration.method
        if method in node.here:
            raise ValueError(f"{method} {path} is declared twice")
        node.here[method] = (endpoint, path_parameters(path))


def all_paths(declaration: Declaration) -> tuple[str, ...]:
    """The paths of an endpoint: its own, the further ones, and r0 (what v3 was called before v1.1) for each v3."""
    paths = dict.fromkeys((declaration.path, *declaration.also))
    for path in tuple(paths):
        if path.startswith(V3):
            paths[R0 + path[len(V3) :]] = None
        elif path.startswith(MEDIA_V3):
            paths[MEDIA_R0 + path[len(MEDIA_V3) :]] = None
    return tuple(paths)
