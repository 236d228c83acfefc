"""What the tests of storage share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import FreshDatabase, TestServer, installed_programs, running

PROGRAMS = installed_programs()


@pytest.fixture(scope="session", params=sorted(PROGRAMS))
def any_postgres(request: pytest.FixtureRequest) -> Iterator[TestServer]:
    """Every version of PostgreSQL that is there, one after the other."""
    with running(PROGRAMS[request.param]) as server:
        yield server


@pytest.fixture
def any_database(any_postgres: TestServer) -> FreshDatabase:
    """Makes databases on every version."""
    return any_postgres.fresh_database
