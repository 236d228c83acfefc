"""Fixtures for scenarios."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.wire import Json


@pytest.fixture
def in_parallel() -> Callable[..., list[Json]]:
    """Does several things at the same time; what each of them gave."""

    def run(*things: Callable[[], Json]) -> list[Json]:
        with ThreadPoolExecutor(len(things)) as pool:
            return [done.result() for done in [pool.submit(thing) for thing in things]]

    return run
