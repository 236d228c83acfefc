"""One-time keys are given out from memory and kept on disk: each once, in the order of their upload."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from homeserver.encryption.stock import GIVEN_KEPT, OneTimeKeyStock
from storage import accounts, devices, one_time_keys
from storage.accounts import Account
from storage.database import Cursor
from storage.one_time_keys import KeyChanged, OneTimeKey
from tests.integration.rooms.house import House, at_house
from tests.postgres import FreshDatabase

ROMEO = "@romeo:verona.example"


def key(number: int, algorithm: str = "a") -> OneTimeKey:
    return OneTimeKey(algorithm, f"{number:05}", b'{"key":"%d"}' % number)


class Shop:
    """A stock, and those who come to it."""

    def __init__(self, house: House, *, memory_bytes: int = 1 << 20) -> None:
        self.house = house
        self.memory_bytes = memory_bytes
        self.reopens()

    def reopens(self) -> None:
        """As after a restart: nothing is in memory."""
        house = self.house
        self.stock = OneTimeKeyStock(house.database, house.writer, house.ring, memory_bytes=self.memory_bytes)

    async def device(self, name: str) -> int:
        def make(tx: Cursor) -> int:
            if not accounts.existing(tx, [ROMEO]):
                accounts.insert(tx, Account(ROMEO, "hash", 1))
            return devices.put(tx, ROMEO, name, None, 1)[0]

        return await self.house.database.write(make)

    async def takes_in(self, device: int, *keys: OneTimeKey) -> int:
        """Upload keys; how many of them are new."""
        held = (await self.stock.load([device]))[device]
        new = held.new_of(keys)
        if new:
            entry, write = self.stock.add(ROMEO, held, new)
            await self.house.writer.append([entry], also=[write])
        return len(new)

    async def gives(self, device: int, algorithm: str = "a") -> str | None:
        """Claim a key; its name."""
        held = await self.stock.load([device])
        taken = held[device].take(algorithm)
        if taken is None:
            return None
        await self.stock.give({device: ROMEO}, [(device, taken.number, taken.given)], held)
        assert bytes(taken.json) == b'{"key":"%d"}' % int(taken.name.partition(":")[2])
        return taken.name

    async def left(self, device: int) -> dict[str, int]:
        """What memory and table say, which is the same."""
        held = await self.stock.load([device])
        counts = held[device].counts()
        assert await self.house.database.read(one_time_keys.counts, device) == counts
        return counts


def at_shop(fresh_database: FreshDatabase, story: Callable[[Shop], Awaitable[None]], **options: int) -> None:
    async def told(house: House) -> None:
        await story(Shop(house, **options))

    at_house(fresh_database(), told)


def test_keys_go_out_in_the_order_of_upload_also_after_a_restart(fresh_database: FreshDatabase) -> None:
    async def story(shop: Shop) -> None:
        phone = await shop.device("PHONE")
        await shop.takes_in(phone, key(5), key(3), key(1, "b"), key(4))
        await shop.takes_in(phone, key(2), key(6, "b"))
        assert [await shop.gives(phone), await shop.gives(phone, "b")] == ["a:00005", "b:00001"]
        assert await shop.left(phone) == {"a": 3, "b": 1}
        shop.reopens()
        assert await shop.left(phone) == {"a": 3, "b": 1}
        assert [await shop.gives(phone) for _ in range(4)] == ["a:00003", "a:00004", "a:00002", None]
        assert await shop.gives(phone, "b") == "b:00006"
        assert await shop.gives(phone, "c") is None
        assert await shop.left(phone) == {}

    at_shop(fresh_database, story)


def test_a_repeated_upload_brings_nothing_back(fresh_database: FreshDatabase) -> None:
    async def story(shop: Shop) -> None:
        phone = await shop.device("PHONE")
        assert await shop.takes_in(phone, key(1), key(2)) == 2
        assert await shop.gives(phone) == "a:00001"
        for _ in range(2):
            assert await shop.takes_in(phone, key(1), key(2), key(2, "b")) in (1, 0)
            assert await shop.left(phone) == {"a": 1, "b": 1}
            with pytest.raises(KeyChanged):
                await shop.takes_in(phone, OneTimeKey("a", "00002", b'"other"'))
            shop.reopens()
        # Another key may take the id of one that is given away.
        assert await shop.takes_in(phone, OneTimeKey("a", "00001", b'{"key":"1" }')) == 1

    at_shop(fresh_database, story)


def test_keys_that_were_given_out_are_forgotten_in_the_end(fresh_database: FreshDatabase) -> None:
    async def story(shop: Shop) -> None:
        phone = await shop.device("PHONE")
        count = GIVEN_KEPT + 50
        for number in range(count):
            await shop.takes_in(phone, key(number))
            assert await shop.gives(phone) == f"a:{number:05}"
        await shop.takes_in(phone, key(count))
        assert await shop.house.ask("SELECT count(*) FROM one_time_keys") == [(GIVEN_KEPT + 1,)]
        assert await shop.takes_in(phone, key(count - 1), key(count - GIVEN_KEPT)) == 0

    at_shop(fresh_database, story)


def test_an_upload_that_cannot_be_written_leaves_nothing_in_memory(fresh_database: FreshDatabase) -> None:
    async def story(shop: Shop) -> None:
        phone = await shop.device("PHONE")
        held = (await shop.stock.load([phone]))[phone]
        entry, write = shop.stock.add(ROMEO, held, [key(1)])
        assert held.take("a") is None and held.left == 1

        def fails(tx: object) -> None:
            raise ValueError("it cannot be written")

        with pytest.raises(Exception, match="cannot be written"):
            await shop.house.writer.append([entry], also=[write, fails])
        assert held.left == 0
        assert await shop.takes_in(phone, key(1)) == 1
        assert await shop.gives(phone) == "a:00001"

    at_shop(fresh_database, story)


@pytest.mark.parametrize("memory_bytes", [1, 4_000, 1 << 20])
def test_many_at_once_get_each_key_once_whatever_is_kept_in_memory(
    fresh_database: FreshDatabase, memory_bytes: int
) -> None:
    async def story(shop: Shop) -> None:
        dice = Random(memory_bytes)
        numbers = [await shop.device(f"D{number}") for number in range(6)]
        uploaded: dict[int, list[str]] = {device: [] for device in numbers}
        given: dict[int, list[str]] = {device: [] for device in numbers}

        async def claims(device: int) -> None:
            name = await shop.gives(device)
            if name is not None:
                given[device].append(name)

        count = 0
        for _ in range(40):
            asked: list[Deferred[Any]] = []
            for _ in range(dice.randrange(1, 25)):
                device = dice.choice(numbers)
                if dice.random() < 0.3:
                    new = [key(count + each) for each in range(dice.randrange(1, 6))]
                    count += len(new)
                    uploaded[device] += [each.name for each in new]
                    asked.append(Deferred.fromCoroutine(shop.takes_in(device, *new)))
                else:
                    asked.append(Deferred.fromCoroutine(claims(device)))
            await gatherResults(asked, consumeErrors=True)
        shop.reopens()
        for device in numbers:
            while (name := await shop.gives(device)) is not None:
                given[device].append(name)
            assert sorted(given[device]) == sorted(uploaded[device])
            assert len(set(given[device])) == len(given[device])

    at_shop(fresh_database, story, memory_bytes=memory_bytes)
