"""People of two and three servers who meet, part and meet again: whose devices they follow, and what they see."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.cast import Actor, Device, logged_in
from tests.device_followers import Follower, shown
from tests.federated import Federated, MakeFederated, joins_through
from tests.key_ring import Identity, Keys, changed, left, queries, uploads_identity
from tests.sync_answer import Seen
from tests.wire import Json

Pair = tuple[Federated, Federated]


def hears(reader: Device, since: Json, whom: Device) -> Seen:
    """Sync until the keys of somebody are to be looked up."""
    return reader.syncs_until(since, lambda seen: whom.user_id in changed(seen.last.answer))


def drops(reader: Device, since: Json, whom: Device) -> Seen:
    """Sync until somebody is not to be followed any more."""
    return reader.syncs_until(since, lambda seen: whom.user_id in left(seen.last.answer))


def devices_of(reader: Device, whom: Device) -> Json:
    """The devices of somebody, as a reader sees them now."""
    found = queries(reader, whom)
    assert found["failures"] == {}
    return found["device_keys"].get(whom.user_id)


def test_who_meets_is_told_to_both_and_who_parts_too(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    his, hers = Keys(romeo).publishes(), Keys(juliet).publishes()
    room = romeo.creates_room(preset="public_chat")
    his_token, her_token = romeo.sync(), juliet.sync()
    joins_through(juliet, room, here)
    his_token, her_token = hears(romeo, his_token, juliet).last, hears(juliet, her_token, romeo).last
    assert devices_of(romeo, juliet) == {juliet.device_id: hers.device_keys()}
    assert devices_of(juliet, romeo) == {romeo.device_id: his.device_keys()}
    # Another room with the same people and out of it again: they still follow each other.
    second = juliet.creates_room(preset="public_chat")
    joins_through(romeo, second, there)
    at = juliet.syncs_until(her_token, lambda seen: romeo.user_id in seen.timeline(second).memberships).last
    assert not left(at.answer)
    romeo.leaves(second)
    at = juliet.syncs_until(at, lambda seen: seen.timeline(second).memberships.get(romeo.user_id) == "leave").last
    assert not left(at.answer)
    since = his_token
    his_token = romeo.sync(since)
    assert not left(his_token.answer)
    # Out of the last one.
    juliet.leaves(room)
    at = drops(juliet, at, romeo).last
    his_token = drops(romeo, his_token, juliet).last
    for who, begin, other in ((romeo, since, juliet), (juliet, her_token, romeo)):
        told = who.asks("GET", "keys", "changes", **{"from": begin.next_batch, "to": who.sync().next_batch})
        assert other.user_id in told["left"]
        assert other.user_id not in told["changed"]


def test_what_changes_while_they_are_apart_is_no_news_and_seen_when_they_meet_again(pair: Pair) -> None:
    here, there = pair
    romeo, juliet, benvolio = here.cast("romeo"), there.cast("juliet"), here.cast("benvolio")
    room, square = (romeo.creates_room(preset="public_chat") for _ in range(2))
    benvolio.joins(square)
    Keys(juliet).publishes()
    token = romeo.sync()
    joins_through(juliet, room, here)
    token = hears(romeo, token, juliet).last
    assert set(devices_of(romeo, juliet)) == {juliet.device_id}
    juliet.leaves(room)
    token = drops(romeo, token, juliet).last
    tablet = logged_in(juliet.wire, juliet.user_id)
    keys = Keys(tablet).publishes()
    identity = Identity(juliet.user_id)
    uploads_identity(juliet, identity.keys())
    # What comes after her change has passed her server's log, and what would have told of it, too.
    token = _hears_nothing_of(romeo, token, juliet, square)
    joins_through(juliet, room, here)
    hears(romeo, token, juliet)
    found = queries(romeo, juliet)
    assert found["device_keys"][juliet.user_id][tablet.device_id] == keys.device_keys()
    assert found["master_keys"][juliet.user_id] == identity.master_key()


def test_three_servers_hear_of_each_other_whoever_lets_them_in(make_federated: MakeFederated) -> None:
    one, two, three = make_federated(), make_federated(), make_federated()
    romeo, juliet, nurse = one.cast("romeo"), two.cast("juliet"), three.cast("nurse")
    people = (romeo, juliet, nurse)
    for who in people:
        Keys(who).publishes()
    room = romeo.creates_room(preset="public_chat")
    tokens = {who: who.sync() for who in people}
    joins_through(juliet, room, one)
    hears(romeo, tokens[romeo], juliet)
    joins_through(nurse, room, two)
    for reader in people:
        others = {who.user_id for who in people if who is not reader}
        reader.syncs_until(
            tokens[reader],
            lambda seen: others <= {user_id for answer in seen for user_id in changed(answer.answer)},  # noqa: B023
        )
        for whom in people:
            assert set(devices_of(reader, whom)) == {whom.device_id}
    # Each change goes to both of the others.
    tokens = {who: who.sync() for who in people}
    tablet = logged_in(nurse.wire, nurse.user_id)
    Keys(tablet).publishes()
    for reader in (romeo, juliet):
        hears(reader, tokens[reader], nurse)
        assert set(devices_of(reader, nurse)) == {nurse.device_id, tablet.device_id}


def test_who_is_met_while_the_other_server_is_away_is_heard_of_when_it_is_back(make_federated: MakeFederated) -> None:
    here, there = make_federated(), make_federated()
    romeo, mercutio, juliet = here.cast("romeo"), here.cast("mercutio"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    token = juliet.sync()
    assert there.stop() == 0
    keys = Keys(mercutio).publishes()
    mercutio.joins(room)
    there.start()
    hears(juliet, token, mercutio)
    assert devices_of(juliet, mercutio) == {mercutio.device_id: keys.device_keys()}


@pytest.mark.parametrize("seed", range(2))
def test_any_story_on_two_servers_leaves_followers_with_the_lists_of_the_users_own_servers(
    make_federated: MakeFederated, seed: int
) -> None:
    quick: Json = {"rate_limits": {"enabled": False}}
    servers = [make_federated(**quick) for _ in range(2)]
    rng = random.Random(seed)
    people = [server.cast(name) for server in servers for name in ("romeo", "juliet")]
    rooms = [(people[number].creates_room(preset="public_chat"), servers[number // 2]) for number in (0, 3)]
    followers = [Follower(person) for person in people]
    phones: list[Device] = []
    for _ in range(30):
        _something_happens(rng, people, phones, rooms)
        if rng.random() < 0.1:
            server = rng.choice(servers)
            server.kill()
            server.start()
        for follower in followers:
            if rng.random() < 0.3:
                follower.catches_up(was_away=rng.random() < 0.3)
    for room, server in rooms:
        _all_meet(people, room, server)
    by_id = {person.user_id: person for person in people}
    for follower in followers:
        _in_the_end_has(follower, by_id)


def _something_happens(
    rng: random.Random, people: Sequence[Actor], phones: list[Device], rooms: Sequence[tuple[str, Federated]]
) -> None:
    who, (room, server) = rng.choice(people), rng.choice(rooms)
    what = rng.choice(["join", "join", "leave", "login", "logout", "identity", "rename"])
    if what == "join":
        # Who made the room may have left it; then nobody can come in.
        who.call("POST", f"/_matrix/client/v3/join/{room}?via={server.server_name}", {})
    elif what == "leave":
        who.call("POST", f"/_matrix/client/v3/rooms/{room}/leave", {})
    elif what == "login":
        phones.append(logged_in(who.wire, who.user_id))
        Keys(phones[-1]).publishes()
    elif what == "logout" and phones:
        phones.pop(rng.randrange(len(phones))).asks("POST", "logout")
    elif what == "identity":
        uploads_identity(who, Identity(who.user_id).keys(), confirming=bool(queries(who, who)["master_keys"]))
    elif what == "rename":
        who.asks("PUT", "devices", who.device_id, body={"display_name": f"name {rng.random()}"})


def _all_meet(people: Sequence[Actor], room: str, server: Federated) -> None:
    for who in people:
        who.call("POST", f"/_matrix/client/v3/join/{room}?via={server.server_name}", {})


def _in_the_end_has(follower: Follower, people: dict[str, Actor]) -> None:
    """The lists of all with whom the follower shares a room are those that the users themselves see."""
    for _ in range(30):
        follower.catches_up(was_away=False)
        wanted = {user_id: shown(queries(people[user_id], user_id), user_id) for user_id in follower.neighbours()}
        if wanted == follower.lists:
            break
        follower.takes(follower.device.sync(follower.at, timeout_ms=1000))
    assert wanted == follower.lists


def _hears_nothing_of(reader: Device, since: Json, whom: Device, room: str) -> Json:
    said = reader.says(room, "anybody there?")
    seen = reader.syncs_until(since, lambda seen: said in seen.timeline(room))
    assert not any(whom.user_id in changed(answer.answer) for answer in seen)
    return seen.last
