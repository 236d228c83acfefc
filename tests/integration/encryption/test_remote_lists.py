"""Device lists of other servers' users: whatever happens to their updates, in the end we have what their server has."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from homeserver.core.canonical_json import JsonObject
from homeserver.core.device_keys import MASTER
from homeserver.encryption.local_keys import FoundKeys
from homeserver.encryption.published import PublishedKeysCache
from homeserver.encryption.queries import KeyQueries
from homeserver.encryption.remote import RemoteKeysFailed
from homeserver.encryption.remote_lists import LONGEST_PAUSE_S, RemoteLists
from homeserver.runtime.clock import FakeClock
from homeserver.runtime.tasks import Tasks
from storage.rows import DeviceListRow
from tests.integration.rooms.house import JULIET, ROMEO, SERVER, House, at_house
from tests.key_ring import Identity
from tests.postgres import FreshDatabase

MANTUA = "mantua.example"
BENVOLIO = f"@benvolio:{MANTUA}"


class Mantua:
    """Another server with one user: its list, and the updates that it sends."""

    def __init__(self) -> None:
        self.devices: dict[str, JsonObject] = {}
        self.stream_id = 0
        self.is_away = False
        self.asked = 0
        self.queried = 0
        self.identity = Identity(BENVOLIO)
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        """Happens once between the making of an answer and its arrival."""

    def update(self, device_id: str, keys: JsonObject | None) -> JsonObject:
        """Change a device, or delete it; the content of the EDU."""
        previous, self.stream_id = self.stream_id, self.stream_id + 1
        content: JsonObject = {"user_id": BENVOLIO, "device_id": device_id, "stream_id": self.stream_id}
        content["prev_id"] = [previous] if previous else []
        if keys is None:
            self.devices.pop(device_id, None)
            return {**content, "deleted": True}
        self.devices[device_id] = keys
        return {**content, "keys": keys, "device_display_name": "phone"}

    async def query(self, server_name: str, device_keys: Any, timeout_ms: int) -> JsonObject:
        self.queried += 1
        return {"device_keys": {BENVOLIO: dict(self.devices), "@else:other.example": {"X": {}}}}

    async def claim(self, server_name: str, one_time_keys: Any, timeout_ms: int) -> JsonObject:
        raise RemoteKeysFailed("no keys")

    async def devices_of(self) -> JsonObject:
        devices: list[Any] = [
            {"device_id": device_id, "keys": keys, "device_display_name": "phone"}
            for device_id, keys in self.devices.items()
        ]
        answer: JsonObject = {
            "user_id": BENVOLIO,
            "stream_id": self.stream_id,
            "devices": devices,
            "master_key": self.identity.master_key(),
        }
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            await happens()
        return answer


class Road:
    """`RemoteKeys` that leads to Mantua."""

    def __init__(self, mantua: Mantua) -> None:
        self.mantua = mantua
        self.query = mantua.query
        self.claim = mantua.claim

    async def devices(self, user_id: str) -> JsonObject:
        assert user_id == BENVOLIO
        self.mantua.asked += 1
        if self.mantua.is_away:
            raise RemoteKeysFailed("nobody answers")
        return await self.mantua.devices_of()


class Verona:
    """The parts that keep the lists."""

    def __init__(self, house: House, mantua: Mantua) -> None:
        self.house = house
        self.clock = FakeClock()
        self.tasks = Tasks(self.clock)
        road = Road(mantua)
        self.lists = RemoteLists(house.database, house.writer, house.ring, road, self.tasks, self.clock, SERVER)
        self.queries = KeyQueries(
            house.database, PublishedKeysCache(house.database, house.ring), road, self.lists, SERVER
        )
        self.told: list[str] = []
        house.ring.subscribe(
            lambda entries: self.told.extend(each.user_id for each in entries if isinstance(each, DeviceListRow))
        )

    async def meets(self, membership: str = "join") -> int:
        """Benvolio is in a room with Romeo; its number."""
        room = await self.house.heads.get(await self.house.room(preset="public_chat"))

        def write(tx: Any) -> None:
            tx.execute(
                "INSERT INTO memberships (room, user_id, membership, position) VALUES (%s, %s, %s, -1)",
                (room.number, BENVOLIO, membership),
            )

        await self.house.database.write(write)
        return room.number

    async def shown(self) -> Any:
        """Benvolio's devices as a local user sees them, without names."""
        answer: Any = await self.queries.query(ROMEO, {BENVOLIO: ()}, 1000)
        assert answer["failures"] == {}
        for device in answer["device_keys"][BENVOLIO].values():
            assert device.pop("unsigned") == {"device_display_name": "phone"}
        return answer["device_keys"][BENVOLIO]

    async def kept(self) -> list[str]:
        return [device for (device,) in await self.house.ask("SELECT device_id FROM remote_devices ORDER BY 1")]

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self.tasks.names:
            await self.house.clock.sleep(0.01)


def keys_of(device_id: str, mark: int = 0) -> JsonObject:
    return {"user_id": BENVOLIO, "device_id": device_id, "algorithms": [f"{mark}"], "keys": {}, "signatures": {}}


def test_a_list_is_read_once_and_then_follows_the_updates(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        mantua = Mantua()
        verona = Verona(house, mantua)
        await verona.meets()
        mantua.update("ONE", keys_of("ONE"))
        assert await verona.shown() == {"ONE": keys_of("ONE")}
        for content in (
            mantua.update("TWO", keys_of("TWO")),
            mantua.update("ONE", keys_of("ONE", 1)),
            mantua.update("TWO", None),
        ):
            await verona.lists.device_changed(MANTUA, content)
        assert await verona.shown() == mantua.devices == {"ONE": keys_of("ONE", 1)}
        assert (mantua.asked, mantua.queried) == (1, 0)
        assert verona.told == [BENVOLIO] * 3
        await verona.lists.device_changed(MANTUA, mantua.update("ONE", None))
        # Who has lost all devices is still there, so that clients forget them.
        assert await verona.shown() == {}
        answer: Any = await verona.queries.query(ROMEO, {BENVOLIO: ()}, 1000)
        assert answer["master_keys"] == {BENVOLIO: mantua.identity.master_key()}
        told = len(verona.told)
        await verona.lists.user_keys_changed(
            MANTUA, {"user_id": BENVOLIO, f"{MASTER}_key": mantua.identity.master_key()}
        )
        assert len(verona.told) == told
        other = Identity(BENVOLIO)
        await verona.lists.user_keys_changed(MANTUA, {"user_id": BENVOLIO, f"{MASTER}_key": other.master_key()})
        answer = await verona.queries.query(ROMEO, {BENVOLIO: ()}, 1000)
        assert answer["master_keys"] == {BENVOLIO: other.master_key()}

    at_house(fresh_database(), story)


def test_after_a_gap_the_list_is_read_anew_and_a_server_that_is_away_is_left_alone(
    fresh_database: FreshDatabase,
) -> None:
    async def story(house: House) -> None:
        mantua = Mantua()
        verona = Verona(house, mantua)
        await verona.meets()
        mantua.update("ONE", keys_of("ONE"))
        await verona.shown()
        mantua.update("LOST", keys_of("LOST"))
        await verona.lists.device_changed(MANTUA, mantua.update("TWO", keys_of("TWO")))
        await verona.idle()
        assert await verona.kept() == ["LOST", "ONE", "TWO"]
        mantua.update("LOST", None)
        mantua.is_away = True
        asked = mantua.asked
        await verona.lists.device_changed(MANTUA, mantua.update("TWO", None))
        await verona.idle()
        for _ in range(20):
            await verona.lists.resync()
        assert mantua.asked == asked + 1
        # What we have is shown meanwhile, and that it may be old.
        answer: Any = await verona.queries.query(ROMEO, {BENVOLIO: ()}, 1000)
        assert list(answer["device_keys"][BENVOLIO]) == ["LOST", "ONE", "TWO"]
        assert list(answer["failures"]) == [MANTUA]
        mantua.is_away = False
        verona.clock.advance(LONGEST_PAUSE_S)
        await verona.lists.resync()
        assert await verona.kept() == ["ONE"]

    at_house(fresh_database(), story)


def test_a_server_that_is_back_is_asked_at_once_and_left_alone_again_if_it_fails(
    fresh_database: FreshDatabase,
) -> None:
    async def story(house: House) -> None:
        mantua = Mantua()
        verona = Verona(house, mantua)
        await verona.meets()
        mantua.update("ONE", keys_of("ONE"))
        await verona.shown()
        mantua.is_away = True
        mantua.update("LOST", keys_of("LOST"))
        await verona.lists.device_changed(MANTUA, mantua.update("TWO", keys_of("TWO")))
        await verona.idle()
        asked = mantua.asked
        verona.clock.advance(1)
        for server in ("other.example", MANTUA):
            verona.lists.is_back(server)
            await verona.idle()
        assert mantua.asked == asked + 1
        verona.clock.advance(1)
        await verona.lists.resync()
        assert mantua.asked == asked + 1
        mantua.is_away = False
        verona.lists.is_back(MANTUA)
        await verona.idle()
        assert await verona.kept() == ["LOST", "ONE", "TWO"]

    at_house(fresh_database(), story)


def test_keys_that_change_while_a_list_is_read_are_not_lost(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        mantua = Mantua()
        verona = Verona(house, mantua)
        await verona.meets()

        async def changes_keys() -> None:
            mantua.identity = Identity(BENVOLIO)
            content: JsonObject = {"user_id": BENVOLIO, f"{MASTER}_key": mantua.identity.master_key()}
            await verona.lists.user_keys_changed(MANTUA, content)

        mantua.meanwhile = changes_keys
        answer: Any = await verona.queries.query(ROMEO, {BENVOLIO: ()}, 1000)
        assert answer["master_keys"] == {BENVOLIO: mantua.identity.master_key()}

    at_house(fresh_database(), story)


def test_who_shares_no_room_is_asked_for_each_time_and_not_followed(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        mantua = Mantua()
        verona = Verona(house, mantua)
        await verona.meets("leave")
        # Signatures of others are nothing that another server may tell of its users.
        signatures: JsonObject = {BENVOLIO: {"ed25519:ONE": "x"}, JULIET: {"ed25519:U": "x"}}
        unsigned: JsonObject = {"device_display_name": "phone"}
        mantua.devices["ONE"] = {**keys_of("ONE"), "signatures": signatures, "unsigned": unsigned}
        for _ in range(2):
            assert await verona.shown() == {"ONE": {**keys_of("ONE"), "signatures": {BENVOLIO: {"ed25519:ONE": "x"}}}}
        assert (mantua.asked, mantua.queried) == (0, 2)
        await verona.lists.device_changed(MANTUA, mantua.update("TWO", keys_of("TWO")))
        assert await verona.kept() == verona.told == []

    at_house(fresh_database(), story)


def test_what_makes_no_sense_changes_nothing(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        mantua = Mantua()
        verona = Verona(house, mantua)
        await verona.meets()
        await verona.lists.device_changed(MANTUA, mantua.update("ONE", keys_of("ONE")))
        assert await verona.shown() == {"ONE": keys_of("ONE")}
        told = len(verona.told)
        good: JsonObject = {"user_id": BENVOLIO, "device_id": "X", "stream_id": 2, "prev_id": [1], "keys": keys_of("X")}
        bad: list[JsonObject] = [{"user_id": JULIET}, {"stream_id": "2"}, {"device_id": 1}, {"prev_id": 1}]
        bad.append({"stream_id": 1})
        for each in bad:
            await verona.lists.device_changed(MANTUA, {**good, **each})
        await verona.lists.device_changed("other.example", good)
        assert await verona.kept() == ["ONE"]
        assert len(verona.told) == told
        # Keys that claim to be of another device are as good as none.
        await verona.lists.device_changed(MANTUA, {**good, "keys": keys_of("ONE")})
        assert await verona.shown() == {"ONE": keys_of("ONE")}

    at_house(fresh_database(), story)


def test_lists_are_forgotten_when_the_last_of_ours_leaves_and_at_the_start(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        mantua = Mantua()
        verona = Verona(house, mantua)
        number = await verona.meets()
        mantua.update("ONE", keys_of("ONE"))
        await verona.shown()
        room = await house.heads.by_number(number)
        assert room is not None
        await house.changes.leave(ROMEO, room.room_id)
        await verona.idle()
        assert await verona.kept() == []
        await verona.meets()
        await verona.lists._read_anew(BENVOLIO)
        await verona.lists.start()
        assert await verona.kept() == ["ONE"]

        def leave(tx: Any) -> None:
            tx.execute("UPDATE memberships SET membership = 'leave' WHERE user_id = %s", (BENVOLIO,))

        await house.database.write(leave)
        await verona.lists.start()
        assert await verona.kept() == []

    at_house(fresh_database(), story)


@pytest.mark.parametrize("seed", range(4))
def test_updates_may_be_lost_doubled_or_mixed_up(fresh_database: FreshDatabase, seed: int) -> None:
    async def story(house: House) -> None:
        rng = random.Random(seed)
        mantua = Mantua()
        verona = Verona(house, mantua)
        await verona.meets()
        mantua.update("A", keys_of("A"))
        await verona.shown()
        on_the_way: list[JsonObject] = []
        for mark in range(60):
            device_id = rng.choice("ABCD")
            on_the_way.append(mantua.update(device_id, None if rng.random() < 0.3 else keys_of(device_id, mark)))
            mantua.is_away = rng.random() < 0.2
            fate = rng.random()
            if fate < 0.15:
                on_the_way.pop()
            elif fate < 0.3:
                on_the_way.append(on_the_way[-1])
            elif fate < 0.45:
                rng.shuffle(on_the_way)
            if rng.random() < 0.6:
                arriving, on_the_way = on_the_way, []
                for content in arriving:
                    await verona.lists.device_changed(MANTUA, content)
            if rng.random() < 0.2:
                verona.clock.advance(60)
        mantua.is_away = False
        for content in [*on_the_way, mantua.update("A", keys_of("A", 99))]:
            await verona.lists.device_changed(MANTUA, content)
        await verona.idle()
        verona.clock.advance(LONGEST_PAUSE_S)
        await verona.lists.resync()
        found = FoundKeys()
        assert await verona.lists.read({BENVOLIO: ()}, found) == {BENVOLIO}
        assert await verona.shown() == mantua.devices

    at_house(fresh_database(), story)
