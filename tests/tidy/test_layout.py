"""The layout of the code is as docs/architecture.md says."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter

from tests.tidy.project import OURS, imports_of, layer_of, module_of, modules, python_files, shown, tree_of

LONGEST_FILE = 450
LONGEST_FUNCTION = 70
PURE = ("twisted", "psycopg2", "treq", "autobahn", "storage", "config", "time", "random", "socket", "subprocess")


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
    wrong = []
    for file in python_files("homeserver"):
        if not module_of(file).startswith("homeserver.core"):
            continue
        for node in ast.walk(tree_of(file)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            wrong += [f"{shown(file)}:{node.lineno} imports {name}" for name in names if name.split(".")[0] in PURE]  # type: ignore[attr-defined]  # imports have lines
    assert wrong == []


def test_storage_knows_nothing_of_http_and_only_the_writer_above_it_knows_the_driver() -> None:
    wrong = []
    for file in python_files(*(folder for folder in OURS if folder not in ("tests", "bench"))):
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            in_storage = module_of(file).startswith("storage")
            for name in names:
                if in_storage and name.startswith(("twisted.web", "treq", "homeserver.web")):
                    wrong.append(f"{shown(file)}:{node.lineno} imports {name}")
                if not (in_storage or module_of(file).startswith("homeserver.runtime")) and name.startswith("psycopg2"):
                    wrong.append(f"{shown(file)}:{node.lineno} imports {name}")
    assert wrong == []


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
