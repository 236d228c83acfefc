"""Many servers that are gone: what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from federation.outbound.errors import RemoteBackedOff, RemoteUnreachable
from tests.integration.federation.house import House, in_house, open_house
from tests.integration.federation.test_keyring import event_of, verdicts
from tests.postgres import FreshDatabase
from tests.reactors import run_on_reactor

VERSION = "/_matrix/federation/v1/version"
HOUR_MS = 3_600_000
DEAD = [f"dead{number}.example" for number in range(5_000)]


def test_thousands_of_dead_servers_cost_one_statement_and_no_connection(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        for name in DEAD:
            house.destinations.failed(name, house.clock.now_ms())
        before = house.database.statements.total
        await house.destinations.save()
        await house.destinations.save()
        assert house.database.statements.total == before + 1
        house.build()
        await house.destinations.start(house.tasks)
        assert house.database.statements.total == before + 2
        for name in DEAD:
            with pytest.raises(RemoteBackedOff):
                await house.client.get(name, VERSION)
        assert house.wires.dialled == []
        assert house.database.statements.total == before + 2
        house.destinations.heard_from(DEAD[7])
        await house.destinations.save()
        house.build()
        await house.destinations.start(house.tasks)
        alive = [name for name in DEAD if house.destinations.retry_at_ms(name) is None]
        assert alive == [DEAD[7]]

    in_house(story, fresh_database(), tmp_path)


def test_requests_that_fail_together_count_as_one_failure(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        began_ms = house.clock.now_ms()
        for _ in range(20):
            house.destinations.failed("dead.example", began_ms)
        retry_at_ms = house.destinations.retry_at_ms("dead.example")
        assert retry_at_ms is not None
        assert 0 < retry_at_ms - began_ms <= 3_000
        # After many failures one by one it is tried twice a day.
        for _ in range(40):
            house.clock.ahead_ms += retry_at_ms - house.clock.now_ms() + 1
            house.destinations.failed("dead.example", house.clock.now_ms())
            retry_at_ms = house.destinations.retry_at_ms("dead.example")
            assert retry_at_ms is not None
        assert 11 * HOUR_MS < retry_at_ms - house.clock.now_ms() <= 12 * HOUR_MS

    in_house(story, fresh_database(), tmp_path)


def test_keys_of_many_servers_are_asked_for_at_a_notary_in_one_request(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def run(reactor: Any) -> None:
        async with (
            open_house(reactor, fresh_database(), tmp_path) as ours,
            open_house(reactor, fresh_database(), tmp_path, name="notary.example", beside=ours) as notary,
        ):
            notary.open_doors()
            servers = [ours.homeserver(f"s{number}.example:8448") for number in range(12)]
            events = [event_of(server, ours.clock.now_ms()) for server in servers]
            ours.build(notaries=("notary.example",))
            servers[3].stops()
            assert [number for number, good in enumerate(await verdicts(ours, *events)) if not good] == [3]
            # The notary asked each server, and we asked none but the one that the notary did not know either.
            assert [server.key_requests for server in servers] == [1] * 3 + [2] + [1] * 8

    run_on_reactor(run)


def test_a_server_that_is_back_is_asked_for_its_keys_as_soon_as_it_speaks(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def run(reactor: Any) -> None:
        async with (
            open_house(reactor, fresh_database(), tmp_path) as ours,
            open_house(reactor, fresh_database(), tmp_path, name="theirs.example", beside=ours) as theirs,
        ):
            ours.open_doors()
            now_ms = ours.clock.now_ms()
            ours.address_of("theirs.example")
            for _ in range(30):
                with pytest.raises(RemoteUnreachable):
                    await ours.client.get("theirs.example", VERSION, ignore_backoff=True)
                ours.clock.ahead_ms += 13 * HOUR_MS
            assert await verdicts(ours, event_of(theirs, now_ms)) == [False]
            with pytest.raises(RemoteBackedOff):
                await ours.client.get("theirs.example", VERSION)
            ours.clock.ahead_ms += 10_000
            theirs.open_doors()
            answer = await theirs.client.get("ours.example", "/_matrix/federation/v1/whoami")
            assert answer == {"server": "theirs.example"}
            assert ours.destinations.retry_at_ms("theirs.example") is None

    run_on_reactor(run)
