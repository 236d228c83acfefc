"""GET /sync: where it begins, how it goes on, what it tells, gaps and filters (client-server API, "Syncing")."""

from __future__ import annotations

import time

import pytest

from tests.cast import Actor, Cast, refused
from tests.sync_answer import Synced
from tests.wire import client_path

Couple = tuple[Actor, Actor, str]


@pytest.fixture
def couple(cast: Cast) -> Couple:
    """Two people in a room."""
    romeo, juliet = cast("romeo"), cast("juliet", devices=["laptop", "phone"])
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    return romeo, juliet, room


def test_the_first_sync_tells_the_whole_state_once(couple: Couple) -> None:
    romeo, juliet, room = couple
    told = romeo.sync(filter={"room": {"timeline": {"limit": 1}}})
    events = told.all_events(room)
    assert len(told.timeline(room)) == 1
    assert told.is_limited(room)
    keys = [(event["type"], event["state_key"]) for event in events]
    assert len(keys) == len(set(keys))
    assert sorted(keys) == sorted((event["type"], event["state_key"]) for event in romeo.whole_state(room))


def test_nothing_new_is_an_answer_without_rooms(couple: Couple) -> None:
    romeo, _, _ = couple
    again = romeo.sync(romeo.sync())
    assert again.joined == {}
    assert again.account_data == []


def test_the_same_token_gives_the_same_again(couple: Couple) -> None:
    romeo, juliet, room = couple
    since = juliet.sync()
    sent = [romeo.says(room, str(number)) for number in range(3)]
    first, second = juliet.sync(since), juliet.sync(since)
    assert first.timeline(room).ids == second.timeline(room).ids == sent
    assert juliet.sync(first).joined == {}


def test_a_timeout_is_waited_for_when_nothing_happens(couple: Couple) -> None:
    romeo, _, _ = couple
    since = romeo.sync()
    begin_s = time.monotonic()
    assert romeo.sync(since, timeout_ms=300).joined == {}
    assert time.monotonic() - begin_s >= 0.3


def test_the_first_sync_does_not_wait(cast: Cast) -> None:
    # "If this is 0 or absent": the first sync of someone who is nowhere has nothing to tell, and must not hang.
    nobody = cast("nobody")
    assert nobody.sync(timeout_ms=60_000).joined == {}


def test_what_is_not_a_token_is_refused(couple: Couple) -> None:
    romeo, _, _ = couple
    for token in ("nonsense", "s", "s-1", "s1.5", "s" + "9" * 40, "\u0000"):
        with refused("M_INVALID_PARAM", 400):
            romeo.sync(token)


def test_without_a_token_nobody_syncs(couple: Couple) -> None:
    romeo, _, _ = couple
    answer = romeo.wire.ask("GET", client_path("sync"))
    assert (answer.status, answer.errcode) == (401, "M_MISSING_TOKEN")
    answer = romeo.wire.ask("GET", client_path("sync"), token="not a token")
    assert (answer.status, answer.errcode) == (401, "M_UNKNOWN_TOKEN")
    assert answer.json.get("soft_logout", False) is False


def test_a_gap_is_limited_and_its_prev_batch_leads_to_what_was_left_out(couple: Couple) -> None:
    romeo, juliet, room = couple
    since = juliet.sync()
    sent = [romeo.says(room, str(number)) for number in range(15)]
    told = juliet.sync(since, filter={"room": {"timeline": {"limit": 5}}})
    assert told.is_limited(room)
    assert told.timeline(room).ids == sent[-5:]
    missing, _ = juliet.messages(room, start=told.prev_batch(room), to=since.next_batch, limit=50)
    assert missing.ids == sent[:-5][::-1]


def test_a_short_pause_is_not_limited(couple: Couple) -> None:
    romeo, juliet, room = couple
    since = juliet.sync()
    sent = [romeo.says(room, str(number)) for number in range(5)]
    told = juliet.sync(since, filter={"room": {"timeline": {"limit": 5}}})
    assert told.timeline(room).ids == sent
    assert not told.is_limited(room)


def test_a_gap_tells_the_state_that_changed_in_it(couple: Couple) -> None:
    romeo, juliet, room = couple
    since = juliet.sync()
    romeo.sets_state(room, "m.room.topic", {"topic": "balconies"})
    romeo.sets_state(room, "m.room.name", {"name": "Verona"})
    for number in range(4):
        romeo.says(room, str(number))
    romeo.sets_state(room, "m.room.name", {"name": "Mantua"})
    told = juliet.sync(since, filter={"room": {"timeline": {"limit": 2}}})
    assert told.is_limited(room)
    assert told.state(room).content("m.room.topic") == {"topic": "balconies"}
    # The state is that at the begin of the timeline, which tells the newer name itself.
    assert told.state(room).content("m.room.name") == {"name": "Verona"}
    assert told.timeline(room).content("m.room.name") == {"name": "Mantua"}
    assert told.state(room).of_type("m.room.create") == []


def test_use_state_after_tells_the_state_at_the_end(couple: Couple) -> None:
    romeo, juliet, room = couple
    since = juliet.sync()
    romeo.sets_state(room, "m.room.topic", {"topic": "balconies"})
    romeo.says(room, "hello")
    told = juliet.sync(since, use_state_after=True)
    assert told.state_after(room).content("m.room.topic") == {"topic": "balconies"}
    assert "m.room.topic" in told.timeline(room).types
    assert "state" not in told.room(room)
    first = juliet.sync(use_state_after=True)
    keys = [(event["type"], event["state_key"]) for event in first.state_after(room)]
    assert sorted(keys) == sorted((event["type"], event["state_key"]) for event in romeo.whole_state(room))


def test_full_state_tells_all_state_of_all_rooms(couple: Couple) -> None:
    romeo, juliet, room = couple
    since = juliet.sync()
    told = juliet.sync(since, full_state=True)
    assert "m.room.create" in told.state(room).types
    assert told.timeline(room) == []
    begin_s = time.monotonic()
    assert room in juliet.sync(since, full_state=True, timeout_ms=30_000).joined
    assert time.monotonic() - begin_s < 20


def test_a_stored_filter_does_the_same_as_one_in_the_query(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = [romeo.says(room, str(number)) for number in range(3)]
    wanted = {"room": {"timeline": {"limit": 1, "types": ["m.room.message"]}, "state": {"types": ["m.room.topic"]}}}
    stored = juliet.stores_filter(wanted)
    assert juliet.asks("GET", "user", juliet.user_id, "filter", stored) == wanted
    for how in (wanted, stored):
        told = juliet.sync(filter=how)
        assert told.timeline(room).ids == sent[-1:]
        assert told.state(room) == []
    assert juliet.call("GET", client_path("sync", filter="987654321")).status in (400, 404)


def test_filters_choose_types_senders_and_rooms(couple: Couple) -> None:
    romeo, juliet, room = couple
    other = juliet.creates_room()
    hers = juliet.says(room, "hers")
    his = romeo.says(room, "his")

    def told(**filter: object) -> Synced:
        return juliet.sync(filter=filter)

    assert told(room={"rooms": [room]}).joined.keys() == {room}
    assert told(room={"not_rooms": [room]}).joined.keys() == {other}
    assert told(room={"rooms": []}).joined == {}
    assert hers not in told(room={"timeline": {"not_senders": [juliet.user_id]}}).timeline(room)
    assert told(room={"timeline": {"senders": [romeo.user_id], "types": ["m.room.mess*"]}}).timeline(room).ids == [his]
    assert told(room={"timeline": {"types": []}}).timeline(room) == []
    assert told(room={"timeline": {"not_types": ["*"]}}).timeline(room) == []
    assert set(told(room={"state": {"types": ["m.room.create"]}}).state(room).types) <= {"m.room.create"}
    assert told(event_fields=["content.body"]).timeline(room)[-1] == {"content": {"body": "his"}}


def test_a_filtered_event_wakes_nobody(couple: Couple) -> None:
    romeo, juliet, room = couple
    wanted = {"room": {"timeline": {"types": ["org.example.wanted"]}}}
    since = juliet.sync(filter=wanted)
    romeo.says(room, "not wanted")
    assert juliet.sync(since, filter=wanted, timeout_ms=200).timeline(room) == []
    event = romeo.sends(room, "org.example.wanted", {})
    assert juliet.syncs_until(since, lambda seen: event in seen.timeline(room), filter=wanted)


def test_bad_filters_are_refused(couple: Couple) -> None:
    romeo, _, _ = couple
    for bad in ({"room": 1}, {"room": {"timeline": {"limit": "ten"}}}, {"room": {"rooms": ["!a:b", 5]}}):
        answer = romeo.call("GET", client_path("sync", filter=bad))
        assert answer.status == 400, answer
        answer = romeo.call("POST", client_path("user", romeo.user_id, "filter"), bad)
        assert answer.status == 400, answer
    assert romeo.call("GET", client_path("sync") + "?filter=%7Bnot+json").status == 400


def test_nobody_stores_or_reads_anothers_filter(couple: Couple) -> None:
    romeo, juliet, _ = couple
    stored = romeo.stores_filter({})
    with refused("M_FORBIDDEN", 403):
        juliet.asks("POST", "user", romeo.user_id, "filter", body={})
    assert juliet.call("GET", client_path("user", romeo.user_id, "filter", stored)).status in (403, 404)


def test_lazy_members_are_those_who_speak(couple: Couple, cast: Cast) -> None:
    romeo, juliet, room = couple
    silent = cast("silent")
    silent.joins(room)
    romeo.sets_state(room, "m.room.name", {"name": "where no heroes are needed"})
    romeo.says(room, "only me")
    lazy = {"room": {"timeline": {"limit": 1}, "state": {"lazy_load_members": True}}}
    told = juliet.sync(filter=lazy)
    members = told.state(room).memberships
    assert romeo.user_id in members
    assert juliet.user_id in members  # one's own is always told
    assert silent.user_id not in members


def test_lazy_members_are_told_once_unless_redundant_ones_are_wanted(couple: Couple) -> None:
    romeo, juliet, room = couple
    lazy = {"room": {"timeline": {"limit": 1}, "state": {"lazy_load_members": True}}}
    redundant = {
        "room": {"timeline": {"limit": 1}, "state": {"lazy_load_members": True, "include_redundant_members": True}}
    }
    romeo.says(room, "one")
    since = juliet.sync(filter=lazy)
    assert romeo.user_id in since.state(room).memberships
    romeo.says(room, "two")
    assert romeo.user_id not in juliet.sync(since, filter=lazy).state(room).memberships
    assert romeo.user_id in juliet.sync(since, filter=redundant).state(room).memberships


def test_lazy_members_come_with_their_first_word(couple: Couple, cast: Cast) -> None:
    romeo, juliet, room = couple
    silent = cast("silent")
    silent.joins(room)
    romeo.sets_state(room, "m.room.name", {"name": "where no heroes are needed"})
    romeo.says(room, "one")
    lazy = {"room": {"timeline": {"limit": 1}, "state": {"lazy_load_members": True}}}
    since = juliet.sync(filter=lazy)
    assert silent.user_id not in since.state(room).memberships
    silent.says(room, "not so silent")
    assert silent.user_id in juliet.sync(since, filter=lazy).state(room).memberships


def test_heroes_come_with_their_membership_to_the_lazy(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="private_chat", invite=[juliet])
    romeo.says(room, "one")
    lazy = {"room": {"timeline": {"limit": 1}, "state": {"lazy_load_members": True}}}
    told = romeo.sync(filter=lazy)
    assert told.summary(room)["m.heroes"] == [juliet.user_id]
    assert told.state(room).memberships[juliet.user_id] == "invite"


def test_the_summary_names_heroes_and_counts(cast: Cast) -> None:
    romeo, juliet, nurse = cast("romeo"), cast("juliet"), cast("nurse")
    room = romeo.creates_room(preset="private_chat", invite=[juliet, nurse])
    juliet.joins(room)
    summary = romeo.sync().summary(room)
    assert summary["m.joined_member_count"] == 2
    assert summary["m.invited_member_count"] == 1
    assert sorted(summary["m.heroes"]) == sorted([juliet.user_id, nurse.user_id])
    since = romeo.sync()
    nurse.joins(room)
    summary = romeo.sync(since).summary(room)
    assert summary["m.joined_member_count"] == 3
    assert summary["m.invited_member_count"] == 0


def test_heroes_are_the_ones_who_left_when_nobody_else_is_there(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="private_chat", invite=[juliet])
    juliet.joins(room)
    juliet.leaves(room)
    summary = romeo.sync().summary(room)
    assert summary["m.heroes"] == [juliet.user_id]
    assert summary["m.joined_member_count"] == 1


def test_account_data_is_told_to_all_devices_of_its_owner(couple: Couple) -> None:
    romeo, juliet, room = couple
    since, his = juliet.phone.sync(), romeo.sync()
    juliet.laptop.keeps("org.example.colour", {"colour": "red"})
    juliet.laptop.keeps("org.example.colour", {"colour": "blue"}, room)
    told = juliet.phone.syncs_until(since, lambda seen: bool(seen.last.room_account_data(room)))
    assert told[-1].room_account_data(room).content("org.example.colour") == {"colour": "blue"}
    assert told[0].account_data.content("org.example.colour") == {"colour": "red"}
    assert juliet.kept("org.example.colour") == {"colour": "red"}
    assert juliet.kept("org.example.colour", room) == {"colour": "blue"}
    assert romeo.sync(his).account_data == []
    assert romeo.sync(his).room_account_data(room) == []
    with refused("M_NOT_FOUND", 404):
        juliet.kept("org.example.other")
    assert juliet.phone.sync().account_data.content("org.example.colour") == {"colour": "red"}


def test_account_data_that_the_server_manages_is_not_set_by_hand(couple: Couple) -> None:
    romeo, _, room = couple
    for type in ("m.fully_read", "m.push_rules"):
        answer = romeo.call("PUT", client_path("user", romeo.user_id, "account_data", type), {})
        assert (answer.status, answer.errcode) == (405, "M_BAD_JSON")


def test_tags_are_account_data_of_a_room(couple: Couple) -> None:
    romeo, _, room = couple
    where = ["user", romeo.user_id, "rooms", room, "tags"]
    assert romeo.asks("PUT", *where, "u.love", body={"order": 0.25}) == {}
    assert romeo.asks("PUT", *where, "m.favourite", body={}) == {}
    assert romeo.asks("GET", *where)["tags"] == {"u.love": {"order": 0.25}, "m.favourite": {}}
    assert romeo.sync().room_account_data(room).content("m.tag")["tags"].keys() == {"u.love", "m.favourite"}
    assert romeo.asks("DELETE", *where, "m.favourite") == {}
    assert romeo.asks("GET", *where)["tags"].keys() == {"u.love"}


def test_push_rules_are_told_at_first_and_when_they_change(couple: Couple) -> None:
    romeo, _, _ = couple
    since = romeo.sync()
    rules = since.account_data.content("m.push_rules")["global"]
    assert ".m.rule.master" in [rule["rule_id"] for rule in rules["override"]]
    body = {"pattern": "balcony", "actions": ["notify"]}
    assert romeo.asks("PUT", "pushrules", "global", "content", "balcony", body=body) == {}
    told = romeo.syncs_until(since, lambda seen: bool(seen.last.account_data)).last
    assert "balcony" in [rule["rule_id"] for rule in told.account_data.content("m.push_rules")["global"]["content"]]


def test_to_device_messages_come_until_the_next_token_is_used(couple: Couple) -> None:
    romeo, juliet, _ = couple
    since = juliet.phone.sync()
    body = {"messages": {juliet.user_id: {juliet.phone.device_id: {"secret": 1}}}}
    assert romeo.asks("PUT", "sendToDevice", "org.example.key", "t1", body=body) == {}
    assert romeo.asks("PUT", "sendToDevice", "org.example.key", "t1", body=body) == {}
    expected = {"type": "org.example.key", "sender": romeo.user_id, "content": {"secret": 1}}
    told = juliet.phone.syncs_until(since, lambda seen: bool(seen.last.to_device)).last
    assert told.to_device == [expected]
    assert juliet.phone.sync(since).to_device == [expected]
    assert juliet.phone.sync(told).to_device == []
    assert juliet.phone.sync().to_device == []
    assert juliet.laptop.sync().to_device == []
