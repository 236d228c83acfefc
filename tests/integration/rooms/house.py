"""The room services on a real database, without HTTP: what the tests of rooms work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

from twisted.internet.defer import Deferred

from config.settings import Rooms as RoomDefaults
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.ids import EventId, RoomId, ServerName, UserId
from homeserver.core.signatures import Signer, SigningKey
from homeserver.core.state_trie import SlotHasher
from homeserver.rooms.append import Appender
from homeserver.rooms.create import CreateRoom, RoomCreation
from homeserver.rooms.elsewhere import Nowhere
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.membership import MembershipChanges
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.policy_servers import NoPolicyServers
from homeserver.rooms.send import Sending
from homeserver.rooms.state import StateStore
from homeserver.rooms.stripped import StrippedStates
from homeserver.rooms.transactions import Transactions
from homeserver.rooms.upgrade import Upgrades
from homeserver.rooms.wholeness import Wholeness
from homeserver.runtime.clock import ReactorClock
from homeserver.runtime.log import Ring, Writer
from homeserver.web.errors import MatrixError
from storage.database import Cursor, Database
from storage.persist import PERSIST
from storage.rows import Entry, EventRow
from tests.reactors import run_on_reactor

T = TypeVar("T")
SERVER = ServerName("verona.example")
ROMEO = UserId("@romeo:verona.example")
JULIET = UserId("@juliet:verona.example")
TYBALT = UserId("@tybalt:verona.example")
KEY = SigningKey.generate("test")
SLOT_KEY = b"secret"


class Faces:
    """Profiles in memory."""

    def __init__(self) -> None:
        self.faces: dict[str, dict[str, JsonValue]] = {}

    async def of(self, user_id: str) -> Mapping[str, JsonValue]:
        return self.faces.get(user_id, {})


class Doors:
    """Who takes no invites."""

    def __init__(self) -> None:
        self.closed: set[str] = set()

    async def blocks(self, invitee: str, inviter: str) -> bool:
        return invitee in self.closed


class House:
    """All room services on one database."""

    def __init__(
        self,
        dsn: str,
        reactor: Any,
        *,
        cache_bytes: int = 16_000_000,
        most_rooms: int = 100,
        patience_s: float = 10.0,
    ) -> None:
        self.reactor = reactor
        self.clock = ReactorClock(reactor)
        self.database = Database(dsn, reactor, patience_s=patience_s)
        self.ring = Ring()
        self.writer = Writer(self.database, self.ring, PERSIST, reactor)
        self.state = StateStore(self.database, SlotHasher(SLOT_KEY), cache_bytes)
        self.events = EventCache(self.database, self.ring, cache_bytes)
        self.memberships = Memberships(self.database, self.ring)
        self.heads = Heads(self.database, self.state, self.events, self.writer, SERVER, most_rooms)
        self.appender = Appender(
            self.database,
            self.heads,
            self.state,
            self.events,
            self.writer,
            self.ring,
            Signer(SERVER, KEY),
            self.clock,
            NoPolicyServers(),
        )
        self.faces = Faces()
        self.doors = Doors()
        nowhere = Nowhere()
        self.changes = MembershipChanges(
            self.appender,
            self.heads,
            self.memberships,
            self.faces,
            self.doors,
            nowhere,
            self.database,
            Wholeness(self.ring, self.clock),
            SERVER,
        )
        self.transactions = Transactions(self.database, self.ring, self.writer)
        self.sending = Sending(self.appender, self.transactions, self.changes, nowhere, self.database)
        self.creation = RoomCreation(
            self.appender, self.heads, self.changes, nowhere, self.database, SERVER, RoomDefaults()
        )
        self.upgrades = Upgrades(self.appender, self.heads, self.changes, self.database, SERVER)
        self.stripped = StrippedStates(self.database, self.state, self.events)

    async def open(self) -> Self:
        await self.database.start()
        await self.writer.start()
        return self

    async def close(self) -> None:
        await self.writer.stop()
        await self.database.stop()

    async def room(self, creator: UserId = ROMEO, **wanted: Any) -> RoomId:
        """Make a room."""
        return await self.creation.create(creator, CreateRoom(**wanted))

    async def says(self, sender: UserId, room_id: RoomId, text: str, **more: Any) -> EventId:
        """Send a text."""
        content: JsonObject = {"msgtype": "m.text", "body": text}
        content.update(more.pop("content", {}))
        return await self.sending.message(sender, room_id, "m.room.message", content, **more)

    async def event(self, event_id: str) -> EventRow:
        """An event that must be there."""
        row = await self.events.by_id(event_id)
        assert row is not None
        return row

    async def content(self, room_id: RoomId, event_type: str, state_key: str = "") -> JsonObject | None:
        """Content of a current state event, by way of the trie."""
        room = await self.heads.get(room_id)
        position = await self.state.get(room.number, room.state_root, event_type, state_key)
        if position is None:
            return None
        return (await self.events.by_positions([position]))[position].event.content

    async def timeline(self, room_id: RoomId) -> list[tuple[str, str | None]]:
        """Type and state key of all events of a room, from the table."""
        return await self.ask(
            "SELECT type, state_key FROM events JOIN rooms USING (room) WHERE room_id = %s ORDER BY position", room_id
        )

    async def news(self) -> None:
        """Wait for the next batch of the log."""
        heard: Deferred[None] = Deferred()

        def hear(_: Sequence[Entry]) -> None:
            end()
            heard.callback(None)

        end = self.ring.subscribe(hear)
        await heard

    async def ask(self, sql: str, *values: object) -> list[Any]:
        """Ask the database."""

        def rows(tx: Cursor) -> list[Any]:
            tx.execute(sql, values)
            return tx.fetchall()

        return await self.database.read(rows)


def at_house(dsn: str, story: Callable[[House], Awaitable[T]], **options: Any) -> T:
    """Tell a story in a house on this database; it is closed in the end."""

    async def told(reactor: Any) -> T:
        house = await House(dsn, reactor, **options).open()
        try:
            return await story(house)
        finally:
            await house.close()

    return run_on_reactor(told)


async def refusal(attempt: Awaitable[object]) -> tuple[int, str]:
    """Status and error code with which something is refused."""
    try:
        await attempt
    except MatrixError as error:
        return error.status, error.errcode
    raise AssertionError("it was not refused")
