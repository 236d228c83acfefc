"""Reads a config file, and what overrides it, into Settings; every mistake with its key, its line and what is allowed.

What wins: --set over the environment, the environment over the file, the file over the defaults. An environment
variable MYELIN_A__B is the key a.b, its value read as YAML.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from config import together
from config.kinds import (
    Bytes,
    Milliseconds,
    choices_of,
    describe,
    optional_of,
    parse_bytes,
    parse_milliseconds,
    tuple_of,
)
from config.sample import flow, plain
from config.settings import Settings

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
PREFIX = "MYELIN_"


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong with one key, and where it stands."""

    where: str
    key: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.text) if part)


class BadConfig(Exception):
    """The config cannot be used; holds every mistake that was found."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = tuple(mistakes)


def load(
    file: Path,
    folder: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    overrides: Sequence[str] = (),
) -> Settings:
    """The settings of this file; BadConfig with all that is wrong. Relative names in it are relative to the folder."""
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        raise BadConfig([Mistake(str(file), "", "there is no such file; `./synctl init` writes one")]) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise BadConfig([Mistake(str(file), "", f"cannot be read: {problem}")]) from problem
    return loads(text, str(file), folder or file.parent, environment, overrides)


def loads(
    text: str,
    name: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Settings:
    """The same for a text that stands in a file of this name."""
    reader = _Reader(folder.absolute())
    root = reader.parse(text, name)
    for key, value in from_environment(environment or {}):
        root = reader.override(root, key, value, f"environment variable {PREFIX}{'__'.join(key).upper()}")
    for option in overrides:
        key_text, equals, value = option.partition("=")
        if not equals or not key_text:
            raise BadConfig([Mistake(f"--set {option}", "", "expected KEY=VALUE, as in rooms.default_version=11")])
        root = reader.override(root, tuple(key_text.split(".")), value, f"--set {key_text}")
    settings = reader.section(root, Settings, "")
    if isinstance(settings, Settings):
        for key_text, text_of_mistake in together.mistakes(settings):
            reader.note(root, key_text, text_of_mistake)
    if reader.mistakes:
        raise BadConfig(sorted(reader.mistakes, key=_in_order_of_lines))
    assert isinstance(settings, Settings)
    return settings


def from_environment(environment: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The keys that environment variables set. One that has no `__` counts only where it names a key of the top
    level: container platforms set MYELIN_PORT and the like of their own accord."""
    top = {field.name for field in dataclasses.fields(Settings)}
    for name in sorted(environment):
        if name.startswith(PREFIX):
            key = tuple(name[len(PREFIX) :].lower().split("__"))
            if len(key) > 1 or key[0] in top:
                yield key, environment[name]


def _in_order_of_lines(mistake: Mistake) -> tuple[str, int]:
    name, _, line = mistake.where.rpartition(":")
    return (name, int(line)) if line.isdigit() else (mistake.where, 0)


class _Reader:
    """One pass over one config: turns YAML nodes into values of the settings' types and gathers mistakes."""

    def __init__(self, folder: Path) -> None:
        self.mistakes: list[Mistake] = []
        self._folder = folder
        self._names: dict[int, str] = {}  # nodes that do not come from the file, by id, with where they come from
        self._kept: list[yaml.Node] = []  # keeps those nodes alive, so that their ids stay theirs
        self._file = ""

    def parse(self, text: str, name: str) -> yaml.Node:
        """The tree of a file; an empty one for an empty file."""
        self._file = name
        node = self._compose(text, name)
        return node or yaml.MappingNode(f"{_TAG}map", [], yaml.Mark(name, 0, 0, 0, None, 0))

    def override(self, root: yaml.Node, key: tuple[str, ...], value: str, where: str) -> yaml.Node:
        """Put a value, given as YAML, in the place of this key."""
        node = self._compose(value, where) or yaml.ScalarNode(f"{_TAG}null", "")
        self._mark(node, where)
        if isinstance(root, yaml.MappingNode):
            self._write_out_default(root, key[0], where)
            self._put(root, key, 0, node, where)
        return root

    def _write_out_default(self, root: yaml.MappingNode, name: str, where: str) -> None:
        """Give a key that the file leaves out its default, so that an override can change a part of it."""
        defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
        if name in defaults and all(entry.value != name for entry, _ in root.value):
            node = self._compose(flow(plain(defaults[name])), where)
            name_node = yaml.ScalarNode(f"{_TAG}str", name)
            self._mark(name_node, where)
            if node is not None:
                self._mark(node, where)
                root.value.append((name_node, node))

    def _compose(self, text: str, name: str) -> yaml.Node | None:
        try:
            node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as problem:
            line = f":{problem.problem_mark.line + 1}" if problem.problem_mark and name == self._file else ""
            raise BadConfig([Mistake(f"{name}{line}", "", f"this is not YAML: {problem.problem}")]) from problem
        except yaml.YAMLError as problem:
            raise BadConfig([Mistake(name, "", f"this is not YAML: {' '.join(str(problem).split())}")]) from problem
        return node

    def _mark(self, node: yaml.Node, where: str) -> None:
        self._names[id(node)] = where
        self._kept.append(node)
        if isinstance(node, yaml.SequenceNode):
            for entry in node.value:
                self._mark(entry, where)
        elif isinstance(node, yaml.MappingNode):
            for name, entry in node.value:
                self._mark(name, where)
                self._mark(entry, where)

    def _put(self, node: yaml.Node, key: tuple[str, ...], depth: int, value: yaml.Node, where: str) -> None:
        last = depth == len(key) - 1
        if isinstance(node, yaml.SequenceNode):
            if not key[depth].isdigit() or int(key[depth]) >= len(node.value):
                self._wrong(value, ".".join(key), f"expected the number of an entry, 0 to {len(node.value) - 1}")
            elif last:
                node.value[int(key[depth])] = value
            else:
                self._put(node.value[int(key[depth])], key, depth + 1, value, where)
            return
        if not isinstance(node, yaml.MappingNode):
            self._wrong(value, ".".join(key), f"{'.'.join(key[:depth])} has no keys below it")
            return
        for place, (name, old) in enumerate(node.value):
            if name.value == key[depth]:
                if last:
                    node.value[place] = (name, value)
                elif old.tag == f"{_TAG}null":
                    node.value[place] = (name, self._nest(key[depth + 1 :], value, where))
                else:
                    self._put(old, key, depth + 1, value, where)
                return
        name = yaml.ScalarNode(f"{_TAG}str", key[depth])
        self._mark(name, where)
        node.value.append((name, value if last else self._nest(key[depth + 1 :], value, where)))

    def _nest(self, key: tuple[str, ...], value: yaml.Node, where: str) -> yaml.Node:
        for part in reversed(key):
            value = yaml.MappingNode(f"{_TAG}map", [(yaml.ScalarNode(f"{_TAG}str", part), value)])
            self._mark(value, where)
        return value

    def _where(self, node: yaml.Node) -> str:
        name = self._names.get(id(node))
        return name if name is not None else f"{self._file}:{node.start_mark.line + 1}"

    def _wrong(self, node: yaml.Node, key: str, text: str) -> None:
        self.mistakes.append(Mistake(self._where(node), key, text))

    def note(self, root: yaml.Node, key: str, text: str) -> None:
        """Note a mistake in a key of a config that could be read; its line, or the nearest there is."""
        node = root
        for part in key.split("."):
            if isinstance(node, yaml.SequenceNode):
                node = node.value[int(part)]
            else:
                node = next((value for name, value in node.value if name.value == part), node)
        self._wrong(node, key, text)

    def section(self, node: yaml.Node, section: type[Any], key: str) -> Any:
        """A section from a mapping, or None with its mistakes noted."""
        is_empty = node.tag == f"{_TAG}null" and key != ""
        if not is_empty and not isinstance(node, yaml.MappingNode):
            self._wrong(node, key, f"expected {_keys_of(section)}, not {_shown(node)}")
            return None
        values: dict[str, Any] = {}
        noted = len(self.mistakes)
        known = {field.name: field for field in dataclasses.fields(section)}
        kinds = get_type_hints(section)
        for name_node, value_node in () if is_empty else node.value:
            name = str(name_node.value)
            path = f"{key}.{name}" if key else name
            if name not in known:
                self._wrong(name_node, path, f"there is no such key; allowed here: {', '.join(known)}")
            elif name in values:
                self._wrong(name_node, path, "stands here twice")
            else:
                values[name] = self._field(value_node, kinds[name], known[name], path)
        for name, field in known.items():
            if name not in values:
                if field.default is dataclasses.MISSING:
                    self._wrong(node, f"{key}.{name}", f"is missing; expected {describe(kinds[name])}")
                else:
                    values[name] = self._placed(field.default)
        return section(**values) if len(self.mistakes) == noted else None

    def _field(self, node: yaml.Node, kind: Any, field: dataclasses.Field[Any], key: str) -> Any:
        noted = len(self.mistakes)
        if field.metadata.get("number_as_text") and node.tag == f"{_TAG}int" and node.value.isdigit():
            value: Any = node.value
        else:
            value = self._value(node, kind, key)
        check = field.metadata.get("check")
        if check is not None and len(self.mistakes) == noted:
            allowed = check(value)
            if allowed is not None:
                shown = "this" if field.metadata.get("secret") else _shown(node)
                self._wrong(node, key, f"expected {allowed}, not {shown}")
        return value

    def _value(self, node: yaml.Node, kind: Any, key: str) -> Any:
        inner = optional_of(kind)
        if inner is not None:
            return None if node.tag == f"{_TAG}null" else self._value(node, inner, key)
        item = tuple_of(kind)
        if item is not None:
            if isinstance(node, yaml.SequenceNode):
                return tuple(self._value(entry, item, f"{key}.{place}") for place, entry in enumerate(node.value))
            return self._refuse(node, kind, key)
        if dataclasses.is_dataclass(kind):
            return self.section(node, kind, key)  # type: ignore[arg-type]  # is_dataclass also allows instances
        if not isinstance(node, yaml.ScalarNode):
            return self._refuse(node, kind, key)
        try:
            return self._scalar(node, kind)
        except ValueError:
            return self._refuse(node, kind, key)

    def _refuse(self, node: yaml.Node, kind: Any, key: str) -> None:
        hint = ""
        if kind is str and isinstance(node, yaml.ScalarNode) and node.tag != f"{_TAG}null":
            hint = f'; in quotes it is text: "{node.value}"'
        self._wrong(node, key, f"expected {describe(kind)}, not {_shown(node)}{hint}")

    def _scalar(self, node: yaml.ScalarNode, kind: Any) -> Any:
        tag = node.tag.removeprefix(_TAG)
        text: str = node.value
        if choices_of(kind) and tag == "str" and text in choices_of(kind):
            return text
        if kind is bool and tag == "bool":
            return text.lower() in ("yes", "true", "on")
        if kind in (int, Bytes) and tag == "int" and _INTEGER.fullmatch(text):
            return int(text)
        if kind is float and tag in ("int", "float"):
            return float(text)
        if kind is Bytes and tag == "str":
            return parse_bytes(text)
        if kind is Milliseconds and tag == "str":
            return parse_milliseconds(text)
        if kind is str and tag == "str":
            return text
        if kind is Path and tag == "str" and text and "\0" not in text:
            return self._folder / text
        raise ValueError(text)

    def _placed(self, value: Any) -> Any:
        """A default with its file names made absolute."""
        if isinstance(value, Path):
            return self._folder / value
        if isinstance(value, tuple):
            return tuple(self._placed(entry) for entry in value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            parts = {field.name: self._placed(getattr(value, field.name)) for field in dataclasses.fields(value)}
            return dataclasses.replace(value, **parts)
        return value


def _keys_of(section: type[Any]) -> str:
    return "the keys " + ", ".join(field.name for field in dataclasses.fields(section))


def _shown(node: yaml.Node) -> str:
    """A node as its writer sees it, shortened."""
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "keys with values"
    if node.tag == f"{_TAG}null":
        return "null"
    text = str(node.value)
    text = text if len(text) <= 40 else text[:37] + "..."
    return f'"{text}"' if node.tag == f"{_TAG}str" else text
