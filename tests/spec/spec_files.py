"""The specification's test vectors, as carried in tests/spec/vectors (see the NOTICE there)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "vectors"
SHARED = HERE.parents[1].parent / "shared" / "spec"


def vectors(name: str) -> dict[str, Any]:
    """One file of vectors."""
    found: dict[str, Any] = json.loads((VECTORS / name).read_text("utf-8"))
    return found


def numbered(cases: list[Any]) -> list[Any]:
    """Cases as parameters of a test, named by their number and note."""
    import pytest

    return [
        pytest.param(case, id=f"{number}-{case.get('note', '')}" if isinstance(case, dict) else str(number))
        for number, case in enumerate(cases)
    ]
