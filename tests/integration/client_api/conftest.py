"""Fixtures for the doors of accounts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.client_api.people import House, house
from tests.postgres import TestServer


@pytest.fixture(scope="session")
def verona(postgres: TestServer) -> Iterator[House]:
    """A server that all tests of this folder share: each has people of its own names."""
    with house(postgres.fresh_database(), registration={"enabled": True, "guests": True}) as running:
        yield running
