"""What /sync tells of rooms that one is invited to, knocks at, joins, leaves, forgets, and comes back to."""

from __future__ import annotations

from tests.cast import Actor, Cast, refused


def test_an_invite_comes_with_what_the_room_shows(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    since = juliet.sync()
    room = romeo.creates_room(name="Balcony", topic="at night", invite=[juliet])
    told = juliet.syncs_until(since, lambda seen: room in seen.last.invited).last
    stripped = told.invite_state(room)
    assert stripped.content("m.room.name") == {"name": "Balcony"}
    assert stripped.content("m.room.join_rules") == {"join_rule": "invite"}
    assert stripped.memberships[juliet.user_id] == "invite"
    assert room in juliet.sync().invited
    assert room not in told.joined
    assert juliet.sync(told).invited == {}


def test_an_accepted_invite_becomes_a_joined_room_with_its_state(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet", devices=["laptop", "phone"])
    room = romeo.creates_room(invite=[juliet])
    since = juliet.phone.sync()
    assert room in since.invited
    juliet.laptop.joins(room)
    told = juliet.phone.sync(since)
    assert room not in told.invited
    everything = told.all_events(room)
    assert {event["type"] for event in everything} >= {"m.room.create", "m.room.power_levels", "m.room.join_rules"}
    assert everything.memberships == {romeo.user_id: "join", juliet.user_id: "join"}


def test_a_declined_invite_becomes_a_left_room(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(invite=[juliet])
    since = juliet.sync()
    juliet.leaves(room)
    told = juliet.sync(since)
    assert room in told.left
    assert room not in told.invited
    assert room not in juliet.sync().left


def test_a_withdrawn_invite_becomes_a_left_room(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(invite=[juliet])
    since = juliet.sync()
    romeo.kicks(room, juliet)
    told = juliet.sync(since)
    assert room in told.left
    assert room not in juliet.sync().invited


def test_a_knock_is_told_to_both_sides_and_answered(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room = romeo.creates_room(initial_state=[rules], name="Gate")
    hers, his = juliet.sync(), romeo.sync()
    juliet.knocks(room, reason="let me in")
    told = juliet.sync(hers)
    assert told.knock_state(room).memberships[juliet.user_id] == "knock"
    assert told.knock_state(room).content("m.room.name") == {"name": "Gate"}
    assert romeo.sync(his).timeline(room).content("m.room.member", juliet.user_id)["reason"] == "let me in"
    assert room in juliet.sync().knocked
    romeo.invites(room, juliet)
    answered = juliet.sync(told)
    assert room in answered.invited
    assert room not in answered.knocked
    juliet.joins(room)
    assert room in juliet.sync(answered).joined


def test_a_knock_is_taken_back_or_refused(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room = romeo.creates_room(initial_state=[rules])
    juliet.knocks(room)
    since = juliet.sync()
    juliet.leaves(room)
    assert room in juliet.sync(since).left
    juliet.knocks(room)
    since = juliet.sync()
    romeo.kicks(room, juliet)
    assert room in juliet.sync(since).left


def test_a_left_room_tells_up_to_the_leave_and_nothing_more(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet", devices=["laptop", "phone"])
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    since = juliet.phone.sync()
    before = romeo.says(room, "before")
    juliet.laptop.leaves(room, reason="the lark")
    after = romeo.says(room, "after")
    told = juliet.phone.sync(since)
    assert room in told.left
    assert room not in told.joined
    assert before in told.timeline(room)
    assert after not in told.timeline(room)
    assert told.timeline(room)[-1]["content"] == {"membership": "leave", "reason": "the lark"}
    assert juliet.phone.sync(told).left == {}
    assert room not in juliet.phone.sync().left
    assert room in juliet.phone.sync(filter={"room": {"include_leave": True}}).left


def test_those_who_were_put_out_are_told(cast: Cast) -> None:
    romeo, juliet, tybalt = cast("romeo"), cast("juliet"), cast("tybalt")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    tybalt.joins(room)
    hers, his = juliet.sync(), tybalt.sync()
    romeo.kicks(room, juliet, reason="go")
    romeo.bans(room, tybalt, reason="go for good")
    assert juliet.sync(hers).timeline(room)[-1]["content"]["reason"] == "go"
    assert tybalt.sync(his).timeline(room)[-1]["content"]["membership"] == "ban"
    assert tybalt.sync(his).left.keys() == {room}


def test_a_forgotten_room_is_gone(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    said = romeo.says(room, "remember me")
    with refused("M_UNKNOWN", 400):
        juliet.forgets(room)
    juliet.leaves(room)
    assert said in juliet.messages(room)[0]
    juliet.forgets(room)
    with refused("M_FORBIDDEN", 403):
        juliet.messages(room)
    assert room not in juliet.sync(filter={"room": {"include_leave": True}}).left
    juliet.joins(room)
    assert said in juliet.messages(room)[0]


def test_a_rejoined_room_tells_what_was_missed(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    juliet.leaves(room)
    since = juliet.sync()
    missed = romeo.says(room, "missed")
    romeo.sets_state(room, "m.room.topic", {"topic": "changed"})
    juliet.joins(room)
    told = juliet.sync(since)
    assert missed in told.timeline(room)  # history_visibility is shared
    everything = told.all_events(room)
    assert everything.types.count("m.room.create") == 1
    assert everything.content("m.room.topic") == {"topic": "changed"}


def test_a_rejoined_room_hides_what_was_missed_where_only_members_may_see(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    visibility = {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}}
    room = romeo.creates_room(preset="public_chat", initial_state=[visibility])
    juliet.joins(room)
    seen = romeo.says(room, "seen")
    juliet.leaves(room)
    hidden = romeo.says(room, "hidden")
    juliet.joins(room)
    after = romeo.says(room, "after")
    history = juliet.whole_history(room)
    assert seen in history
    assert hidden not in history
    assert after in history
    timeline = juliet.sync().timeline(room)
    assert hidden not in timeline
    assert after in timeline


def test_a_newly_joined_room_tells_the_history_that_newcomers_may_see(cast: Cast) -> None:
    romeo, juliet, nurse = cast("romeo"), cast("juliet"), cast("nurse")
    visibility = {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "invited"}}
    shared = romeo.creates_room(preset="public_chat")
    invited = romeo.creates_room(preset="public_chat", initial_state=[visibility])
    since = juliet.sync()
    for_newcomers, not_for_newcomers = romeo.says(shared, "old"), romeo.says(invited, "old")
    romeo.invites(invited, juliet)
    for_the_invited = romeo.says(invited, "you are invited")
    for room in (shared, invited):
        juliet.joins(room)
    nurse.joins(shared)
    told = juliet.sync(since)
    assert for_newcomers in told.timeline(shared)
    assert not_for_newcomers not in told.timeline(invited)
    assert for_the_invited in told.timeline(invited)


def test_an_ignored_user_is_not_heard(cast: Cast) -> None:
    romeo, juliet, tybalt = cast("romeo"), cast("juliet"), cast("tybalt")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    tybalt.joins(room)
    since = juliet.sync()
    juliet.keeps("m.ignored_user_list", {"ignored_users": {tybalt.user_id: {}}})
    silenced, heard = tybalt.says(room, "villain!"), romeo.says(room, "hush")
    told = juliet.sync(since)
    assert heard in told.timeline(room)
    assert silenced not in told.timeline(room)
    assert silenced not in juliet.sync().timeline(room)
    assert silenced not in juliet.messages(room)[0]
    # "State events will still be sent": what is ignored is what they say, not that they are there.
    since = juliet.sync(since)
    tybalt.leaves(room)
    assert juliet.sync(since).timeline(room).memberships == {tybalt.user_id: "leave"}


def test_an_ignored_user_does_not_invite(cast: Cast) -> None:
    juliet, tybalt = cast("juliet"), cast("tybalt")
    juliet.keeps("m.ignored_user_list", {"ignored_users": {tybalt.user_id: {}}})
    since = juliet.sync()
    room = tybalt.creates_room(invite=[juliet])
    assert juliet.sync(since).invited == {}
    assert room not in juliet.sync().invited


def test_joined_rooms_and_members_agree_with_sync(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    rooms = [romeo.creates_room(preset="public_chat") for _ in range(3)]
    for room in rooms:
        juliet.joins(room)
    juliet.leaves(rooms[1])
    assert sorted(juliet.asks("GET", "joined_rooms")["joined_rooms"]) == sorted([rooms[0], rooms[2]])
    assert juliet.sync().joined.keys() == {rooms[0], rooms[2]}
    assert romeo.members(rooms[1]) == {romeo.user_id: "join", juliet.user_id: "leave"}
    assert romeo.members(rooms[1], membership="join") == {romeo.user_id: "join"}
    assert romeo.members(rooms[1], not_membership="join") == {juliet.user_id: "leave"}
    joined = romeo.asks("GET", "rooms", rooms[0], "joined_members")["joined"]
    assert joined.keys() == {romeo.user_id, juliet.user_id}


def test_members_may_be_asked_as_they_were(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    before = romeo.sync()
    juliet.joins(room)
    assert romeo.members(room, at=before.next_batch) == {romeo.user_id: "join"}
    assert romeo.members(room, at=romeo.sync().next_batch).keys() == {romeo.user_id, juliet.user_id}


def test_a_display_name_changes_in_all_rooms(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    rooms = [romeo.creates_room(preset="public_chat") for _ in range(2)]
    for room in rooms:
        juliet.joins(room)
    since = romeo.sync()
    body = {"displayname": "Juliet Montague"}
    assert juliet.asks("PUT", "profile", juliet.user_id, "displayname", body=body) == {}

    def name(who: Actor, room: str) -> object:
        return who.state(room, "m.room.member", juliet.user_id).get("displayname")

    romeo.syncs_until(since, lambda seen: all(seen.timeline(room).memberships for room in rooms))
    assert [name(romeo, room) for room in rooms] == ["Juliet Montague"] * 2
    assert romeo.asks("GET", "profile", juliet.user_id)["displayname"] == "Juliet Montague"
