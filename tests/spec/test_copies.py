"""The vectors carried here are those of the specification pack beside the checkout."""

from __future__ import annotations

import pytest

from tests.spec.spec_files import SHARED, VECTORS


def test_our_copies_of_the_vectors_are_unchanged() -> None:
    if not SHARED.exists():
        pytest.skip("left out: the specification pack is not beside this checkout, so there is nothing to compare with")
    originals = {path.name: path for path in (SHARED / "vectors").glob("*.json")}
    for name in ("NOTICE", "LICENSE", "room_versions.json"):
        originals[name] = SHARED / name
    assert {path.name for path in VECTORS.iterdir()} == set(originals)
    for name, original in originals.items():
        assert (VECTORS / name).read_bytes() == original.read_bytes(), f"{name} differs from the specification pack"
