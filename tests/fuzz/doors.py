"""Every endpoint that is declared, and requests to it: bodies, queries and paths of all kinds."""

from __future__ import annotations

import importlib
import json
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from homeserver.web.endpoint import Endpoint, endpoints
from homeserver.web.plan import path_parameters
from tests.fuzz.shapes import Known, any_json, mostly, nasty_text, parameter_types, struct_of
from tests.tidy.endpoint_table import DOORS
from tests.tidy.project import modules

WAITS = ("timeout", "wait", "timeout_ms")
NOT_JSON = [b"", b"{", b"[]", b"null", b"\xff", b'{"a":' * 2000, b'{"a": 1e999}', b'{"a": "\\ud800"}']


class Request(NamedTuple):
    """One request, the token aside."""

    method: str
    path: str
    body: bytes | None


def examples(number: int) -> settings:
    """So many requests, the same each time, however long the answers take."""
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


def declared() -> list[Endpoint]:
    """All of them, WebSockets too."""
    found: list[Endpoint] = []
    for module in modules():
        if module.startswith(DOORS) and module.split(".")[0] in ("client_api", "federation", "homeserver"):
            found += endpoints(importlib.import_module(module))
    return found


def name_of(endpoint: Endpoint) -> str:
    """How a test of it is called."""
    return f"{endpoint.declaration.method} {endpoint.declaration.path}"


def requests_to(endpoint: Endpoint, known: Known) -> SearchStrategy[Request]:
    """Requests to an endpoint."""
    declaration, hints = endpoint.declaration, parameter_types(endpoint)
    arguments = {name: known.text(name) for name in path_parameters(declaration.path)}
    paths = st.fixed_dictionaries(arguments).map(
        lambda values: declaration.path.format(**{name: quote(value, safe="") for name, value in values.items()})
    )
    query = struct_of(hints.get("query"))
    queries: SearchStrategy[str] = st.just("")
    if isinstance(query, msgspec.inspect.StructType):
        fields = {
            field.encode_name: st.sampled_from(["0", "-1", "x", ""])
            if field.encode_name in WAITS
            else known.like(field.type, field.encode_name).map(as_text)
            for field in query.fields
        }
        # Now and then a parameter comes twice.
        twice = {
            name: mostly(st.lists(value, min_size=1, max_size=1), st.lists(value)) for name, value in fields.items()
        }
        queries = st.fixed_dictionaries({}, optional=twice).map(lambda values: urlencode(values, doseq=True))
    bodies: SearchStrategy[bytes | None] = st.just(None)
    if declaration.method in ("PUT", "POST"):
        body = struct_of(hints.get("body"))
        fitting = st.dictionaries(nasty_text, any_json, max_size=4) if body is None else known.like(body, "")
        encoded = fitting.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
        bodies = mostly(encoded, st.sampled_from(NOT_JSON))
    return st.builds(
        lambda path, query, body: Request(declaration.method, f"{path}?{query}" if query else path, body),
        paths,
        queries,
        bodies,
    )


def as_text(value: Any) -> str:
    """As it stands in a query."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()
