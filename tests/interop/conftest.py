"""Fixtures for tests with other homeservers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.federated import Federated, TestAuthority
from tests.interop.synapse import Both, LinkedMyelin, NotInstalled, Sides, Synapse, install
from tests.postgres import TestServer


@pytest.fixture(scope="session")
def authority() -> Iterator[TestAuthority]:
    """Whom all test servers trust."""
    made = TestAuthority()
    yield made
    made.remove()


@pytest.fixture(scope="session")
def both(postgres: TestServer, authority: TestAuthority) -> Iterator[Both]:
    """Our server and Synapse, in one federation. Ours makes no mistakes of its own."""
    try:
        install()
    except NotInstalled as reason:
        pytest.skip(str(reason))
    with contextlib.ExitStack() as stack:
        ours, synapse = LinkedMyelin(postgres.fresh_database(), authority), Synapse(authority)
        for server in (ours, synapse):
            stack.callback(server.remove)
            server.start()
        yield Both(ours, synapse)
        assert ours.stop() == 0, ours.output()
        assert ours.errors() == []


@pytest.fixture(scope="session")
def twins(postgres: TestServer, authority: TestAuthority) -> Iterator[tuple[Federated, Federated]]:
    """Two servers of ours, in one federation. They make no mistakes of their own."""
    with contextlib.ExitStack() as stack:
        servers = [Federated(postgres.fresh_database(), authority) for _ in range(2)]
        for server in servers:
            stack.callback(server.remove)
            server.start()
        yield servers[0], servers[1]
        for server in servers:
            assert server.stop() == 0, server.output()
            assert server.errors() == []


@pytest.fixture
def another(both: Both, postgres: TestServer, authority: TestAuthority) -> Iterator[Federated]:
    """One more server of ours. It asks Synapse for the keys of servers that it does not reach."""
    federation = {"trusted_key_servers": [both.synapse.server_name]}
    server = Federated(postgres.fresh_database(), authority, federation=federation)
    try:
        server.start()
        yield server
        assert server.stop() == 0, server.output()
        assert server.errors() == []
    finally:
        server.remove()


@pytest.fixture(params=["ours", "synapse"])
def sides(both: Both, request: pytest.FixtureRequest) -> Sides:
    """Whose room it is: ours, with people of Synapse coming to it, and the other way round."""
    return Sides(*both) if request.param == "ours" else Sides(*reversed(both))
