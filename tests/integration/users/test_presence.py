"""Presence as time passes: on a real database, with a clock that the tests move."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import RoomId, UserId
from homeserver.core.presence import GRACE_S, IDLE_AFTER_S, OFFLINE, ONLINE, UNAVAILABLE
from homeserver.runtime.clock import FakeClock
from homeserver.runtime.tasks import Tasks
from homeserver.users.presence import REMOTE_LASTS_S, SAVE_EVERY_S, SAY_AGAIN_S, STEP_S, Presence
from homeserver.users.presence_news import LONGEST_PAUSE_S, SHORTEST_PAUSE_S, PresenceChanged, PresenceNews, pause_s
from homeserver.users.presence_records import Records
from homeserver.web.access import Requester
from storage import accounts as account_table
from storage.accounts import Account
from storage.database import Cursor
from storage.rows import Entry, PresenceRow
from tests.integration.rooms.house import JULIET, ROMEO, SERVER, TYBALT, House
from tests.postgres import FreshDatabase
from tests.reactors import run_on_reactor

FAR = UserId("@far:padua.example")
PHONE = 1


class Watch:
    """Presence in a house, and what is told of it."""

    def __init__(self, house: House, clock: FakeClock | None = None, readers: int = 0) -> None:
        self.house = house
        self.clock = clock or FakeClock()
        self.tasks = Tasks(self.clock)
        self.rows: list[PresenceRow] = []
        self.sent: list[PresenceChanged] = []
        records = Records(house.database, self.clock)
        connected: Collection[object] = range(readers)
        news = PresenceNews(records, house.memberships, house.writer, lambda room: connected, self.clock)
        self.presence = Presence(records, news, house.memberships, self.clock, SERVER, enabled=True)
        house.ring.subscribe(self._note)
        self.presence.listen(self.sent.extend)

    async def started(self) -> Watch:
        await self.presence.start(self.tasks, self.house.ring)
        return self

    async def ended(self) -> None:
        await self.tasks.stop()
        await self.presence.save()

    def _note(self, entries: Sequence[Entry]) -> None:
        self.rows += [entry for entry in entries if isinstance(entry, PresenceRow)]

    async def of(self, user_id: UserId) -> JsonObject:
        """A user's presence, as the user sees it."""
        return await self.presence.status(requester(user_id), user_id)

    async def told(self, count: int) -> list[tuple[str, ...]]:
        """The users of the first entries of the log, once there are so many."""
        while len(self.rows) < count:
            await self.house.news()
        assert len(self.rows) == count
        return [row.user_ids for row in self.rows]

    async def pass_by(self, seconds: float) -> None:
        """Let time pass in steps, and what is due be done, also by the database."""
        end_s = self.clock.monotonic_s() + seconds
        while self.clock.monotonic_s() < end_s:
            self.clock.advance(min(STEP_S, end_s - self.clock.monotonic_s()))
            await self.settle()

    async def settle(self) -> None:
        """Go once through the log and the database, so that what waited for them has gone on."""
        for _ in range(3):
            await self.house.ask("SELECT 1")
            turn: Deferred[None] = Deferred()
            self.house.reactor.callLater(0, turn.callback, None)
            await turn


def requester(user_id: UserId) -> Requester:
    return Requester(user_id, None, PHONE, b"")


Story = Callable[[House, Watch, RoomId], Awaitable[None]]


def watching(dsn: str, story: Story, readers: int = 0) -> None:
    """Tell a story in which Romeo, Juliet and Tybalt are in one room."""

    async def told(reactor: Any) -> None:
        house = await House(dsn, reactor).open()
        watch = await Watch(house, readers=readers).started()
        try:
            await house.database.write(admit)
            room = await house.room(preset="public_chat")
            for user_id in (JULIET, TYBALT):
                await house.changes.join(user_id, room)
            await story(house, watch, room)
        finally:
            await watch.ended()
            await house.close()

    run_on_reactor(told)


def admit(tx: Cursor) -> None:
    for user_id in (ROMEO, JULIET, TYBALT):
        account_table.insert(tx, Account(user_id, None, 0))


def test_who_has_gone_is_offline_after_the_time_of_grace(fresh_database: FreshDatabase) -> None:
    async def story(house: House, watch: Watch, room: RoomId) -> None:
        watch.presence.begin(JULIET, PHONE, ONLINE)
        await watch.pass_by(3 * GRACE_S)
        assert (await watch.of(JULIET))["presence"] == ONLINE
        watch.presence.end(JULIET, PHONE)
        await watch.pass_by(GRACE_S - STEP_S)
        assert (await watch.of(JULIET))["presence"] == ONLINE
        await watch.pass_by(2 * STEP_S)
        assert (await watch.of(JULIET))["presence"] == OFFLINE
        assert await watch.told(2) == [(JULIET,), (JULIET,)]

    watching(fresh_database(), story)


def test_who_polls_without_a_pause_is_there_all_the_time(fresh_database: FreshDatabase) -> None:
    async def story(house: House, watch: Watch, room: RoomId) -> None:
        for _ in range(20):
            watch.presence.begin(JULIET, PHONE, ONLINE)
            await watch.pass_by(10)
            watch.presence.end(JULIET, PHONE)
            await watch.pass_by(2)
        assert await watch.told(1) == [(JULIET,)]

    watching(fresh_database(), story)


def test_two_devices_are_counted_apart(fresh_database: FreshDatabase) -> None:
    async def story(house: House, watch: Watch, room: RoomId) -> None:
        watch.presence.begin(JULIET, PHONE, ONLINE)
        watch.presence.begin(JULIET, 2, UNAVAILABLE)
        watch.presence.end(JULIET, PHONE)
        await watch.pass_by(GRACE_S + STEP_S)
        assert (await watch.of(JULIET))["presence"] == UNAVAILABLE

    watching(fresh_database(), story)


def test_who_does_nothing_is_unavailable_until_they_do(fresh_database: FreshDatabase) -> None:
    async def story(house: House, watch: Watch, room: RoomId) -> None:
        watch.presence.begin(JULIET, PHONE, ONLINE)
        await watch.pass_by(IDLE_AFTER_S - STEP_S)
        found = await watch.of(JULIET)
        assert found == {
            "presence": ONLINE,
            "last_active_ago": int((IDLE_AFTER_S - STEP_S) * 1000),
            "currently_active": True,
        }
        await watch.pass_by(2 * STEP_S)
        idle = await watch.of(JULIET)
        assert idle == {"presence": UNAVAILABLE, "last_active_ago": int((IDLE_AFTER_S + STEP_S) * 1000)}
        await house.says(JULIET, room, "ay me", device=PHONE, txn_id="1")
        assert await watch.of(JULIET) == {"presence": ONLINE, "last_active_ago": 0, "currently_active": True}
        await watch.pass_by(IDLE_AFTER_S - STEP_S)
        assert (await watch.of(JULIET))["presence"] == ONLINE
        assert len(watch.rows) == 3

    watching(fresh_database(), story)


def test_what_the_server_does_in_a_users_name_is_no_activity(fresh_database: FreshDatabase) -> None:
    async def story(house: House, watch: Watch, room: RoomId) -> None:
        watch.presence.begin(JULIET, PHONE, UNAVAILABLE)
        await house.says(JULIET, room, "by the server")
        assert (await watch.of(JULIET))["presence"] == UNAVAILABLE

    watching(fresh_database(), story)


def test_the_first_change_is_told_at_once_and_the_next_ones_together(fresh_database: FreshDatabase) -> None:
    async def story(house: House, watch: Watch, room: RoomId) -> None:
        for user_id in (ROMEO, JULIET, TYBALT):
            watch.presence.begin(user_id, PHONE, ONLINE)
        assert await watch.told(1) == [(ROMEO,)]
        await watch.settle()
        assert len(watch.rows) == 1
        watch.clock.advance(SHORTEST_PAUSE_S)
        assert await watch.told(2) == [(ROMEO,), (JULIET, TYBALT)]
        number = (await house.heads.get(room)).number
        assert [row.rooms for row in watch.rows] == [{number: ROMEO}, {number: None}]

    watching(fresh_database(), story)


def test_the_more_readers_there_are_the_longer_changes_gather(fresh_database: FreshDatabase) -> None:
    async def story(house: House, watch: Watch, room: RoomId) -> None:
        watch.presence.begin(ROMEO, PHONE, ONLINE)
        await watch.told(1)
        watch.presence.begin(JULIET, PHONE, ONLINE)
        await watch.pass_by(9)
        assert len(watch.rows) == 1
        await watch.pass_by(1)
        assert await watch.told(2) == [(ROMEO,), (JULIET,)]

    watching(fresh_database(), story, readers=1000)


@pytest.mark.parametrize(("woken", "pause"), [(0, SHORTEST_PAUSE_S), (500, 5.0), (10**6, LONGEST_PAUSE_S)])
def test_the_pause_has_bounds(woken: int, pause: float) -> None:
    assert pause_s(woken) == pause


def test_who_goes_and_is_back_before_it_is_told_is_no_news(fresh_database: FreshDatabase) -> None:
    async def story(house: House, watch: Watch, room: RoomId) -> None:
        watch.presence.begin(ROMEO, PHONE, ONLINE)
        await watch.told(1)
        watch.presence.begin(ROMEO, PHONE, OFFLINE)
        watch.presence.begin(ROMEO, PHONE, ONLINE)
        await watch.pass_by(SHORTEST_PAUSE_S + 1)
        assert len(watch.rows) == 1

    watching(fresh_database(), story)


def test_a_message_is_kept_while_its_user_is_away_and_over_restarts(fresh_database: FreshDatabase) -> None:
    async def story(house: House, watch: Watch, room: RoomId) -> None:
        await watch.presence.set(requester(JULIET), JULIET, OFFLINE, "gone")
        await watch.presence.set(requester(ROMEO), ROMEO, UNAVAILABLE, "busy")
        await watch.pass_by(SAVE_EVERY_S)
        await watch.ended()
        later = await Watch(house, watch.clock).started()
        assert (await later.of(JULIET))["status_msg"] == "gone"
        assert {**await later.of(ROMEO), "last_active_ago": 0} == {
            "presence": UNAVAILABLE,
            "status_msg": "busy",
            "last_active_ago": 0,
        }
        await later.pass_by(GRACE_S + STEP_S)
        assert (await later.of(ROMEO))["presence"] == OFFLINE
        assert (await later.of(ROMEO))["status_msg"] == "busy"
        assert await later.told(1) == [(ROMEO,)]
        # Who comes back has the old message, and is told of with it.
        later.presence.begin(JULIET, PHONE, ONLINE)
        await later.pass_by(2)
        assert later.sent[-1].content["status_msg"] == "gone"
        await later.ended()

    watching(fresh_database(), story)


def test_listeners_hear_of_local_users_and_again_while_they_are_there(fresh_database: FreshDatabase) -> None:
    async def story(house: House, watch: Watch, room: RoomId) -> None:
        watch.presence.begin(JULIET, PHONE, UNAVAILABLE)
        await watch.told(1)
        number = (await house.heads.get(room)).number
        (change,) = watch.sent
        assert (change.user_id, set(change.rooms)) == (JULIET, {number})
        assert change.content == {"user_id": JULIET, "presence": UNAVAILABLE, "last_active_ago": 0}
        await watch.pass_by(SAY_AGAIN_S + 2 * STEP_S)
        assert [change.user_id for change in watch.sent] == [JULIET, JULIET]
        assert len(watch.rows) == 1

    watching(fresh_database(), story)


def update(presence: str, **more: Any) -> JsonObject:
    return {"push": [{"user_id": FAR, "presence": presence, "last_active_ago": 1000, **more}]}


def join_from_far(tx: Cursor, room: int) -> None:
    tx.execute("INSERT INTO memberships (room, user_id, membership, position) VALUES (%s, %s, 'join', 1)", (room, FAR))


def test_users_of_other_servers_are_told_of_as_their_servers_say(fresh_database: FreshDatabase) -> None:
    async def story(house: House, watch: Watch, room: RoomId) -> None:
        number = (await house.heads.get(room)).number
        await house.database.write(join_from_far, number)
        await watch.presence.received("padua.example", update(ONLINE, status_msg="far off"))
        assert await watch.told(1) == [(FAR,)]
        assert watch.rows[0].rooms == {number: FAR}
        found = await watch.presence.status(requester(JULIET), FAR)
        assert found == {
            "presence": ONLINE,
            "last_active_ago": 1000,
            "currently_active": False,
            "status_msg": "far off",
        }
        # They are not told to others: that is for their own server to do.
        assert watch.sent == []
        await watch.pass_by(REMOTE_LASTS_S - STEP_S)
        await watch.presence.received("padua.example", update(ONLINE, status_msg="far off"))
        await watch.pass_by(REMOTE_LASTS_S - STEP_S)
        assert len(watch.rows) == 1
        await watch.pass_by(3 * STEP_S)
        assert (await watch.presence.status(requester(JULIET), FAR))["presence"] == OFFLINE
        assert await watch.told(2) == [(FAR,), (FAR,)]

    watching(fresh_database(), story)


def test_users_of_other_servers_whom_nobody_here_may_see_are_not_kept(fresh_database: FreshDatabase) -> None:
    async def story(house: House, watch: Watch, room: RoomId) -> None:
        await watch.presence.received("padua.example", update(ONLINE))
        await watch.pass_by(2)
        assert watch.rows == []
        assert await watch.presence.known(FAR) is None

    watching(fresh_database(), story)
