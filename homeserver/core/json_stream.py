"""A JSON object that is too large to be held: the elements of its arrays one by one, as its bytes come in.

A state of a large room has a hundred thousand events in one array. Each is given as its own bytes once it is complete;
what is kept is the part that is not, and the few other fields. Looking at each bracket of such a body in Python would
take five times what decoding it takes, so many elements at a time are cut by msgspec: where the bytes up to some comma
are complete values, the array goes on after it. Only where that guess fails is a piece walked through, token by token.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

from homeserver.core.canonical_json import BadJson, JsonValue, decode

LOOK_FROM_BYTES: Final = 32 * 1024
"""So much is gathered before it is looked at, so that nobody makes us look at the same bytes again and again."""
CUT_BYTES: Final = 64 * 1024
"""So much is cut into elements at a time."""
MOST_ELEMENT_BYTES: Final = 1024 * 1024
"""Far above what an event may have (65,536 bytes in canonical form): it may be written in a longer way."""
MOST_OTHER_BYTES: Final = 8 * 1024 * 1024
"""All other fields together, with long lists of servers among them."""

_SPACE: Final = re.compile(rb"[ \t\n\r]*")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^\s,\]}\"\[{:]+")
_TOKEN: Final = re.compile(_STRING.pattern + rb'|["\[\]{}]', re.DOTALL)
_decode_elements: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _More(Exception):
    """The bytes that are here end too early."""


class ObjectSplitter:
    """Feed it the bytes of one object; get the elements of the arrays that were asked for."""

    def __init__(self, arrays: Collection[str]) -> None:
        self._arrays = arrays
        self._buffer = b""
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._look_from_bytes = LOOK_FROM_BYTES
        self._is_last = False
        self._seen: set[str] = set()
        self._others: dict[str, JsonValue] = {}
        self._others_bytes = 0
        self._is_begun = False
        self._is_ended = False
        self._array = ""
        """The array in which we are; "" for none."""
        self._is_after_value = False
        """Whether a comma or an end must come next."""
        self._walk_until = 0
        """Where in the buffer elements can be cut many at a time again."""

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Bytes have come: names of arrays with elements that are complete now. Raises BadJson."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes < self._look_from_bytes:
            return []
        return self._look()

    def close(self) -> tuple[list[tuple[str, bytes]], dict[str, JsonValue]]:
        """All bytes have come: the last elements, and all other fields. Raises BadJson where something is missing."""
        self._is_last = True
        found = self._look()
        if not self._is_ended:
            raise BadJson("the JSON ends too early")
        return found, self._others

    def _look(self) -> list[tuple[str, bytes]]:
        buffer = self._buffer = b"".join((self._buffer, *self._waiting))
        self._waiting, self._waiting_bytes = [], 0
        found: list[tuple[str, bytes]] = []
        at = 0
        try:
            while at < len(buffer):
                at = self._step(buffer, at, found)
        except _More:
            pass
        self._buffer = buffer[at:]
        self._walk_until -= at
        if len(self._buffer) > (MOST_ELEMENT_BYTES if self._array else MOST_OTHER_BYTES):
            raise BadJson("a part of the JSON is too large")
        # What is not complete is looked at again only when there is twice as much of it.
        self._look_from_bytes = max(LOOK_FROM_BYTES, len(self._buffer))
        return found

    def _step(self, buffer: bytes, at: int, found: list[tuple[str, bytes]]) -> int:
        """Take one part of the JSON that begins here; where the next one begins. _More if it is not complete."""
        start = _skipped(buffer, at)
        if start == len(buffer):
            return start
        byte = buffer[start : start + 1]
        if self._is_ended:
            raise BadJson("something comes after the end of the JSON")
        if not self._is_begun:
            if byte != b"{":
                raise BadJson("the JSON must be an object")
            self._is_begun = True
            return start + 1
        if self._array:
            return self._in_array(buffer, start, byte, found)
        if self._is_after_value and byte == b",":
            self._is_after_value = False
            return start + 1
        if byte == b"}" and (self._is_after_value or not self._seen):
            self._is_ended = True
            return start + 1
        if self._is_after_value:
            raise BadJson("a comma is missing in the JSON")
        return self._field(buffer, start)

    def _field(self, buffer: bytes, start: int) -> int:
        """A name with what belongs to it: the value, or the beginning of an array."""
        key = _STRING.match(buffer, start)
        if key is None:
            if buffer[start : start + 1] != b'"':
                raise BadJson("a name is missing in the JSON")
            raise _More
        name = decode(key.group())
        assert isinstance(name, str), "this is a string"
        colon = _skipped(buffer, key.end())
        value = _skipped(buffer, colon + 1)
        if value >= len(buffer):
            raise _More
        if buffer[colon : colon + 1] != b":":
            raise BadJson("a colon is missing in the JSON")
        if name in self._seen:
            raise BadJson(f"{name[:40]!r} is there twice")
        if name in self._arrays:
            if buffer[value : value + 1] != b"[":
                raise BadJson(f"{name} must be an array")
            self._seen.add(name)
            self._array = name
            self._is_after_value = False
            return value + 1
        end = self._end_of(buffer, value)
        self._others_bytes += end - start
        if self._others_bytes > MOST_OTHER_BYTES:
            raise BadJson("the JSON has too much that nobody asked for")
        self._others[name] = decode(buffer[value:end])
        self._seen.add(name)
        self._is_after_value = True
        return end

    def _in_array(self, buffer: bytes, start: int, byte: bytes, found: list[tuple[str, bytes]]) -> int:
        if byte == b"]":
            self._array, self._is_after_value = "", True
            return start + 1
        if self._is_after_value:
            if byte != b",":
                raise BadJson("a comma is missing in the JSON")
            start = _skipped(buffer, start + 1)
            if start == len(buffer):
                raise _More
        elements, end = self._many(buffer, start) if start >= self._walk_until else ([], start)
        if not elements:
            end = self._end_of(buffer, start)
            elements = [buffer[start:end]]
        name = self._array
        found += [(name, element) for element in elements]
        self._is_after_value = True
        return end

    def _many(self, buffer: bytes, start: int) -> tuple[list[bytes], int]:
        """Many elements that begin here, and where they end; none where that is not easily found out."""
        last = buffer.rfind(b"},{", start, start + CUT_BYTES)
        if last < 0:
            last = buffer.rfind(b"}, {", start, start + CUT_BYTES)
        if last < 0:
            return [], start
        for end in (last + 1, buffer.find(b"}]", start, last) + 1):
            if end:
                try:
                    elements = _decode_elements(b"[" + buffer[start:end] + b"]")
                except (msgspec.DecodeError, RecursionError):
                    continue
                # Copies, so that a few that are kept do not keep all the others.
                return [bytes(element) for element in elements], end
        # Whoever makes us fail here does so once for these bytes, not again for each small element in them.
        self._walk_until = start + CUT_BYTES
        return [], start

    def _end_of(self, buffer: bytes, start: int) -> int:
        """Where the value that begins here ends."""
        first = buffer[start : start + 1]
        if first == b'"':
            string = _STRING.match(buffer, start)
            if string is None:
                raise _More
            return string.end()
        if first not in (b"{", b"["):
            scalar = _SCALAR.match(buffer, start)
            if scalar is None:
                raise BadJson("a value is missing in the JSON")
            if scalar.end() == len(buffer) and not self._is_last:
                raise _More
            return scalar.end()
        depth = 0
        for token in _TOKEN.finditer(buffer, start):
            kind = token.group()
            if kind in (b"{", b"["):
                depth += 1
            elif kind in (b"}", b"]"):
                depth -= 1
                if not depth:
                    return token.end()
            elif kind == b'"':
                break  # a string that has not ended
        raise _More


def _skipped(buffer: bytes, at: int) -> int:
    """Where the space that begins here ends."""
    space = _SPACE.match(buffer, at)
    return at if space is None else space.end()
