"""A client that follows /sync, or asks /keys/changes after it was away, ends with the device lists of the server."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cast import Cast, Device, logged_in, refused
from tests.device_followers import Follower, shown
from tests.key_ring import Identity, Keys, changed, left, queries, uploads_identity
from tests.servers import MakeServer
from tests.sync_answer import Synced

SEEDS = range(3)
STEPS = 40


def changes(device: Device, since: Synced, upto: Synced) -> tuple[list[str], list[str]]:
    """GET /keys/changes."""
    answer = device.asks("GET", "keys", "changes", **{"from": since.next_batch, "to": upto.next_batch})
    return answer["changed"], answer["left"]


def test_who_shares_a_room_hears_of_new_keys_and_others_do_not(cast: Cast) -> None:
    romeo, juliet, tybalt = cast("romeo"), cast("juliet"), cast("tybalt")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    before = {each: each.sync() for each in (romeo, juliet, tybalt)}
    Keys(juliet).publishes()
    assert changed(romeo.sync(before[romeo]).answer) == [juliet.user_id]
    assert changed(juliet.sync(before[juliet]).answer) == [juliet.user_id]
    assert "device_lists" not in tybalt.sync(before[tybalt]).answer
    assert changes(romeo, before[romeo], romeo.sync()) == ([juliet.user_id], [])
    assert changes(tybalt, before[tybalt], tybalt.sync()) == ([], [])
    assert "device_lists" not in romeo.sync().answer


def test_each_kind_of_change_is_told_and_what_changes_nothing_is_not(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet", devices=["laptop", "phone"])
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    keys = Keys(juliet.phone).publishes()
    at = romeo.sync()

    def tells(expected: bool) -> None:
        nonlocal at
        at = romeo.sync(at)
        assert changed(at.answer) == ([juliet.user_id] if expected else [])

    juliet.says(room, "what's in a name?")
    tells(False)
    keys.uploads(device_keys=keys.device_keys(), one_time_keys=keys.one_time_keys(2), fallback_keys=keys.fallback_key())
    tells(False)
    keys.uploads(device_keys=keys.device_keys(algorithms=[]))
    tells(True)
    juliet.asks("PUT", "devices", juliet.phone.device_id, body={"display_name": "new"})
    tells(True)
    identity = Identity(juliet.user_id)
    uploads_identity(juliet, identity.keys())
    tells(True)
    uploads_identity(juliet, identity.keys())
    tells(False)
    juliet.asks("PUT", "profile", juliet.user_id, "displayname", body={"displayname": "J."})
    assert romeo.syncs_until(at, lambda seen: bool(seen.timeline(room).of_type("m.room.member"))).last
    at = romeo.sync()
    juliet.phone.asks("POST", "logout")
    tells(True)


def test_joining_brings_all_who_are_there_and_leaving_takes_them_away(cast: Cast) -> None:
    romeo, juliet, nurse = cast("romeo"), cast("juliet"), cast("nurse")
    room = romeo.creates_room(preset="public_chat")
    nurse.joins(room)
    hers, his = juliet.sync(), romeo.sync()
    juliet.joins(room)
    joined = juliet.sync(hers)
    assert changed(joined.answer) == sorted((romeo.user_id, nurse.user_id, juliet.user_id))
    heard = romeo.sync(his)
    assert changed(heard.answer) == [juliet.user_id]
    juliet.leaves(room)
    gone = juliet.sync(joined)
    assert (changed(gone.answer), left(gone.answer)) == ([], sorted((romeo.user_id, nurse.user_id)))
    last = romeo.sync(heard)
    assert (changed(last.answer), left(last.answer)) == ([], [juliet.user_id])
    assert changes(juliet, joined, gone) == ([], sorted((romeo.user_id, nurse.user_id)))
    # Nobody new: she never followed anybody who is there now.
    assert changes(juliet, hers, gone) == ([], [])


def test_who_still_shares_another_room_has_not_left(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    rooms = [romeo.creates_room(preset="public_chat") for _ in range(2)]
    for room in rooms:
        juliet.joins(room)
    his, hers = romeo.sync(), juliet.sync()
    juliet.leaves(rooms[0])
    his, hers = romeo.sync(his), juliet.sync(hers)
    assert left(his.answer) == left(hers.answer) == []
    romeo.kicks(rooms[1], juliet)
    assert left(romeo.sync(his).answer) == [juliet.user_id]
    assert left(juliet.sync(hers).answer) == [romeo.user_id]


def test_who_left_does_not_hear_of_those_who_come_later(cast: Cast) -> None:
    romeo, juliet, nurse = cast("romeo"), cast("juliet"), cast("nurse")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    hers = juliet.sync()
    juliet.leaves(room)
    nurse.joins(room)
    Keys(nurse).publishes()
    romeo.sets_state(room, "m.room.member", {"membership": "join", "displayname": "R."}, romeo.user_id)
    gone = juliet.sync(hers)
    assert (changed(gone.answer), left(gone.answer)) == ([], [romeo.user_id])


def test_a_client_that_waits_is_woken_by_a_change_of_keys(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    juliet.joins(romeo.creates_room(preset="public_chat"))
    start = romeo.sync()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(romeo.sync, start, timeout_ms=20_000)
        Keys(juliet).publishes()
        assert changed(waiting.result(timeout=15).answer) == [juliet.user_id]


def test_bad_tokens_are_refused(cast: Cast) -> None:
    romeo = cast("romeo")
    for query in ({"from": "x", "to": "s1"}, {"from": "s1", "to": "x"}, {"from": "s999999999999", "to": "s1"}):
        with refused("M_INVALID_PARAM", 400):
            romeo.asks("GET", "keys", "changes", **query)


def is_right(follower: Follower) -> None:
    """The lists are those that the server has now."""
    neighbours = follower.neighbours()
    found = queries(follower.device, *neighbours)
    assert follower.lists == {user: shown(found, user) for user in neighbours}


@pytest.mark.parametrize("seed", SEEDS)
def test_any_story_of_joins_and_keys_leaves_followers_with_the_lists_of_the_server(
    make_server: MakeServer, seed: int
) -> None:
    server = make_server(rate_limits={"enabled": False})
    cast, rng = Cast(server), random.Random(seed)
    people: list[Device] = [cast(name) for name in ("romeo", "juliet", "nurse", "tybalt")]
    rooms = [person.creates_room(preset="public_chat") for person in people[:2]]
    followers = [Follower(person) for person in people[:3]]
    devices: list[Device] = list(people)
    for step in range(STEPS):
        _something_happens(rng, devices, people, rooms)
        if rng.random() < 0.1 and step:
            server.kill()
            server.start()
        for follower in followers:
            if step == STEPS - 1 or rng.random() < 0.3:
                follower.catches_up(was_away=rng.random() < 0.4)
                is_right(follower)


def _something_happens(rng: random.Random, devices: list[Device], people: list[Device], rooms: list[str]) -> None:
    who, room = rng.choice(people), rng.choice(rooms)
    rarely = ["login", "logout", "keys", "identity", "rename", "name", "talk"]
    what = rng.choice([*["join", "leave"] * 4, *rarely])
    if what in ("join", "leave"):
        who.call("POST", f"/_matrix/client/v3/rooms/{room}/{what}", {})
    elif what == "login":
        devices.append(logged_in(who.wire, who.user_id))
        Keys(devices[-1]).publishes()
    elif what == "logout":
        others = [device for device in devices if device not in people]
        if others:
            gone = rng.choice(others)
            devices.remove(gone)
            gone.asks("POST", "logout")
    elif what == "keys":
        device = rng.choice(devices)
        device.call("POST", "/_matrix/client/v3/keys/upload", {"device_keys": Keys(device).device_keys()})
    elif what == "identity":
        keys = Identity(who.user_id).keys()
        has = bool(queries(who, who)["master_keys"])
        uploads_identity(who, keys, confirming=has)
    elif what == "rename":
        device = rng.choice(devices)
        device.asks("PUT", "devices", device.device_id, body={"display_name": f"name {rng.random()}"})
    elif what == "name":
        content = {"membership": "join", "displayname": f"{rng.random()}"}
        path = f"/_matrix/client/v3/rooms/{room}/state/m.room.member/{who.user_id}"
        who.call("PUT", path, content)
    else:
        who.call("PUT", f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{rng.random()}", {"body": "x"})
