"""What another server may send, and what becomes of it. The other server is played by the test."""

from __future__ import annotations

import pytest

from homeserver.core import hashes
from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from tests.cast import Actor
from tests.federated import Federated, TestAuthority
from tests.integration.federation.past import answers_states
from tests.stranger import Asked, Stranger, Visit, now_ms
from tests.wire import Json


def visit(server: Federated, stranger: Stranger, **room: Json) -> tuple[Actor, str, Visit]:
    """A room of Romeo's with a user of the stranger in it."""
    romeo = server.cast("romeo")
    room_id = romeo.creates_room(preset="public_chat", **room)
    return romeo, room_id, stranger.joins(server.server_name, room_id, stranger.user("juliet"))


def test_a_message_arrives_once_however_often_it_is_sent(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visit(server, stranger)
    since = romeo.sync()
    message = seen.says(stranger.user("juliet"), "wherefore")
    first = stranger.sends(server.server_name, [message], txn_id="one")
    assert first == (200, {"pdus": {message.event_id: {}}})
    assert stranger.sends(server.server_name, [message], txn_id="one") == first
    assert stranger.sends(server.server_name, [message], txn_id="two") == first
    last = romeo.says(room, "soft")
    timeline = romeo.syncs_until(since, lambda seen: last in seen.timeline(room)).timeline(room)
    assert timeline.ids == [message.event_id, last]
    assert romeo.event(room, last)["event_id"] == last


def test_events_with_bad_signatures_are_dropped_and_the_others_taken(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visit(server, stranger)
    juliet = stranger.user("juliet")
    good = seen.says(juliet, "good")
    forged = seen.says(juliet, "forged").to_pdu()
    forged["signatures"] = {stranger.name: {stranger.signer.key.key_id: "A" * 86}}
    in_romeos_name = seen.says(romeo.user_id, "I am Romeo")  # type: ignore[arg-type]  # a user id of another server
    results = seen.sends(good, forged, in_romeos_name)
    assert results[good.event_id] == {}
    assert "signature" in results[hashes.event_id_of(forged, seen.rules)]["error"]
    assert "signature" in results[in_romeos_name.event_id]["error"]
    assert romeo.whole_history(room).bodies == ["good"]


def test_an_event_whose_content_was_changed_is_taken_in_its_redacted_form(
    server: Federated, stranger: Stranger
) -> None:
    romeo, room, seen = visit(server, stranger)
    changed = seen.says(stranger.user("juliet"), "as it was").to_pdu()
    changed["content"] = {"body": "as somebody wants it", "msgtype": "m.text"}
    event_id = hashes.event_id_of(changed, seen.rules)
    assert seen.sends(changed) == {event_id: {}}
    assert romeo.event(room, event_id)["content"] == {}


def test_a_redaction_that_comes_before_its_event_is_applied_when_that_comes(
    server: Federated, stranger: Stranger
) -> None:
    romeo, room, seen = visit(server, stranger)
    juliet = stranger.user("juliet")
    before = seen.last
    assert before is not None
    oath = seen.says(juliet, "by the moon")
    topic = seen.build(juliet, "m.room.message", {"body": "kept", "msgtype": "m.text"}, ts=now_ms() + 1)
    by_romeo = seen.build(romeo.user_id, "m.room.redaction", {"redacts": topic.event_id})  # type: ignore[arg-type]
    redaction = seen.build(juliet, "m.room.redaction", {"redacts": oath.event_id, "reason": "inconstant"})
    results = seen.sends(redaction, by_romeo)
    assert results[redaction.event_id] == {}
    assert "signature" in results[by_romeo.event_id]["error"]
    server.stop()
    server.start()
    since = romeo.sync()
    assert seen.sends(oath, topic) == {oath.event_id: {}, topic.event_id: {}}
    heard = romeo.syncs_until(since, lambda seen: topic.event_id in seen.timeline(room)).timeline(room)
    assert heard.bodies == ["kept"]
    shown = romeo.event(room, oath.event_id)
    assert shown["content"] == {}
    assert shown["unsigned"]["redacted_because"]["event_id"] == redaction.event_id
    status, answer = stranger.reads(server.server_name, "event", oath.event_id)
    assert (status, answer["pdus"][0]["content"]) == (200, {})


def test_a_redaction_by_who_may_not_changes_nothing_also_if_it_comes_first(
    server: Federated, stranger: Stranger, authority: TestAuthority
) -> None:
    romeo, room, seen = visit(server, stranger)
    other = Stranger(authority)
    try:
        others = other.joins(server.server_name, room, other.user("tybalt"))
        oath = seen.says(stranger.user("juliet"), "by the moon")
        redaction = others.build(other.user("tybalt"), "m.room.redaction", {"redacts": oath.event_id})
        assert others.sends(redaction) == {redaction.event_id: {}}
        # In one transaction too, and with a mate who may.
        second = seen.says(stranger.user("juliet"), "by yonder moon")
        again = seen.build(stranger.user("juliet"), "m.room.redaction", {"redacts": second.event_id})
        assert set(map(str, seen.sends(oath, again, second).values())) == {"{}"}
    finally:
        other.stop()
    assert romeo.event(room, oath.event_id)["content"]["body"] == "by the moon"
    assert romeo.event(room, second.event_id)["content"] == {}


def test_what_the_rules_forbid_is_rejected_and_what_follows_it_is_taken(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visit(server, stranger)
    juliet = stranger.user("juliet")
    levels: JsonObject = {**seen.state["m.room.power_levels", ""].content, "users": {juliet: 100}}
    grab = seen.build(juliet, "m.room.power_levels", levels, "")
    results = seen.sends(grab)
    assert results[grab.event_id]["error"].startswith("Rejected")
    seen.saw(grab)
    seen.state["m.room.power_levels", ""] = next(
        event for event in seen.events.values() if event.type == "m.room.power_levels"
    )
    after = seen.says(juliet, "after")
    assert seen.sends(after) == {after.event_id: {}}
    by_its_grab = seen.build(juliet, "m.room.name", {"name": "mine"}, "", auth=[grab.event_id, *after.auth_events[1:]])
    assert seen.sends(by_its_grab)[by_its_grab.event_id]["error"].startswith("Rejected")
    assert juliet not in romeo.state(room, "m.room.power_levels").get("users", {})
    history = romeo.whole_history(room)
    assert after.event_id in history
    assert grab.event_id not in history
    with pytest.raises(AssertionError):
        romeo.event(room, grab.event_id)


def test_who_was_banned_cannot_speak_from_the_past(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visit(server, stranger)
    juliet = stranger.user("juliet")
    romeo.asks("POST", "rooms", room, "ban", body={"user_id": juliet})
    since = romeo.sync()
    from_before = seen.says(juliet, "as if I knew nothing of the ban")
    assert seen.sends(from_before) == {from_before.event_id: {}}
    last = romeo.says(room, "silence")
    heard = romeo.syncs_until(since, lambda seen: last in seen.timeline(room)).timeline(room)
    assert heard.ids == [last]
    assert from_before.event_id not in romeo.whole_history(room)


def test_what_follows_only_what_nobody_is_shown_makes_no_gap(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visit(server, stranger)
    juliet, tybalt = stranger.user("juliet"), stranger.user("tybalt")
    seen = stranger.joins(server.server_name, room, tybalt)
    romeo.asks("POST", "rooms", room, "ban", body={"user_id": tybalt})
    since = romeo.sync()
    before = romeo.says(room, "what news")
    unseen = [seen.says(tybalt, "none of the ban")]
    seen.saw(unseen[0])
    unseen.append(seen.says(tybalt, "nor now"))
    seen.saw(unseen[1])
    after = seen.says(juliet, "good news")
    assert seen.sends(*unseen, after) == {event.event_id: {} for event in (*unseen, after)}
    answer = romeo.sync(since)
    assert answer.timeline(room).ids == [before, after.event_id]
    assert not answer.is_limited(room)


def test_events_in_between_are_fetched(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visit(server, stranger)
    juliet = stranger.user("juliet")
    chain: list[Event] = []
    for number in range(5):
        chain.append(seen.says(juliet, f"{number}"))
        seen.saw(chain[-1])

    def between(asked: Asked) -> Json:
        assert asked.body["latest_events"] == [chain[-1].event_id]
        return {"events": [event.to_pdu() for event in chain[:-1]]}

    stranger.answers["get_missing_events/"] = between
    since = romeo.sync()
    assert seen.sends(chain[-1]) == {chain[-1].event_id: {}}
    heard = romeo.syncs_until(since, lambda seen: chain[-1].event_id in seen.timeline(room)).timeline(room)
    assert heard.bodies == ["0", "1", "2", "3", "4"]


def test_where_the_past_is_too_long_the_state_is_asked_for(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visit(server, stranger, power_level_content_override={"events": {"org.example.note": 0}})
    juliet = stranger.user("juliet")
    known = list(seen.state.values())
    notes: list[Event] = []
    for number in range(4):
        notes.append(seen.build(juliet, "org.example.note", {"n": number}, juliet))
        seen.saw(notes[-1])
    answers_states(stranger, seen, {notes[3].event_id: [*known, notes[2]]})
    since = romeo.sync()
    last = seen.says(juliet, "here I am")
    assert seen.sends(last) == {last.event_id: {}}
    heard = romeo.syncs_until(since, lambda seen: last.event_id in seen.timeline(room))
    assert heard.timeline(room).ids == [notes[3].event_id, last.event_id]
    assert romeo.state(room, "org.example.note", juliet) == {"n": 3}


def test_a_state_of_which_much_is_unknown_comes_at_once(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visit(server, stranger)
    known = list(seen.state.values())
    guests = [stranger.user(f"guest{number}") for number in range(40)]
    for guest in guests:
        seen.saw(seen.build(guest, "m.room.member", {"membership": "join"}, guest))
    state = [*known, *(event for event in seen.state.values() if event.sender in guests)]
    last = seen.says(stranger.user("juliet"), "so many")
    seen.saw(last)
    newest = seen.says(stranger.user("juliet"), "here we are")
    answers_states(stranger, seen, {last.event_id: state})
    pdus: list[Json] = [event.to_pdu() for event in state]
    forged = {**state[-1].to_pdu(), "signatures": {}}
    stranger.answers["state/"] = lambda asked: {"auth_chain": [17, {}], "pdus": [*pdus[:-1], forged, *pdus]}
    since = romeo.sync()
    assert seen.sends(newest) == {newest.event_id: {}}
    heard = romeo.syncs_until(since, lambda seen: newest.event_id in seen.timeline(room))
    assert heard.timeline(room).ids == [last.event_id, newest.event_id]
    assert set(guests) <= romeo.members(room, membership="join").keys()
    asked = [each.path for each in stranger.asked]
    assert sum("/state/" in path for path in asked) == 1
    # What came forged is asked for by itself.
    fetched = {each.last for each in stranger.asked if "/event/" in each.path}
    assert fetched.intersection(event.event_id for event in state) == {state[-1].event_id}


def test_a_claimed_state_gives_nobody_power(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visit(server, stranger)
    juliet = stranger.user("juliet")
    honest = dict(seen.state)
    levels: JsonObject = {**honest["m.room.power_levels", ""].content, "users": {juliet: 100}}
    grab = seen.build(juliet, "m.room.power_levels", levels, "")
    seen.events[grab.event_id] = grab
    unknown = seen.says(juliet, "nobody has this")
    joint = seen.build(juliet, "m.room.message", {"body": "joint"}, prev=[unknown.event_id, seen.last.event_id])  # type: ignore[union-attr]  # it has seen events
    seen.events[joint.event_id] = joint
    lie = {**honest, ("m.room.power_levels", ""): grab}
    answers_states(stranger, seen, {unknown.event_id: list(lie.values()), joint.event_id: list(lie.values())})
    seen.events[unknown.event_id] = unknown
    member = honest["m.room.member", juliet].event_id
    coup = seen.build(
        juliet, "m.room.name", {"name": "Juliet's"}, "", prev=[joint.event_id], auth=[grab.event_id, member]
    )
    seen.sends(coup)
    last = romeo.says(room, "still here")
    after = romeo.state(room, "m.room.power_levels")
    assert juliet not in after.get("users", {})
    assert last in romeo.whole_history(room)
    assert not any(event["type"] == "m.room.name" for event in romeo.whole_state(room))


def test_a_server_shut_out_by_the_acl_is_not_heard_and_told_nothing(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visit(server, stranger)
    juliet = stranger.user("juliet")
    host = stranger.name.rpartition(":")[0]
    before = seen.says(juliet, "before")
    assert seen.sends(before) == {before.event_id: {}}
    seen.saw(before)
    romeo.sets_state(room, "m.room.server_acl", {"allow": ["*"], "deny": [host], "allow_ip_literals": True})
    after = seen.says(juliet, "after")
    typing = {"edu_type": "m.typing", "content": {"room_id": room, "user_id": juliet, "typing": True}}
    since = romeo.sync()
    results = seen.sends(after, edus=[typing])
    assert "access control" in results[after.event_id]["error"]
    last = romeo.says(room, "quiet now")
    heard = romeo.syncs_until(since, lambda seen: last in seen.timeline(room))
    assert heard.timeline(room).ids == [last]
    assert heard.last.typing(room) in (None, [])
    for parts, query in (
        (("state", room), {"event_id": before.event_id}),
        (("state_ids", room), {"event_id": before.event_id}),
        (("event_auth", room, before.event_id), {}),
        (("backfill", room), {"v": before.event_id, "limit": "5"}),
        (("event", before.event_id), {}),
        (("timestamp_to_event", room), {"ts": "0", "dir": "f"}),
    ):
        status, answer = stranger.reads(server.server_name, *parts, **query)
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN"), parts


def test_a_transaction_has_at_most_fifty_events_and_a_hundred_others(server: Federated, stranger: Stranger) -> None:
    _, _, seen = visit(server, stranger)
    messages = [seen.says(stranger.user("juliet"), f"{number}") for number in range(51)]
    assert stranger.sends(server.server_name, messages)[0] == 400
    assert stranger.sends(server.server_name, [], [{"edu_type": "m.nothing", "content": {}}] * 101)[0] == 400
    status, answer = stranger.sends(server.server_name, messages[:50])
    assert status == 200
    assert answer["pdus"] == {event.event_id: {} for event in messages[:50]}


def test_typing_and_receipts_arrive_from_those_who_are_there(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visit(server, stranger)
    juliet, nobody = stranger.user("juliet"), stranger.user("nobody")
    said = romeo.says(room, "read me")
    since = romeo.sync()

    def typing(user_id: str) -> Json:
        return {"edu_type": "m.typing", "content": {"room_id": room, "user_id": user_id, "typing": True}}

    receipt = {"event_ids": [said], "data": {"ts": now_ms()}}
    receipts = {
        "edu_type": "m.receipt",
        "content": {room: {"m.read": {juliet: receipt, romeo.user_id: receipt, nobody: receipt}}, "!no:where": 7},
    }
    seen.sends(edus=[typing(nobody), typing(romeo.user_id), typing(juliet), receipts, {"edu_type": 7}, "nonsense"])
    heard = romeo.syncs_until(since, lambda seen: juliet in seen.last.readers(room, said))
    assert list(heard.last.readers(room, said)) == [juliet]
    assert [juliet] in [answer.typing(room) for answer in heard]


def test_the_newest_receipt_counts_by_the_time_of_the_server_that_sends_it(
    server: Federated, stranger: Stranger
) -> None:
    romeo, room, seen = visit(server, stranger)
    juliet, began_ms = stranger.user("juliet"), now_ms()
    first, second = romeo.says(room, "first"), romeo.says(room, "second")

    def reads(event_id: str, ts: int) -> None:
        receipt = {room: {"m.read": {juliet: {"event_ids": [event_id], "data": {"ts": ts}}}}}
        seen.sends(edus=[{"edu_type": "m.receipt", "content": receipt}])

    reads(second, began_ms)
    # There the two may have come in the other order.
    reads(first, began_ms + 1)
    # What was long on its way changes nothing.
    reads(second, began_ms)
    shown = romeo.sync()
    assert juliet in shown.readers(room, first)
    assert juliet not in shown.readers(room, second)


def test_rooms_can_be_read_by_servers_that_are_in_them(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visit(server, stranger, name="Verona")
    said = [romeo.says(room, f"{number}") for number in range(6)]
    name = server.server_name
    joined = seen.state["m.room.member", stranger.user("juliet")]
    status, answer = stranger.reads(name, "event", said[0])
    assert status == 200
    event = Event.parse(answer["pdus"][0], seen.rules)
    assert (event.event_id, event.content["body"]) == (said[0], "0")

    _, ids = stranger.reads(name, "state_ids", room, event_id=said[0])
    _, whole = stranger.reads(name, "state", room, event_id=said[0])
    assert set(ids["pdu_ids"]) == {event.event_id for event in seen.state.values()}
    assert {Event.parse(pdu, seen.rules).event_id for pdu in whole["pdus"]} == set(ids["pdu_ids"])
    assert {Event.parse(pdu, seen.rules).event_id for pdu in whole["auth_chain"]} == set(ids["auth_chain_ids"])
    _, before_join = stranger.reads(name, "state_ids", room, event_id=joined.event_id)
    assert joined.event_id not in before_join["pdu_ids"]

    _, chain = stranger.reads(name, "event_auth", room, said[0])
    chain_ids = {Event.parse(pdu, seen.rules).event_id for pdu in chain["auth_chain"]}
    assert set(event.auth_events) <= chain_ids

    _, back = stranger.reads(name, "backfill", room, v=said[4], limit="3")
    assert [Event.parse(pdu, seen.rules).event_id for pdu in back["pdus"]] == said[4:1:-1]
    status, missing = stranger.asks(
        name,
        "POST",
        f"/_matrix/federation/v1/get_missing_events/{room}",
        {"earliest_events": [said[1]], "latest_events": [said[5]], "limit": 10, "min_depth": 0},
    )
    assert status == 200
    assert [Event.parse(pdu, seen.rules).event_id for pdu in missing["events"]] == said[2:5]
    _, near = stranger.reads(name, "timestamp_to_event", room, ts=str(event.origin_server_ts), dir="f")
    assert near == {"event_id": said[0], "origin_server_ts": event.origin_server_ts}


def test_what_was_said_before_a_server_came_is_told_without_content_where_the_room_wants_it_so(
    server: Federated, stranger: Stranger
) -> None:
    romeo = server.cast("romeo")
    hidden = {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}}
    room = romeo.creates_room(preset="public_chat", initial_state=[hidden])
    secret = romeo.says(room, "secret")
    seen = stranger.joins(server.server_name, room, stranger.user("juliet"))
    open_now = romeo.says(room, "open")
    assert stranger.reads(server.server_name, "event", secret)[0] == 404
    _, back = stranger.reads(server.server_name, "backfill", room, v=open_now, limit="10")
    told: dict[str, Json] = {hashes.event_id_of(pdu, seen.rules): pdu["content"] for pdu in back["pdus"]}
    assert told[secret] == {}
    assert told[open_now]["body"] == "open"


def test_servers_that_are_not_in_a_room_read_nothing(server: Federated, stranger: Stranger) -> None:
    romeo = server.cast("romeo")
    room = romeo.creates_room(preset="private_chat")
    said = romeo.says(room, "between us")
    for parts, query in (
        (("event", said), {}),
        (("state", room), {"event_id": said}),
        (("backfill", room), {"v": said, "limit": "5"}),
    ):
        assert stranger.reads(server.server_name, *parts, **query)[0] == 403
    message = {"room_id": room, "type": "m.room.message"}
    assert stranger.sends(server.server_name, [message, 7, {"room_id": 7}])[0] == 200  # type: ignore[list-item]  # nonsense
