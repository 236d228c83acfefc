"""Unread counts: what notifies, what highlights, what receipts take away, per thread or together."""

from __future__ import annotations

import pytest

from tests.cast import Actor, Cast

Couple = tuple[Actor, Actor, str]

BY_THREAD = {"room": {"timeline": {"unread_thread_notifications": True}}}


@pytest.fixture
def couple(cast: Cast) -> Couple:
    """Two people in a room of more than two, so that messages notify but are no one-to-one messages."""
    romeo, juliet, nurse = cast("romeo"), cast("juliet"), cast("nurse")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    nurse.joins(room)
    return romeo, juliet, room


def test_messages_count_until_they_are_read(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = [romeo.says(room, str(number)) for number in range(3)]
    assert juliet.sync().unread(room) == (3, 0)
    juliet.reads(room, sent[1])
    assert juliet.sync().unread(room) == (1, 0)
    juliet.reads(room, sent[2], "m.read.private")
    assert juliet.sync().unread(room) == (0, 0)


def test_ones_own_messages_do_not_count_and_read_what_was_before(couple: Couple) -> None:
    romeo, juliet, room = couple
    romeo.says(room, "one")
    assert romeo.sync().unread(room) == (0, 0)
    juliet.says(room, "two")
    assert juliet.sync().unread(room) == (0, 0)
    romeo.says(room, "three")
    assert juliet.sync().unread(room) == (1, 0)


def test_a_mention_highlights(couple: Couple) -> None:
    romeo, juliet, room = couple
    for mentions in ({"user_ids": [juliet.user_id]}, {}):
        romeo.sends(room, "m.room.message", {"msgtype": "m.text", "body": "you", "m.mentions": mentions})
    assert juliet.sync().unread(room) == (2, 1)


def test_reactions_and_edits_and_state_do_not_notify(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = romeo.says(room, "one")
    juliet.reads(room, sent)
    romeo.reacts(room, sent, "🌹")
    romeo.edits(room, sent, "two")
    romeo.sets_state(room, "m.room.topic", {"topic": "three"})
    assert juliet.sync().unread(room) == (0, 0)


def test_the_counts_are_told_when_they_change(couple: Couple) -> None:
    romeo, juliet, room = couple
    since = juliet.sync()
    sent = romeo.says(room, "one")
    told = juliet.sync(since)
    assert told.unread(room) == (1, 0)
    juliet.reads(room, sent)
    assert juliet.sync(told).unread(room) == (0, 0)


def test_a_redacted_message_no_longer_counts(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = [romeo.says(room, str(number)) for number in range(3)]
    since = juliet.sync()
    assert since.unread(room) == (3, 0)
    romeo.redacts(room, sent[1])
    assert juliet.sync(since).unread(room) == (2, 0)
    romeo.redacts(room, sent[0])
    assert juliet.sync(since).unread(room) == (1, 0)


def test_a_message_redacted_before_anybody_counted_does_not_count(couple: Couple) -> None:
    romeo, juliet, room = couple
    romeo.redacts(room, romeo.says(room, "one"))
    romeo.says(room, "two")
    assert juliet.sync().unread(room) == (1, 0)


def test_a_muted_room_does_not_count(couple: Couple) -> None:
    romeo, juliet, room = couple
    condition = {"kind": "event_match", "key": "room_id", "pattern": room}
    body = {"actions": [], "conditions": [condition]}
    assert juliet.asks("PUT", "pushrules", "global", "override", room, body=body) == {}
    romeo.says(room, "one")
    assert juliet.sync().unread(room) == (0, 0)


def test_threads_are_counted_apart_for_those_who_ask(couple: Couple) -> None:
    romeo, juliet, room = couple
    root = romeo.says(room, "root")
    reply = romeo.replies_in_thread(room, root, "one")
    romeo.replies_in_thread(room, root, "two")
    assert juliet.sync().unread(room) == (3, 0)
    told = juliet.sync(filter=BY_THREAD)
    assert told.unread(room) == (1, 0)
    assert told.room(room)["unread_thread_notifications"] == {root: {"notification_count": 2, "highlight_count": 0}}
    juliet.reads(room, reply, thread=root)
    told = juliet.sync(told, filter=BY_THREAD)
    assert told.unread(room) == (1, 0)
    assert told.room(room)["unread_thread_notifications"] == {root: {"notification_count": 1, "highlight_count": 0}}
    juliet.reads(room, root, thread="main")
    assert juliet.sync(filter=BY_THREAD).unread(room) == (0, 0)
    assert juliet.sync().unread(room) == (1, 0)


def test_a_receipt_without_a_thread_reads_all_threads(couple: Couple) -> None:
    romeo, juliet, room = couple
    root = romeo.says(room, "root")
    last = romeo.replies_in_thread(room, root, "one")
    juliet.reads(room, last)
    told = juliet.sync(filter=BY_THREAD)
    assert told.unread(room) == (0, 0)
    assert told.room(room).get("unread_thread_notifications", {}) == {}
