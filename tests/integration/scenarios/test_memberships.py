"""Who may change whose membership: the whole matrix, in rooms of two versions (see "Room membership")."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cast import Actor, Cast, refused
from tests.wire import Json, client_path

BEFORE = ["nothing", "invite", "join", "leave", "ban", "knock"]

# What the target does, and where from it may.
BY_THEMSELVES: dict[str, set[str]] = {
    "join": {"invite", "join"},
    "leave": {"invite", "join", "leave", "knock"},
    "knock": {"nothing", "leave", "knock"},
}
# What a moderator does to the target, and where from that may be.
BY_MODERATOR: dict[str, set[str]] = {
    "invite": {"nothing", "leave", "knock", "invite"},
    "kick": {"invite", "join", "knock"},
    "ban": {"nothing", "invite", "join", "leave", "ban", "knock"},
    "unban": {"ban"},
}


def knock_room(who: Actor, version: str) -> str:
    """A room at which one may knock."""
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    return who.creates_room(room_version=version, initial_state=[rules])


def bring(moderator: Actor, target: Actor, room: str, membership: str) -> None:
    """Give the target a membership."""
    if membership in ("invite", "join", "leave"):
        moderator.invites(room, target)
    if membership in ("join", "leave"):
        target.joins(room)
    if membership == "leave":
        target.leaves(room)
    if membership == "ban":
        moderator.bans(room, target)
    if membership == "knock":
        target.knocks(room)


def does(moderator: Actor, target: Actor, room: str, what: str) -> Callable[[], None]:
    """The act, not done yet."""
    acts: dict[str, Callable[[], None]] = {
        "join": lambda: target.joins(room),
        "leave": lambda: target.leaves(room),
        "knock": lambda: target.knocks(room),
        "invite": lambda: moderator.invites(room, target),
        "kick": lambda: moderator.kicks(room, target),
        "ban": lambda: moderator.bans(room, target),
        "unban": lambda: moderator.unbans(room, target),
    }
    return acts[what]


AFTER = {
    "join": "join",
    "leave": "leave",
    "knock": "knock",
    "invite": "invite",
    "kick": "leave",
    "ban": "ban",
    "unban": "leave",
}


@pytest.mark.parametrize("version", ["7", "12"])
@pytest.mark.parametrize("before", BEFORE)
def test_every_step_is_allowed_or_refused_as_the_rules_say(cast: Cast, version: str, before: str) -> None:
    for what, allowed in {**BY_THEMSELVES, **BY_MODERATOR}.items():
        moderator, target = cast(f"mod-{what}"), cast(f"target-{what}")
        room = knock_room(moderator, version)
        bring(moderator, target, room, before)
        act = does(moderator, target, room, what)
        if before in allowed:
            act()
            after = AFTER[what]
        else:
            # "M_BAD_STATE: [...] such as attempting to unban a user who is not banned".
            with refused("M_BAD_STATE" if what == "unban" else "M_FORBIDDEN", 403):
                act()
            after = before
        found = moderator.members(room).get(target.user_id, "nothing")
        assert found == after, f"{what} of {before} led to {found}"


def test_those_without_power_move_nobody(cast: Cast) -> None:
    romeo, juliet, tybalt = cast("romeo"), cast("juliet"), cast("tybalt")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    tybalt.joins(room)
    for act in (tybalt.kicks, tybalt.bans):
        for whom in (juliet, romeo):
            with refused("M_FORBIDDEN", 403):
                act(room, whom)
    paris = cast("paris")
    romeo.bans(room, paris)
    with refused("M_FORBIDDEN", 403):
        tybalt.unbans(room, paris)
    levels = romeo.state(room, "m.room.power_levels")
    romeo.sets_state(room, "m.room.power_levels", {**levels, "invite": 50})
    with refused("M_FORBIDDEN", 403):
        tybalt.invites(room, cast("laurence"))
    romeo.sets_state(room, "m.room.power_levels", {**levels, "users": {**levels.get("users", {}), tybalt.user_id: 50}})
    tybalt.kicks(room, juliet)
    with refused("M_FORBIDDEN", 403):
        tybalt.bans(room, romeo)


def test_strangers_do_nothing_in_a_room(cast: Cast) -> None:
    romeo, juliet, stranger = cast("romeo"), cast("juliet"), cast("stranger")
    room = romeo.creates_room()
    acts: list[Callable[[], object]] = [
        lambda: stranger.joins(room),
        lambda: stranger.knocks(room),
        lambda: stranger.invites(room, juliet),
        lambda: stranger.kicks(room, romeo),
        lambda: stranger.bans(room, romeo),
        lambda: stranger.says(room, "hello"),
        lambda: stranger.sets_state(room, "m.room.name", {"name": "mine"}),
        lambda: stranger.messages(room),
        lambda: stranger.members(room),
        lambda: stranger.whole_state(room),
        lambda: stranger.state(room, "m.room.create"),
    ]
    for act in acts:
        with refused("M_FORBIDDEN", 403):
            act()


def test_reasons_are_told(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room()

    def reason() -> object:
        return romeo.state(room, "m.room.member", juliet.user_id)["reason"]

    romeo.invites(room, juliet, reason="come")
    assert reason() == "come"
    juliet.joins(room, reason="gladly")
    assert reason() == "gladly"
    juliet.leaves(room, reason="it was the nightingale")
    assert reason() == "it was the nightingale"
    romeo.bans(room, juliet, reason="why")
    assert reason() == "why"
    romeo.unbans(room, juliet, reason="sorry")
    assert reason() == "sorry"


def test_a_join_carries_the_profile(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    juliet.asks("PUT", "profile", juliet.user_id, "displayname", body={"displayname": "Juliet"})
    juliet.asks("PUT", "profile", juliet.user_id, "avatar_url", body={"avatar_url": "mxc://example.org/face"})
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    member = romeo.state(room, "m.room.member", juliet.user_id)
    assert (member["displayname"], member["avatar_url"]) == ("Juliet", "mxc://example.org/face")


def test_an_invite_carries_the_profile_of_the_invited(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    juliet.asks("PUT", "profile", juliet.user_id, "displayname", body={"displayname": "Juliet"})
    at_once, later = romeo.creates_room(invite=[juliet]), romeo.creates_room()
    romeo.invites(later, juliet)
    for room in (at_once, later):
        assert romeo.state(room, "m.room.member", juliet.user_id)["displayname"] == "Juliet"


@pytest.mark.parametrize("version", ["8", "10", "12"])
def test_a_restricted_room_lets_in_members_of_another(cast: Cast, version: str) -> None:
    romeo, juliet, stranger = cast("romeo"), cast("juliet"), cast("stranger")
    house = romeo.creates_room(preset="public_chat")
    juliet.joins(house)
    allow = [{"type": "m.room_membership", "room_id": house}]
    rules = {"join_rule": "restricted", "allow": allow}
    room = romeo.creates_room(
        room_version=version, initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": rules}]
    )
    juliet.joins(room)
    joined = romeo.state(room, "m.room.member", juliet.user_id)
    assert joined["join_authorised_via_users_server"] == romeo.user_id
    with refused("M_FORBIDDEN", 403):
        stranger.joins(room)
    romeo.invites(room, stranger)
    stranger.joins(room)


def test_an_alias_leads_in(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    alias = f"door-{romeo.localpart}"
    room = romeo.creates_room(preset="public_chat", room_alias_name=alias)
    full = f"#{alias}:{cast.server.server_name}"
    juliet.joins(full)
    assert juliet.user_id in romeo.members(room)
    with refused("M_NOT_FOUND", 404):
        juliet.joins(f"#nothing-{alias}:{cast.server.server_name}")


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("invite", {}),
        ("invite", {"user_id": 5}),
        ("invite", {"user_id": "nobody"}),
        ("kick", {}),
        ("kick", {"user_id": ["@a:b"]}),
        ("ban", {"user_id": "@a:b", "reason": 7}),
        ("unban", []),
    ],
    ids=str,
)
def test_bodies_of_the_wrong_form_are_refused(cast: Cast, action: str, body: Json) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    answer = romeo.call("POST", client_path("rooms", room, action), body)
    assert answer.status == 400, answer
    assert answer.errcode in ("M_BAD_JSON", "M_MISSING_PARAM", "M_INVALID_PARAM"), answer


def test_rooms_that_are_not_there_are_not_found(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    for room in (f"!nowhere:{cast.server.server_name}", "!" + "a" * 43):
        for act in (lambda room=room: romeo.says(room, "x"), lambda room=room: romeo.invites(room, juliet)):
            with refused("M_FORBIDDEN", 403):
                act()
        assert romeo.call("POST", client_path("join", room)).status in (403, 404)
    assert romeo.call("POST", client_path("join", "not a room")).status == 400
