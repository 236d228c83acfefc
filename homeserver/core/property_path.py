r"""Dot-separated property paths: `content.m\.relates_to.rel_type` names one property of an event.

Push-rule conditions and the `event_fields` of filters use them.
Specification: Appendices, "Dot-separated property paths".
"""

from homeserver.core.canonical_json import JsonObject, JsonValue

Path = tuple[str, ...]


class Absent:
    """The type of ABSENT: a property that is not there, which is another thing than one that is null."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()


def parse_path(text: str) -> Path:
    r"""Split at the dots. `\.` is a dot and `\\` a backslash inside a name; any other backslash stands for itself."""
    if "\\" not in text:
        return tuple(text.split("."))
    names: list[str] = []
    name: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        if character == "\\" and text[at + 1 : at + 2] in (".", "\\"):
            name.append(text[at + 1])
            at += 2
            continue
        if character == ".":
            names.append("".join(name))
            name.clear()
        else:
            name.append(character)
        at += 1
    names.append("".join(name))
    return tuple(names)


def format_path(path: Path) -> str:
    """The text of a path; the inverse of parse_path."""
    return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in path)


def value_at(json: JsonObject, path: Path) -> JsonValue | Absent:
    """The property that the path names, or ABSENT. Lists are not entered."""
    value: JsonValue = json
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return ABSENT
        value = value[name]
    return value


def select(json: JsonObject, paths: tuple[Path, ...]) -> JsonObject:
    """A copy of an object with only the named properties, each at its place."""
    selected: JsonObject = {}
    for path in paths:
        value = value_at(json, path)
        if isinstance(value, Absent):
            continue
        place = selected
        for name in path[:-1]:
            inner = place.get(name)
            if inner is None:
                inner = place[name] = {}
            if not isinstance(inner, dict):
                break
            place = inner
        else:
            place[path[-1]] = value
    return selected
