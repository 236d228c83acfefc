"""docs/endpoints.tsv: every endpoint of the specification and every one of ours, and where it is built.

`python -m tests.tidy.endpoint_table > docs/endpoints.tsv` writes it anew. The specification's own table is read where
it stands beside the checkout; elsewhere the rows that are there stay.
"""

from __future__ import annotations

import csv
import importlib
import io
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from homeserver.web.endpoint import endpoints
from tests.tidy.project import ROOT, modules

TABLE = ROOT / "docs" / "endpoints.tsv"
SPECIFICATION = ROOT.parent / "shared" / "spec" / "endpoints.tsv"
DOORS = ("client_api", "federation.inbound", "homeserver.admin", "homeserver.web", "homeserver.app")
COLUMNS = ("api", "method", "path", "built_in")


class Row(NamedTuple):
    """One line of the table; `built_in` is the module, empty where it is not built."""

    api: str
    method: str
    path: str
    built_in: str

    @property
    def key(self) -> tuple[str, str]:
        """What two writings of the same endpoint have in common: parameters may be called differently."""
        return self.method, normal(self.path)


def normal(path: str) -> str:
    """A path without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def read() -> list[Row]:
    """The table as it stands."""
    if not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [Row(*(line[name] for name in COLUMNS)) for line in csv.DictReader(file, delimiter="\t")]


def from_specification() -> list[Row]:
    """The specification's endpoints, each once; nothing where its table is not there."""
    if not SPECIFICATION.exists():
        return []
    found: dict[tuple[str, str], Row] = {}
    with SPECIFICATION.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file, delimiter="\t"):
            row = Row(line["api"], line["method"], line["path"], "")
            found.setdefault(row.key, row)
    return list(found.values())


def declared() -> Mapping[tuple[str, str], Row]:
    """What the doors declare, by method and path."""
    found: dict[tuple[str, str], Row] = {}
    for module in modules():
        if module.startswith(DOORS):
            for endpoint in endpoints(importlib.import_module(module)):
                declaration = endpoint.declaration
                for path in (declaration.path, *declaration.also):
                    row = Row("myelin", declaration.method, path, module)
                    found[row.key] = row
    return found


def updated(rows: Iterable[Row], built: Mapping[tuple[str, str], Row]) -> list[Row]:
    """The rows with the place where each is built, and those added that only we have."""
    known = {row.key: row for row in rows if row.api != "myelin" or row.key in built}
    for key, row in built.items():
        known.setdefault(key, row)
    placed = [row._replace(built_in=built[key].built_in if key in built else "") for key, row in known.items()]
    return sorted(placed, key=lambda row: (row.api == "myelin", row.api, row.path, row.method))


def write(rows: Iterable[Row]) -> str:
    """The text of the table."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return out.getvalue()


if __name__ == "__main__":
    print(write(updated([*from_specification(), *read()], declared())), end="")
