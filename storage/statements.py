"""Statements that are only sent, never asked for rows: what the functions that write take as `tx`.

A psycopg2 cursor is such a `tx`. `Collector` is another: it sends nothing, but gathers the text of all statements,
so that a whole transaction goes to PostgreSQL in one message. Each statement is prepared once a connection and
afterwards only executed by name; measured in docs/decisions/batched-writes.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

MAX_PREPARED: Final = 300
NOT_IN_TEXT: Final = "\0"
"""PostgreSQL's text holds every character but this one."""


class NotWritable(ValueError):
    """A value that no column can hold. The one who gave it must change it."""


class Statements(Protocol):
    """Where statements go that need no answer.

    Placeholders are `%s`; arguments are None, bool, int, str, bytes, or lists of these.
    """

    def execute(self, query: str, arguments: Sequence[object] = ..., /) -> object:
        """Send or gather one statement."""
        ...


def json_lines(texts: Sequence[bytes]) -> str:
    """Several JSON texts as one argument; in SQL: `string_to_array(%s, E'\\n')` with `convert_to(…, 'UTF8')`.

    Cheaper than an array of bytea, whose text form takes two characters a byte. Encoders of JSON never leave
    a raw newline in it.
    """
    joined = b"\n".join(texts)
    if joined.count(b"\n") != len(texts) - 1:
        raise NotWritable("a stored JSON text must not hold a raw newline")
    return joined.decode()


def storable(text: str) -> str:
    """The text as a column can hold it. For columns beside the JSON, which keeps the exact text."""
    return text.replace(NOT_IN_TEXT, "\ufffd") if NOT_IN_TEXT in text else text


class Prepared:
    """Which statements a connection has prepared."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._must_forget = False

    def name_of(self, query: str) -> tuple[str, str]:
        """The name for a statement, and the text that prepares it first ('' if that was done)."""
        name = self._names.get(query)
        if name is not None:
            return name, ""
        forget = ""
        if self._must_forget or len(self._names) >= MAX_PREPARED:
            self._names.clear()
            self._must_forget = False
            forget = "DEALLOCATE ALL;"
        name = self._names[query] = f"s{len(self._names)}"
        return name, f"{forget}PREPARE {name} AS {with_numbers(query)};"

    def forget(self) -> None:
        """After a failure it is not known which were prepared: prepare all anew."""
        self._names.clear()
        self._must_forget = True


class Collector:
    """Gathers statements into one text. `count` is their number."""

    __slots__ = ("_parts", "_prepared", "count")

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._parts: list[str] = []
        self.count = 0

    def execute(self, query: str, arguments: Sequence[object] = (), /) -> None:
        """Add a statement."""
        name, prepare = self._prepared.name_of(query)
        if prepare:
            self._parts.append(prepare)
        given = f"({literals(arguments)})" if arguments else ""
        self._parts.append(f"EXECUTE {name}{given};")
        self.count += 1

    def text(self) -> str:
        """All statements. Sent as one message they are one transaction."""
        return "".join(self._parts)


def literals(values: Sequence[object]) -> str:
    """Values as SQL text (with standard_conforming_strings on, as it is by default)."""
    return ",".join([(_LITERALS.get(type(each)) or _of_base(_LITERALS, each))(each) for each in values])


def _quoted(text: str) -> str:
    if NOT_IN_TEXT in text:
        raise NotWritable("a text column cannot hold the character U+0000")
    return "'" + text.replace("'", "''") + "'"


def _array(values: Sequence[object]) -> str:
    if set(map(type, values)) == {int}:
        # As in JSON, but for the outer brackets.
        return "'{" + msgspec.json.encode(values)[1:-1].decode() + "}'"
    elements = [(_ELEMENTS.get(type(each)) or _of_base(_ELEMENTS, each))(each) for each in values]
    return _quoted("{" + ",".join(elements) + "}")


def _text_element(text: str) -> str:
    if text.isidentifier() and text.upper() != "NULL":
        return text  # letters, digits and underscores need no quotes
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return '"' + text.replace('"', '\\"') + '"'


_Writers = dict[type, Callable[..., str]]

_LITERALS: Final[_Writers] = {
    type(None): {None: "NULL"}.__getitem__,
    bool: {True: "true", False: "false"}.__getitem__,
    int: int.__repr__,
    str: _quoted,
    bytes: lambda value: "'\\x" + value.hex() + "'",
    list: _array,
    tuple: _array,
}

_ELEMENTS: Final[_Writers] = {
    type(None): {None: "NULL"}.__getitem__,
    bool: {True: "t", False: "f"}.__getitem__,
    int: int.__repr__,
    str: _text_element,
    bytes: lambda value: '"\\\\x' + value.hex() + '"',
    # A list in a list: given as the text form of an array of numbers, to be cast.
    list: lambda value: '"{' + ",".join(map(int.__repr__, value)) + '}"',
    tuple: lambda value: '"{' + ",".join(map(int.__repr__, value)) + '}"',
}


def _of_base(writers: _Writers, value: object) -> Callable[..., str]:
    """For subclasses, such as those of enumerations."""
    for base in type(value).__mro__:
        if base in writers:
            return writers[base]
    raise NotWritable(f"cannot write a {type(value).__name__}")


def with_numbers(query: str) -> str:
    """The statement with $1, $2 … for each %s."""
    pieces = query.split("%s")
    numbered = [pieces[0]]
    for number, piece in enumerate(pieces[1:], start=1):
        numbered.append(f"${number}{piece}")
    return "".join(numbered).replace("%%", "%").strip().rstrip(";")
