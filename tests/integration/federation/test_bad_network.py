"""Three servers whose network is bad while people quarrel over a room: when it is well again, all have the same.

MYELIN_TEST_SEEDS names other seeds than those that are always tried: `MYELIN_TEST_SEEDS=100:150`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.bad_network import Weather
from tests.federated import TestAuthority
from tests.integration.federation.company import Company, Gated
from tests.postgres import TestServer

KINDS = {
    "cut": Weather(refused=0.2, unanswered=0.15, torn=0.1),
    "slow": Weather(slow=0.5, longest_s=3.0),
    "overtaking": Weather(late=0.3, slow=0.2),
    "repeated": Weather(again=0.6, unanswered=0.05),
    "everything": Weather(refused=0.05, unanswered=0.05, torn=0.05, late=0.1, again=0.2, slow=0.1),
}
VERSIONS = ("1", "2", "6", "10", "11", "12")


def seeds() -> range:
    """The seeds to try."""
    first, _, last = os.environ.get("MYELIN_TEST_SEEDS", "1:2").partition(":")
    return range(int(first), int(last))


@pytest.fixture(scope="module")
def trio(postgres: TestServer, authority: TestAuthority) -> Iterator[list[Gated]]:
    """Three servers. They make no mistakes of their own."""
    with contextlib.ExitStack() as stack:
        servers = [Gated(postgres.fresh_database(), authority) for _ in range(3)]
        for server in servers:
            stack.callback(server.remove)
            server.start()
        yield servers
        for server in servers:
            assert server.stop() == 0, server.output()
            assert server.errors() == []


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("kind", KINDS)
def test_all_have_the_same_in_the_end(trio: list[Gated], kind: str, seed: int) -> None:
    company = _company(trio, kind, seed)
    company.turns(KINDS[kind])
    company.talks(60)
    company.meets()
    company.agrees()


@pytest.mark.parametrize("seed", seeds())
def test_a_room_that_falls_apart_grows_together(trio: list[Gated], seed: int) -> None:
    company = _company(trio, "parted", seed)
    for alone in trio:
        company.parts(alone)
        company.talks(20)
        company.meets()
        company.talks(5)
    company.agrees()


@pytest.mark.parametrize("seed", seeds())
def test_a_kill_in_the_middle_of_it_loses_nothing(trio: list[Gated], seed: int) -> None:
    company = _company(trio, "kill", seed)
    victim = trio[seed % 3]
    company.turns(KINDS["everything"])
    company.talks(20)
    victim.kill()
    company.talks(20)
    victim.start()
    company.talks(10)
    company.meets()
    assert victim.gate.brings_again(0.5, company.seed) > 0
    company.agrees()


def _company(servers: list[Gated], kind: str, seed: int) -> Company:
    number = (seed + len(kind)) % len(VERSIONS)
    return Company(servers, VERSIONS[number], f"{kind} {seed}")
