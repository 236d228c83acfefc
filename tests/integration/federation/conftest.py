"""Fixtures for servers that speak to each other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.federated import Federated, MakeFederated, TestAuthority, faultless
from tests.gate import Gate
from tests.policy_server import PolicyServer
from tests.postgres import TestServer
from tests.stranger import Stranger
from tests.wire import Json


@pytest.fixture(scope="session")
def authority() -> Iterator[TestAuthority]:
    """Whom all test servers trust."""
    made = TestAuthority()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def server(postgres: TestServer, authority: TestAuthority) -> Iterator[Federated]:
    """One server for the tests of a module. Whatever comes, it makes no mistakes of its own."""
    made = Federated(postgres.fresh_database(), authority)
    with faultless(made):
        yield made


@pytest.fixture(scope="module")
def pair(postgres: TestServer, authority: TestAuthority) -> Iterator[tuple[Federated, Federated]]:
    """Two servers that the tests of a module share. They make no mistakes of their own."""
    here, there = (Federated(postgres.fresh_database(), authority) for _ in range(2))
    with faultless(here, there):
        yield here, there


@pytest.fixture
def stranger(authority: TestAuthority) -> Iterator[Stranger]:
    """Another server, played by the test. It takes transactions and, as it is, answers nothing else."""
    made = Stranger(authority)
    made.answers["send/"] = lambda asked: {"pdus": {}}
    yield made
    made.stop()


@pytest.fixture
def gate(authority: TestAuthority) -> Iterator[Gate]:
    """Before the server of `here`: notes what is asked of it, and holds back what the test names."""
    made = Gate(authority)
    yield made
    made.stop()


@pytest.fixture
def here(postgres: TestServer, authority: TestAuthority, gate: Gate) -> Iterator[Federated]:
    """A server behind the gate."""
    server = Federated(postgres.fresh_database(), authority, known_at=gate.port, federation_port=gate.server_port)
    with contextlib.ExitStack() as stack:
        stack.callback(server.remove)
        server.start()
        yield server


@pytest.fixture
def make_federated(postgres: TestServer, authority: TestAuthority) -> Iterator[MakeFederated]:
    """Makes servers of the test's own."""
    with contextlib.ExitStack() as stack:

        def make(**settings: Json) -> Federated:
            server = Federated(postgres.fresh_database(), authority, **settings)
            stack.callback(server.remove)
            server.start()
            return server

        yield make


@pytest.fixture
def guard(authority: TestAuthority) -> Iterator[PolicyServer]:
    """A policy server."""
    made = PolicyServer(authority)
    yield made
    made.stop()
