"""The layout of the code is as docs/architecture.md says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.tidy.project import imports_of, layer_of, module_of, modules, python_files, shown, tree_of

LONGEST_FILE = 450
LONGEST_FUNCTION = 70
IMPURE = ("twisted", "psycopg2", "treq", "autobahn", "storage", "config", "time", "random", "socket", "subprocess")


def test_imports_go_down_the_layers_only() -> None:
    upward = [
        f"{shown(file)}:{line} imports {name}"
        for module, file in modules().items()
        for line, name in imports_of(module)
        if layer_of(name) > layer_of(module)
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_ring() -> None:
    graph = {module: {name for _, name in imports_of(module) if name in modules()} for module in modules()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as ring:
        raise AssertionError(" -> ".join(reversed(ring.args[1]))) from None


def test_doors_never_import_storage() -> None:
    wrong = [
        f"{shown(file)}:{line} imports {name}"
        for module, file in modules().items()
        if module.startswith(("client_api", "federation.inbound"))
        for line, name in imports_of(module)
        if name.split(".")[0] == "storage"
    ]
    assert wrong == []


def test_the_core_is_pure() -> None:
    wrong = [
        f"{shown(file)}:{line} imports {module}"
        for file in python_files("homeserver")
        if module_of(file).startswith("homeserver.core")
        for line, module, _ in outside_imports(file)
        if module.split(".")[0] in IMPURE
    ]
    assert wrong == []


def test_storage_knows_nothing_of_http() -> None:
    wrong = [
        f"{shown(file)}:{line} imports {module}.{name}"
        for file in python_files("storage")
        for line, module, name in outside_imports(file)
        if f"{module}.".startswith(("twisted.web.", "treq.", "homeserver.web."))
    ]
    assert wrong == []


def test_above_storage_only_the_writer_knows_the_driver_and_others_at_most_the_type_of_a_cursor() -> None:
    wrong = [
        f"{shown(file)}:{line} imports {module}.{name}"
        for file in python_files("client_api", "config", "federation", "homeserver")
        for line, module, name in outside_imports(file)
        if module.split(".")[0] == "psycopg2"
        and not module_of(file).startswith("homeserver.runtime")
        and (module, name) != ("psycopg2.extensions", "cursor")
    ]
    assert wrong == []


def outside_imports(file: Path) -> Iterator[tuple[int, str, str]]:
    """The line, the module and the name of every import in a file."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, node.module, alias.name) for alias in node.names)


def test_no_file_is_too_long_for_one_purpose() -> None:
    long = {shown(file): len(file.read_text("utf-8").splitlines()) for file in python_files()}
    assert {name: lines for name, lines in long.items() if lines >= LONGEST_FILE} == {}


def test_no_function_is_too_long_to_be_read_at_once() -> None:
    long = []
    for file in python_files():
        for node in ast.walk(tree_of(file)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long.append(f"{shown(file)}:{node.lineno} {node.name}: {lines} lines")
    assert long == []


def test_every_module_opens_with_what_it_is_for() -> None:
    silent = [shown(file) for file in python_files() if tree_of(file).body and not ast.get_docstring(tree_of(file))]
    assert silent == []
