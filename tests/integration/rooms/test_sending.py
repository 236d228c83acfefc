"""Messages, state, redactions, relations."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import EventId, RoomId
from homeserver.rooms.client_events import base_of
from homeserver.rooms.create import InitialState
from tests.integration.rooms.house import JULIET, ROMEO, TYBALT, House, at_house, refusal
from tests.postgres import FreshDatabase


def related(rel_type: str, event_id: str, **more: str) -> JsonObject:
    return {"m.relates_to": {"rel_type": rel_type, "event_id": event_id, **more}}


def test_a_warm_send_reads_nothing_and_writes_three_statements(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room()
        await house.says(ROMEO, room_id, "first", device=1, txn_id="0")
        before = house.database.statements
        await house.says(ROMEO, room_id, "second", device=1, txn_id="1")
        after = house.database.statements
        assert (after.read - before.read, after.write - before.write, after.log - before.log) == (0, 0, 3)

    at_house(fresh_database(), story)


def test_messages_sent_at_once_share_a_batch_and_follow_each_other(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room()
        await house.says(ROMEO, room_id, "warm")
        batches, before = house.writer.batches, house.database.statements
        sent = await gatherResults(
            [Deferred.fromCoroutine(house.says(ROMEO, room_id, f"line {number}")) for number in range(50)]
        )
        assert house.writer.batches == batches + 1
        assert house.database.statements.log - before.log == 3
        rows = [await house.event(event_id) for event_id in sent]
        assert [row.event.prev_events for row in rows[1:]] == [(row.event.event_id,) for row in rows[:-1]]
        depth = rows[0].event.depth
        assert [row.event.depth for row in rows] == list(range(depth, depth + 50))
        assert len({row.state_root for row in rows}) == 1

    at_house(fresh_database(), story)


def test_the_same_state_again_makes_no_new_event(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room()
        put = house.sending.state
        first = await put(ROMEO, room_id, "example.flag", "", {"on": True})
        assert await put(ROMEO, room_id, "example.flag", "", {"on": True}) == first
        assert await put(ROMEO, room_id, "example.flag", "", {"on": 1}) != first
        await house.changes.leave(ROMEO, room_id)
        assert await refusal(put(ROMEO, room_id, "example.flag", "", {"on": 1})) == (403, "M_FORBIDDEN")

    at_house(fresh_database(), story)


def test_what_the_rules_forbid_is_refused_and_leaves_nothing(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room(preset="public_chat")
        events = await house.timeline(room_id)
        head = (await house.heads.get(room_id)).position
        assert await refusal(house.says(JULIET, room_id, "hello")) == (403, "M_FORBIDDEN")
        assert await refusal(house.says(ROMEO, RoomId("!x:verona.example"), "hello")) == (403, "M_FORBIDDEN")
        assert await refusal(house.says(ROMEO, room_id, "x" * 66_000)) == (413, "M_TOO_LARGE")
        big = house.sending.message(ROMEO, room_id, "x" * 256, {})
        assert await refusal(big) == (400, "M_BAD_JSON")
        broken = house.says(ROMEO, room_id, "x", content={"number": 2**60})
        assert await refusal(broken) == (400, "M_BAD_JSON")
        assert await house.timeline(room_id) == events
        assert (await house.heads.get(room_id)).position == head
        await house.changes.join(JULIET, room_id)
        refused = house.sending.state(JULIET, room_id, "m.room.name", "", {"name": "Mine"})
        assert await refusal(refused) == (403, "M_FORBIDDEN")

    at_house(fresh_database(), story)


def test_a_change_of_power_counts_for_the_next_message(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room(preset="public_chat", room_version="11")
        await house.changes.join(JULIET, room_id)
        await house.says(JULIET, room_id, "before")
        levels = dict(await house.content(room_id, "m.room.power_levels") or {})
        levels["events_default"] = 10
        await house.sending.state(ROMEO, room_id, "m.room.power_levels", "", levels)
        assert await refusal(house.says(JULIET, room_id, "after")) == (403, "M_FORBIDDEN")
        await house.says(ROMEO, room_id, "mine still go")
        await house.changes.kick(ROMEO, room_id, JULIET)
        assert await refusal(house.says(JULIET, room_id, "gone")) == (403, "M_FORBIDDEN")

    at_house(fresh_database(), story)


def test_a_redaction_takes_the_content_in_memory_and_on_disk(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()

    async def story(house: House) -> tuple[EventId, EventId]:
        room_id = await house.room(preset="public_chat")
        await house.changes.join(JULIET, room_id)
        event_id = await house.says(JULIET, room_id, "a rose")
        row = await house.event(event_id)
        base_of(row)
        assert await refusal(house.sending.redact(TYBALT, room_id, event_id, {})) == (403, "M_FORBIDDEN")
        redaction = await house.sending.redact(ROMEO, room_id, event_id, {"reason": "thorns"}, device=1, txn_id="1")
        again = await house.sending.redact(ROMEO, room_id, event_id, {"reason": "thorns"}, device=1, txn_id="1")
        assert again == redaction
        assert row.event.content == {}
        assert b"a rose" not in base_of(row)
        assert row.redacted_by == (await house.event(redaction)).position
        by_ring = [each for each in house.ring.room_after(row.room, row.position - 1) if each.position == row.position]
        assert by_ring == [row]
        mine = await house.says(ROMEO, room_id, "mine")
        assert await refusal(house.sending.redact(JULIET, room_id, mine, {})) == (403, "M_FORBIDDEN")
        assert await refusal(house.sending.redact(ROMEO, room_id, EventId("$no"), {})) == (404, "M_NOT_FOUND")
        return event_id, redaction

    async def later(house: House) -> None:
        row = await house.event(event_id)
        assert row.event.content == {}
        assert row.redacted_by == (await house.event(redaction)).position
        assert (await house.event(redaction)).event.redacts == event_id

    event_id, redaction = at_house(dsn, story)
    at_house(dsn, later)


def test_a_redaction_may_be_sent_as_a_message_in_every_version(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        for version in ("10", "11"):
            room_id = await house.room(room_version=version)
            event_id = await house.says(ROMEO, room_id, "x")
            content: JsonObject = {"redacts": event_id, "reason": "y"}
            redaction = await house.sending.message(ROMEO, room_id, "m.room.redaction", content)
            pdu = (await house.event(redaction)).event.to_pdu()
            assert isinstance(pdu["content"], dict)
            assert ("redacts" in pdu, "redacts" in pdu["content"]) == (version == "10", version == "11")
            assert (await house.event(event_id)).event.content == {}
            nothing = house.sending.message(ROMEO, room_id, "m.room.redaction", {})
            assert await refusal(nothing) == (400, "M_BAD_JSON")

    at_house(fresh_database(), story)


def test_redacting_the_name_of_a_room_takes_it_from_lists(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room(name="Secret", topic="Stays")
        room = await house.heads.get(room_id)
        row = room.known[("m.room.name", "")]
        assert row is not None
        await house.sending.redact(ROMEO, room_id, row.event.event_id, {})
        assert (room.summary.name, room.summary.topic) == (None, "Stays")
        assert await house.ask("SELECT name, topic FROM room_summaries") == [(None, "Stays")]

    at_house(fresh_database(), story)


def test_threads_take_in_what_relates_to_them(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room()
        root = await house.says(ROMEO, room_id, "root")
        inside = await house.says(ROMEO, room_id, "inside", content=related("m.thread", root))
        reaction = await house.sending.message(
            ROMEO, room_id, "m.reaction", related("m.annotation", inside, key="rose")
        )
        on_root = await house.sending.message(ROMEO, room_id, "m.reaction", related("m.annotation", root, key="rose"))
        assert [(await house.event(each)).thread for each in (root, inside, reaction, on_root)] == [
            None,
            root,
            root,
            None,
        ]
        nested = house.says(ROMEO, room_id, "no", content=related("m.thread", inside))
        assert await refusal(nested) == (400, "M_UNKNOWN")
        assert await house.ask("SELECT target, rel_type FROM relations ORDER BY position") == [
            (root, "m.thread"),
            (inside, "m.annotation"),
            (root, "m.annotation"),
        ]
        unknown = await house.sending.message(
            ROMEO, room_id, "m.reaction", related("m.annotation", "$unknown", key="x")
        )
        assert (await house.event(unknown)).thread is None

    at_house(fresh_database(), story)


def test_one_annotates_once_unless_it_was_redacted(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room(preset="public_chat")
        await house.changes.join(JULIET, room_id)
        target = await house.says(ROMEO, room_id, "x")
        react = house.sending.message
        content = related("m.annotation", target, key="\u0000rose")
        first = await react(ROMEO, room_id, "m.reaction", content, device=1, txn_id="1")
        assert await react(ROMEO, room_id, "m.reaction", content, device=1, txn_id="1") == first
        assert await refusal(react(ROMEO, room_id, "m.reaction", content)) == (400, "M_DUPLICATE_ANNOTATION")
        await react(ROMEO, room_id, "m.reaction", related("m.annotation", target, key="thorn"))
        await react(JULIET, room_id, "m.reaction", content)
        await house.sending.redact(ROMEO, room_id, first, {})
        await react(ROMEO, room_id, "m.reaction", content)

    at_house(fresh_database(), story)


def test_new_canonical_aliases_must_lead_to_the_room(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room(room_alias_name="one")
        other = await house.room(room_alias_name="two")
        one, two = "#one:verona.example", "#two:verona.example"

        async def name(content: JsonObject) -> EventId:
            return await house.sending.state(ROMEO, room_id, "m.room.canonical_alias", "", content)

        assert await refusal(name({"alias": two})) == (400, "M_BAD_ALIAS")
        assert await refusal(name({"alias": one, "alt_aliases": [two]})) == (400, "M_BAD_ALIAS")
        assert await refusal(name({"alias": one, "alt_aliases": ["nonsense"]})) == (400, "M_INVALID_PARAM")
        assert await refusal(name({"alias": 1})) == (400, "M_INVALID_PARAM")
        await name({"alt_aliases": [one]})
        await name({})
        assert (await house.heads.get(room_id)).summary.canonical_alias is None
        assert (await house.heads.get(other)).summary.canonical_alias == two

    at_house(fresh_database(), story)


def test_odd_characters_survive_the_way_to_the_disk(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()
    text = "zero \u0000 newline \n quote ' backslash \\ brace { comma , emoji 🌹 NULL"

    async def story(house: House) -> EventId:
        room_id = await house.room(name=text, initial_state=[InitialState("example\u0000'{,", {"x": text}, text[:200])])
        return await house.says(ROMEO, room_id, text, device=3, txn_id="NULL")

    async def later(house: House) -> None:
        row = await house.event(event_id)
        assert row.event.content["body"] == text
        assert (row.device, row.txn_path, row.txn_id) == (3, "send/m.room.message/NULL", "NULL")
        assert await house.content(row.event.room_id, "example\u0000'{,", text[:200]) == {"x": text}

    event_id = at_house(dsn, story)
    at_house(dsn, later)


def test_the_root_of_the_state_is_known_at_every_position(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()

    async def story(house: House) -> tuple[RoomId, list[tuple[int, bytes]]]:
        room_id = await house.room()
        room = await house.heads.get(room_id)
        seen: list[tuple[int, bytes]] = []
        for number in range(100):
            await house.sending.state(ROMEO, room_id, "example.count", "", {"n": number})
            await house.says(ROMEO, room_id, "between")
            seen.append((house.ring.head, room.state_root))
        for position, root in seen:
            assert await house.heads.root_at(room, position) == root
            assert await house.heads.root_at(room, position - 1) == root
        return room_id, seen

    async def later(house: House) -> None:
        room = await house.heads.get(room_id)
        assert room.state_root == seen[-1][1]
        for position, root in seen:
            assert await house.heads.root_at(room, position) == root

    room_id, seen = at_house(dsn, story)
    at_house(dsn, later)
