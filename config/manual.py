"""Writes docs/configuration.md from the settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from config.kinds import choices_of, describe, optional_of, tuple_of
from config.sample import flow, is_section, plain
from config.settings import Listener, Settings, Tls

_OPENING = """\
# Configuration

One YAML file, `myelin.yaml` in the data folder. `./synctl init --server-name NAME` writes it with every key, its
default and a comment; `./synctl start` does so too where there is none. A key that is not there has its default.
Unknown keys and wrong types are mistakes, named with their key and line by `./synctl config check`.

- Names of files are relative to the data folder (the folder of the file, where none is named with `--data`).
- A size is a number of bytes, or a number with `K`, `M`, `G` or `T`: `100M`.
- `./synctl init --set a.b=value` writes another value into the new file; the value is read as YAML. An entry of a
  list goes by its number: `--set listeners.0.port=8010`.
- An environment variable `MYELIN_A__B` overrides the key `a.b` at every start, its value read as YAML as well:
  `MYELIN_REGISTRATION__ENABLED=true`.
- `python -m homeserver --config FILE --set a.b=value` overrides both.

This page is written from `config/settings.py` by `./synctl config manual`.
"""

_CLOSING = """\
## Other files in the data folder

| file | what it is |
| --- | --- |
| `signing.key` | proves this server's events and requests; keep a copy, keep it secret |
| `tls.crt`, `tls.key` | the self-signed pair made where a listener names files that do not exist |
| `admin.secret` | what `./synctl register-user` signs with; made at first start, accepted from this machine only |
| `postgres/` | the data of Myelin's own PostgreSQL, where `database.url` is null. `postgres.log` is its log |
| `media/` | files that users sent |
| `myelin.log` | what the server tells, where `log.file` is null and it runs in the background |
| `myelin.pid`, `myelin.lock` | the process that runs, and the lock that keeps a second one away |
"""


def manual() -> str:
    """The page."""
    top = get_type_hints(Settings)
    parts = [_OPENING, "## Top level\n", *_table((f, top[f.name]) for f in _plain_fields())]
    parts += [*_listeners(), "```\n"]
    for field in dataclasses.fields(Settings):
        if is_section(field.default):
            kinds = get_type_hints(type(field.default))
            entries = dataclasses.fields(field.default)  # type: ignore[arg-type]  # is_section says it is one
            parts.append(f"\n## {field.name}\n\n{field.metadata['help']}\n")
            parts += _table(((entry, kinds[entry.name]) for entry in entries), field.name)
    return "\n".join(parts) + "\n\n" + _CLOSING


def every_key() -> list[str]:
    """Every key that the page must name, with its section: `media.max_upload`."""
    found = [field.name for field in _plain_fields()]
    for field in dataclasses.fields(Settings):
        if is_section(field.default):
            found += [f"{field.name}.{entry.name}" for entry in dataclasses.fields(field.default)]  # type: ignore[arg-type]
    found += [f"listeners.N.{field.name}" for field in dataclasses.fields(Listener)]
    return found + [f"listeners.N.tls.{field.name}" for field in dataclasses.fields(Tls)]


def _plain_fields() -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(Settings) if not is_section(field.default)]


def _listeners() -> list[str]:
    listener, tls = get_type_hints(Listener), get_type_hints(Tls)
    return [
        "\n## listeners\n\nA list; each entry opens one port.\n",
        *_table(((entry, listener[entry.name]) for entry in dataclasses.fields(Listener)), "listeners.N"),
        *list(_table(((entry, tls[entry.name]) for entry in dataclasses.fields(Tls)), "listeners.N.tls"))[2:],
        "\nThe default:\n\n```yaml\nlisteners:",
        *(f"  - {flow(entry)}" for entry in plain(Settings.__dataclass_fields__["listeners"].default)),
    ]


def _table(fields: Any, section: str = "") -> Iterator[str]:
    yield "| key | allowed | default | what it is for |"
    yield "| --- | --- | --- | --- |"
    for field, kind in fields:
        key = f"{section}.{field.name}" if section else field.name
        yield f"| `{key}` | {_allowed(kind)} | {_default(field, kind)} | {field.metadata['help'].replace('|', '/')} |"


def _allowed(kind: Any) -> str:
    item = tuple_of(kind)
    if item is not None:
        return "a list" if dataclasses.is_dataclass(item) else f"a list of {_PLURALS.get(item, _words(item))}"
    inner = optional_of(kind)
    if inner is Tls:
        return "keys or `null`"
    return _words(kind)


_PLURALS: dict[Any, str] = {str: "texts", Path: "file names"}


def _words(kind: Any) -> str:
    return ", ".join(f"`{word}`" for word in choices_of(kind)) if choices_of(kind) else describe(kind)


def _default(field: dataclasses.Field[Any], kind: Any) -> str:
    if field.default is dataclasses.MISSING:
        return "must be given"
    if isinstance(field.default, tuple) and field.default and isinstance(field.default[0], Listener):
        return "see below"
    return f"`{flow(plain(field.default, kind))}`"
