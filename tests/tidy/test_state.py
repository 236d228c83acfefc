"""Nothing is kept in modules, and a table is written by one module of storage."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.tidy.project import ROOT, files, python_files, shown, tree_of

CODE = ("client_api", "config", "federation", "homeserver", "storage")
CHANGING = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft", "remove",
    "setdefault", "update",
}  # fmt: skip
WRITES = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO|TRUNCATE(?:\s+TABLE)?|COPY)\s+(?:ONLY\s+)?\"?([a-z_]+)\"?",
)


def test_no_module_keeps_state() -> None:
    assert [line for file in python_files(*CODE) for line in kept_state(file)] == []


def kept_state(file: Path) -> Iterator[str]:
    """Places that change what a module holds: `global`, or a change to a container made at the module's top."""
    top = {target.id for node in tree_of(file).body for target in targets_of(node) if isinstance(target, ast.Name)}
    for function in ast.walk(tree_of(file)):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        own = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        own |= {argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)}
        shared = top - own
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                yield f"{shown(file)}:{node.lineno} global {', '.join(node.names)}"
            elif (changed := changed_name(node)) in shared:
                yield f"{shown(file)}:{node.lineno} changes {changed}"  # type: ignore[attr-defined]  # it is an expression


def changed_name(node: ast.AST) -> str | None:
    """The name whose container an expression changes: `name.append(...)`, `name[...] = ...`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
        holder = node.func.value
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
        holder = node.value
    else:
        return None
    return holder.id if isinstance(holder, ast.Name) else None


def targets_of(node: ast.stmt) -> list[ast.expr]:
    """What a statement binds."""
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def test_each_table_is_written_by_one_module_of_storage() -> None:
    schema = "\n".join(file.read_text("utf-8") for file in files() if file.suffix == ".sql")
    tables = set(re.findall(r"CREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?([a-z_]+)", schema))
    assert tables, "the schema names no tables"
    writers: dict[str, set[str]] = defaultdict(set)
    for file in python_files(*CODE):
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for table in WRITES.findall(node.value):
                    if table in tables:
                        writers[table].add(shown(file))
    assert {table: sorted(modules) for table, modules in writers.items() if len(modules) > 1} == {}
    outside = {
        table: modules for table, modules in writers.items() if any(not m.startswith("storage/") for m in modules)
    }
    assert outside == {}


def test_statements_of_sql_stand_in_storage_alone() -> None:
    statement = re.compile(
        r"^\s*(?:SELECT\s.+\sFROM\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s)", re.DOTALL
    )
    found = [
        f"{shown(file)}:{node.lineno}"
        for file in python_files("client_api", "config", "federation", "homeserver")
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and statement.match(node.value)
    ]
    assert found == []
    assert (ROOT / "storage").is_dir()
