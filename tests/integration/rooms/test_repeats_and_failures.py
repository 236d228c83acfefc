"""Repeated requests, a database that refuses or goes away, restarts."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, gatherResults
from twisted.python.failure import Failure

from homeserver.core.ids import EventId, RoomId
from homeserver.rooms.create import InitialState
from homeserver.runtime.writer import AppendFailed
from storage.database import DatabaseUnavailable
from tests.integration.rooms.house import JULIET, ROMEO, House, at_house, refusal
from tests.postgres import FreshDatabase, TestServer
from tests.reactors import run_on_reactor

REFUSE_POISON = """
CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.type = 'poison' THEN RAISE EXCEPTION 'no poison' USING ERRCODE = 'check_violation'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_poison BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse_poison();
"""


async def execute(house: House, sql: str) -> None:
    await house.database.write(lambda tx: tx.execute(sql))


def test_the_same_request_again_gets_the_same_event_at_any_time(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()

    async def story(house: House) -> tuple[RoomId, EventId, EventId]:
        room_id, other = await house.room(), await house.room()
        # Before the commit: the second and third wait for the first.
        at_once = [Deferred.fromCoroutine(house.says(ROMEO, room_id, "x", device=1, txn_id="1")) for _ in range(3)]
        first, *repeats = await gatherResults(at_once)
        assert set(repeats) == {first}
        # After it.
        assert await house.says(ROMEO, room_id, "x", device=1, txn_id="1") == first
        # The same transaction id elsewhere is another request: another device, room or kind.
        others = {
            await house.says(ROMEO, room_id, "x", device=2, txn_id="1"),
            await house.says(ROMEO, other, "x", device=1, txn_id="1"),
            await house.sending.message(ROMEO, room_id, "m.sticker", {}, device=1, txn_id="1"),
            await house.sending.redact(ROMEO, room_id, first, {}, device=1, txn_id="1"),
        }
        assert len(others | {first}) == 5
        return room_id, first, await house.sending.redact(ROMEO, room_id, first, {}, device=1, txn_id="1")

    async def after_a_restart(house: House) -> None:
        assert await house.says(ROMEO, room_id, "x", device=1, txn_id="1") == first
        assert await house.sending.redact(ROMEO, room_id, first, {}, device=1, txn_id="1") == redaction
        before = house.database.statements.read
        assert await house.says(ROMEO, room_id, "x", device=1, txn_id="1") == first
        assert house.database.statements.read == before
        assert len(await house.timeline(room_id)) == 9 + 1

    room_id, first, redaction = at_house(dsn, story)
    at_house(dsn, after_a_restart)


def test_who_hangs_up_and_comes_again_has_sent_once(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room()
        await house.says(ROMEO, room_id, "warm", device=1, txn_id="0")
        hung_up = Deferred.fromCoroutine(house.says(ROMEO, room_id, "x", device=1, txn_id="1"))
        hung_up.cancel()
        outcome = await DeferredList([hung_up], consumeErrors=True)
        reasons: list[object] = [reason for _, reason in outcome]
        assert [isinstance(each, Failure) and each.type for each in reasons] == [CancelledError]
        sent = await house.says(ROMEO, room_id, "x", device=1, txn_id="1")
        assert await house.ask("SELECT event_id FROM events WHERE txn_path = 'send/m.room.message/1'") == [(sent,)]

    at_house(fresh_database(), story)


def test_a_refused_request_can_be_repeated(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room(preset="public_chat")
        both = [Deferred.fromCoroutine(house.says(JULIET, room_id, "x", device=1, txn_id="1")) for _ in range(2)]
        outcomes = await DeferredList(both, consumeErrors=True)
        assert [succeeded for succeeded, _ in outcomes] == [False, False]
        await house.changes.join(JULIET, room_id)
        sent = await house.says(JULIET, room_id, "x", device=1, txn_id="1")
        assert await house.says(JULIET, room_id, "x", device=1, txn_id="1") == sent

    at_house(fresh_database(), story)


def test_what_the_database_refuses_takes_what_was_built_on_it_along_and_nothing_else(
    fresh_database: FreshDatabase,
) -> None:
    async def story(house: House) -> None:
        await execute(house, REFUSE_POISON)
        room_id, other = await house.room(), await house.room(JULIET)
        sent = await house.says(ROMEO, room_id, "before", device=1, txn_id="0")
        send = house.sending
        at_once = [
            Deferred.fromCoroutine(each)
            for each in (
                send.state(ROMEO, room_id, "poison", "", {}),
                house.says(ROMEO, room_id, "upon it", device=1, txn_id="1"),
                house.says(JULIET, other, "elsewhere"),
            )
        ]
        outcomes = await DeferredList(at_once, consumeErrors=True)
        assert [succeeded for succeeded, _ in outcomes] == [False, False, True]
        answers: list[object] = [answer for _, answer in outcomes[:2]]
        assert [isinstance(each, Failure) and each.type for each in answers] == [AppendFailed, AppendFailed]
        # The head was loaded anew, the same request goes through now, and follows what is there.
        again = await house.says(ROMEO, room_id, "upon it", device=1, txn_id="1")
        row = await house.event(again)
        assert row.event.prev_events == (sent,)
        assert await house.content(room_id, "poison") is None
        assert await house.says(ROMEO, room_id, "upon it", device=1, txn_id="1") == again
        assert (await house.event(await house.says(ROMEO, room_id, "on"))).event.prev_events == (again,)

    at_house(fresh_database(), story)


def test_a_room_that_could_not_be_written_is_no_room(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        await execute(house, REFUSE_POISON)
        try:
            await house.room(initial_state=[InitialState("poison", {})], room_alias_name="flask")
        except AppendFailed:
            pass
        else:
            raise AssertionError("the database let it through")
        assert await house.ask("SELECT count(*) FROM rooms") == [(0,)]
        assert (await house.memberships.of_user(ROMEO)).joined == set()
        await house.room(room_alias_name="flask")

    at_house(fresh_database(), story)


def test_a_message_outlives_an_absence_of_the_database(restartable_postgres: TestServer) -> None:
    dsn = restartable_postgres.fresh_database()

    async def told(reactor: Any) -> None:
        house = await House(dsn, reactor, patience_s=1.5).open()
        try:
            room_id = await house.room()
            await house.says(ROMEO, room_id, "warm", device=1, txn_id="0")
            restartable_postgres.stop()
            for _ in range(2):
                try:
                    await house.says(ROMEO, room_id, "are you there", device=1, txn_id="1")
                except DatabaseUnavailable:
                    continue
                raise AssertionError("there is no database to say yes")
            news = Deferred.fromCoroutine(house.news())
            # Not in a thread of its own: PostgreSQL ends with the thread that started it.
            restartable_postgres.start()
            await news
            sent = await house.says(ROMEO, room_id, "are you there", device=1, txn_id="1")
            bodies = await house.ask(
                "SELECT count(*) FROM events WHERE txn_path = 'send/m.room.message/1' AND event_id = %s", sent
            )
            assert bodies == [(1,)]
            assert await house.ask("SELECT count(*) FROM events WHERE type = 'm.room.message'") == [(2,)]
        finally:
            await house.close()

    run_on_reactor(told)


def test_little_memory_changes_no_answer(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        rooms = [await house.room(preset="public_chat", name=f"room {number}") for number in range(6)]
        for room_id in rooms:
            await house.changes.join(JULIET, room_id)
        for turn in range(3):
            for room_id in rooms:
                await house.says(JULIET, room_id, f"turn {turn}")
                await house.sending.state(ROMEO, room_id, "m.room.topic", "", {"topic": str(turn)})
        for number, room_id in enumerate(rooms):
            room = await house.heads.get(room_id)
            assert room.summary.name == f"room {number}"
            assert room.summary.topic == "2"
            assert await house.content(room_id, "m.room.topic") == {"topic": "2"}
            assert room.local_joined == {ROMEO, JULIET}
        assert await refusal(house.says(ROMEO, RoomId("!none"), "x")) == (403, "M_FORBIDDEN")
        chain = await house.ask("SELECT room, depth, count(*) FROM events GROUP BY room, depth HAVING count(*) > 1")
        assert chain == []

    at_house(fresh_database(), story, cache_bytes=8_000, most_rooms=2)


def test_requests_at_once_for_a_cold_room_load_one_head(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()

    async def story(house: House) -> RoomId:
        room_id = await house.room(preset="public_chat")
        await house.changes.join(JULIET, room_id)
        return room_id

    async def later(house: House) -> None:
        both = [
            Deferred.fromCoroutine(house.says(who, room_id, f"{who} {number}"))
            for number in range(10)
            for who in (ROMEO, JULIET)
        ]
        rows = [await house.event(event_id) for event_id in await gatherResults(both)]
        assert len({row.event.depth for row in rows}) == 20
        assert all(len(row.event.prev_events) == 1 for row in rows)
        room = await house.heads.by_number((await house.heads.get(room_id)).number)
        assert room is house.heads.cached(room_id)

    room_id = at_house(dsn, story)
    at_house(dsn, later)
