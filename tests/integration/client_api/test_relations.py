"""Aggregations bundled with events, GET /relations and GET /threads."""

from __future__ import annotations

from tests.cast import Cast, refused
from tests.sync_answer import Events
from tests.wire import Json


def bundle(event: Json) -> Json:
    """What is bundled with an event."""
    return event["unsigned"].get("m.relations", {})


def test_the_last_edit_by_its_sender_is_bundled_everywhere(cast: Cast) -> None:
    romeo, tybalt = cast("romeo"), cast("tybalt")
    room = romeo.creates_room(preset="public_chat")
    tybalt.joins(room)
    event = romeo.says(room, "what light")
    assert bundle(romeo.event(room, event)) == {}
    romeo.edits(room, event, "soft, what light")
    last = romeo.edits(room, event, "but soft, what light")
    tybalt.edits(room, event, "what noise")
    shown = [
        romeo.event(room, event),
        romeo.messages(room, limit=10)[0].event(event),
        romeo.context(room, event)["event"],
        romeo.sync().timeline(room).event(event),
    ]
    for each in shown:
        assert bundle(each)["m.replace"]["event_id"] == last
        assert bundle(each)["m.replace"]["content"]["m.new_content"]["body"] == "but soft, what light"
    romeo.redacts(room, last)
    again = bundle(romeo.event(room, event))["m.replace"]
    assert again["content"]["m.new_content"]["body"] == "soft, what light"
    romeo.redacts(room, event)
    assert "m.replace" not in bundle(romeo.event(room, event))


def test_a_thread_is_summed_up_at_its_root(cast: Cast) -> None:
    romeo, juliet, nurse = cast("romeo"), cast("juliet"), cast("nurse")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    nurse.joins(room)
    root = romeo.says(room, "root")
    juliet.replies_in_thread(room, root, "one")
    last = juliet.replies_in_thread(room, root, "two")
    edit = juliet.edits(room, last, "two, mended")
    thread = bundle(romeo.event(room, root))["m.thread"]
    assert thread["count"] == 2
    assert thread["latest_event"]["event_id"] == last
    assert bundle(thread["latest_event"])["m.replace"]["event_id"] == edit
    assert thread["current_user_participated"] is True
    assert bundle(juliet.event(room, root))["m.thread"]["current_user_participated"] is True
    assert bundle(nurse.event(room, root))["m.thread"]["current_user_participated"] is False
    nurse.keeps("m.ignored_user_list", {"ignored_users": {juliet.user_id: {}}})
    assert "m.thread" not in bundle(nurse.event(room, root))
    juliet.redacts(room, last)
    assert bundle(romeo.event(room, root))["m.thread"]["count"] == 1


def test_references_are_listed_and_reactions_are_not(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    event = romeo.says(room, "a poll")
    romeo.reacts(room, event, "x")
    assert bundle(romeo.event(room, event)) == {}
    relation = {"rel_type": "m.reference", "event_id": event}
    votes = [romeo.sends(room, "org.example.vote", {"n": n, "m.relates_to": relation}) for n in range(2)]
    assert bundle(romeo.event(room, event)) == {"m.reference": {"chunk": [{"event_id": vote} for vote in votes]}}


def test_a_reader_who_may_not_see_an_edit_is_not_shown_it(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    event = romeo.says(room, "first")
    juliet.leaves(room)
    romeo.edits(room, event, "second")
    assert bundle(juliet.event(room, event)) == {}


def test_children_are_paged_through_by_kind(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    root = romeo.says(room, "root")
    replies = [romeo.replies_in_thread(room, root, str(number)) for number in range(5)]
    reaction = romeo.reacts(room, root, "x")
    edit = romeo.edits(room, root, "mended")
    assert romeo.relations(room, root, limit=50).ids == [edit, reaction, *replies[::-1]]
    assert romeo.relations(room, root, dir="f", limit=50).ids == [*replies, reaction, edit]
    assert romeo.relations(room, root, "m.thread", limit=50).ids == replies[::-1]
    assert romeo.relations(room, root, "m.annotation", "m.reaction").ids == [reaction]
    assert romeo.relations(room, root, "m.annotation", "m.room.message").ids == []
    page = romeo.asks("GET", "rooms", room, "relations", root, "m.thread", version="v1", limit=2)
    assert Events(page["chunk"]).ids == [replies[4], replies[3]]
    assert "prev_batch" not in page
    assert "recursion_depth" not in page
    rest = romeo.asks(
        "GET", "rooms", room, "relations", root, "m.thread", version="v1", limit=50, **{"from": page["next_batch"]}
    )
    assert Events(rest["chunk"]).ids == replies[2::-1]
    assert "next_batch" not in rest
    assert rest["prev_batch"] == page["next_batch"]


def test_children_of_children_come_when_asked_for(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    root = romeo.says(room, "root")
    reply = romeo.replies_in_thread(room, root, "reply")
    reaction = romeo.reacts(room, reply, "x")
    assert romeo.relations(room, root).ids == [reply]
    answer = romeo.asks("GET", "rooms", room, "relations", root, version="v1", recurse=True)
    assert Events(answer["chunk"]).ids == [reaction, reply]
    assert answer["recursion_depth"] >= 2


def test_relations_of_what_one_may_not_see_are_not_found(cast: Cast) -> None:
    romeo, tybalt = cast("romeo"), cast("tybalt")
    room = romeo.creates_room()
    event = romeo.says(room, "hidden")
    with refused("M_NOT_FOUND", 404):
        tybalt.relations(room, event)
    with refused("M_NOT_FOUND", 404):
        romeo.relations(room, "$nothing")
    with refused("M_INVALID_PARAM", 400):
        romeo.relations(room, event, limit=0)
    with refused("M_INVALID_PARAM", 400):
        romeo.relations(room, event, **{"from": "x"})


def test_threads_are_listed_by_their_newest_event(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    roots = [romeo.says(room, f"root {number}") for number in range(3)]
    hers = juliet.says(room, "hers")
    for root in (*roots, hers):
        romeo.replies_in_thread(room, root, "reply")
    juliet.replies_in_thread(room, roots[0], "newest")
    romeo.reacts(room, romeo.relations(room, roots[1]).ids[0], "no part of the thread")

    def threads(who: Json, **query: Json) -> Json:
        return who.asks("GET", "rooms", room, "threads", version="v1", **query)

    listed = threads(romeo)
    assert Events(listed["chunk"]).ids == [roots[0], hers, roots[2], roots[1]]
    assert [bundle(each)["m.thread"]["count"] for each in listed["chunk"]] == [2, 1, 1, 1]
    assert "next_batch" not in listed
    assert Events(threads(juliet, include="participated")["chunk"]).ids == [roots[0], hers]
    first = threads(romeo, limit=3)
    rest = threads(romeo, limit=3, **{"from": first["next_batch"]})
    assert Events([*first["chunk"], *rest["chunk"]]).ids == [roots[0], hers, roots[2], roots[1]]
    with refused("M_INVALID_PARAM", 400):
        threads(romeo, limit=0)
    with refused("M_INVALID_PARAM", 400):
        threads(romeo, **{"from": "x"})
    with refused("M_FORBIDDEN", 403):
        threads(cast("tybalt"))
