"""Writes the config file that `./synctl init` makes: every key with its default, what it is for, what is allowed."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from config.kinds import Bytes, Milliseconds, choices_of, describe, format_bytes, format_milliseconds, optional_of
from config.settings import Listener, Settings, Tls

WIDTH = 110
_OPENING = """\
# Configuration of a Myelin homeserver. Every key stands here with its default; a key that is taken away has it too.
# Names of files are relative to the data folder. Sizes: 100M. An environment variable MYELIN_A__B overrides a.b.
# After a change: `./synctl config check`, then `./synctl restart`.
"""


def plain(value: Any, kind: Any = None) -> Any:
    """A value of the settings as plain lists, mappings and scalars, the way an admin writes it."""
    if kind is Bytes:
        return format_bytes(value)
    if kind is Milliseconds:
        return format_milliseconds(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, Listener):
        order = ("bind", "port", "tls", "serves")
        return {name: plain(getattr(value, name)) for name in order if getattr(value, name) is not None}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kinds = get_type_hints(type(value))
        return {field.name: plain(getattr(value, field.name), kinds[field.name]) for field in dataclasses.fields(value)}
    return value


def flow(value: Any) -> str:
    """A plain value as YAML on one line."""
    if isinstance(value, str) and value.isdigit():
        return f'"{value}"'
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=100_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def write(overrides: Mapping[str, Any] | None = None) -> str:
    """The text of a config file, with these values (plain, nested like the file) in place of defaults."""
    parts = [_OPENING]
    kinds = get_type_hints(Settings)
    given = overrides or {}
    for field in dataclasses.fields(Settings):
        default = field.default
        if is_section(default):
            lines = [*_comment(field.metadata["help"], ""), f"{field.name}:"]
            inner = given.get(field.name) or {}
            section_kinds = get_type_hints(type(default))
            for entry in dataclasses.fields(default):  # type: ignore[arg-type]  # is_section says it is one
                value = plain(entry.default, section_kinds[entry.name])
                lines += _key(entry, section_kinds[entry.name], value, inner.get(entry.name, value), "  ")
        else:
            value = plain(default, kinds[field.name])
            lines = _key(field, kinds[field.name], value, given.get(field.name, value), "")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def is_section(value: Any) -> bool:
    """Is this default the start of a section, not a value?"""
    return dataclasses.is_dataclass(value) and not isinstance(value, (type, Listener, Tls))


def _key(field: dataclasses.Field[Any], kind: Any, default: Any, value: Any, indent: str) -> list[str]:
    if isinstance(default, list) and default and isinstance(default[0], dict):
        lines = _comment(field.metadata["help"], indent)
        if not value:
            return [*lines, f"{indent}{field.name}: []"]
        return [*lines, f"{indent}{field.name}:", *(f"{indent}  - {flow(entry)}" for entry in value)]
    words = f"{field.metadata['help']} Default: {flow(default)}."
    if choices_of(kind):
        words += f" Or: {', '.join(word for word in choices_of(kind) if word != default)}."
    elif default == [] or (default is None and optional_of(kind) is not str):
        words += f" Otherwise {describe(kind).removesuffix(' or null')}."
    return [*_comment(words, indent), f"{indent}{field.name}: {flow(value)}"]


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
