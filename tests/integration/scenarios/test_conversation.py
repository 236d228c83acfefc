"""Two people talk: messages, edits, reactions, redactions, receipts, typing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cast import Actor, Cast, refused

Couple = tuple[Actor, Actor, str]


@pytest.fixture
def couple(cast: Cast) -> Couple:
    """Two people in a room."""
    romeo, juliet = cast("romeo"), cast("juliet", devices=["laptop", "phone"])
    room = romeo.creates_room(invite=[juliet])
    juliet.joins(room)
    return romeo, juliet, room


def test_a_message_reaches_both_devices(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = romeo.says(room, "soft, what light")
    assert sent in juliet.laptop.sync().timeline(room)
    assert sent in juliet.phone.sync().timeline(room)


def test_a_message_arrives_as_it_was_sent(couple: Couple) -> None:
    romeo, juliet, room = couple
    content = {
        "msgtype": "m.text",
        "body": 'tabs\t, quotes ", backslashes \\, é, e\u0301, 😀, \u2028, \u0000 and \ud7ff',
        "org.example.deep": {"list": [1, -1, 0, 2**53 - 1, -(2**53) + 1, True, None, "", {}, []], "": ""},
    }
    sent = romeo.sends(room, "m.room.message", content)
    arrived = juliet.sync().timeline(room).event(sent)
    assert arrived["content"] == content
    assert arrived["sender"] == romeo.user_id
    assert arrived["type"] == "m.room.message"
    assert isinstance(arrived["origin_server_ts"], int)
    assert juliet.event(room, sent)["content"] == content


def test_whoever_waits_is_woken_by_a_message(couple: Couple, in_parallel: Callable[..., list[object]]) -> None:
    romeo, juliet, room = couple
    since = juliet.sync()
    waiting, sent = in_parallel(
        lambda: juliet.syncs_until(since, lambda seen: len(seen.timeline(room)) > 0).timeline(room).ids,
        lambda: romeo.says(room, "arise, fair sun"),
    )
    assert waiting == [sent]


def test_messages_are_told_in_the_order_in_which_they_were_sent(couple: Couple) -> None:
    romeo, juliet, room = couple
    since = juliet.sync()
    sent = [who.says(room, str(number)) for number in range(4) for who in (romeo, juliet)]
    assert juliet.syncs_until(since, lambda seen: sent[-1] in seen.timeline(room)).timeline(room).ids == sent


def test_the_sender_alone_is_told_the_transaction_id_on_the_sending_device(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = juliet.laptop.says(room, "ay me", txn_id="m.17")
    assert juliet.laptop.sync().timeline(room).event(sent)["unsigned"]["transaction_id"] == "m.17"
    assert "transaction_id" not in juliet.phone.sync().timeline(room).event(sent).get("unsigned", {})
    assert "transaction_id" not in romeo.sync().timeline(room).event(sent).get("unsigned", {})


def test_an_edit_is_told_as_an_event_and_bundled_with_the_original(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = romeo.says(room, "but soft")
    romeo.edits(room, sent, "but hard")
    edit = romeo.edits(room, sent, "but soft!")
    timeline = juliet.sync().timeline(room)
    assert edit in timeline
    bundled = juliet.event(room, sent)["unsigned"]["m.relations"]["m.replace"]
    assert bundled["event_id"] == edit
    assert bundled["content"]["m.new_content"]["body"] == "but soft!"
    # v1.8 of the specification: the content is that of the original.
    assert juliet.event(room, sent)["content"]["body"] == "but soft"


def test_an_edit_of_someone_elses_message_is_not_bundled(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = romeo.says(room, "a rose")
    juliet.edits(room, sent, "a nose")
    assert "m.replace" not in romeo.event(room, sent).get("unsigned", {}).get("m.relations", {})


def test_the_same_reaction_twice_is_refused(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = romeo.says(room, "what's in a name?")
    first = juliet.reacts(room, sent, "🌹")
    with refused("M_DUPLICATE_ANNOTATION", 400):
        juliet.reacts(room, sent, "🌹")
    romeo.reacts(room, sent, "🌹")
    juliet.reacts(room, sent, "❤")
    juliet.redacts(room, first)
    again = juliet.reacts(room, sent, "🌹")
    assert again in juliet.relations(room, sent, "m.annotation", "m.reaction")
    assert first not in juliet.relations(room, sent, "m.annotation", "m.reaction")


def test_relations_are_listed_newest_first_and_filtered_by_kind_and_type(couple: Couple) -> None:
    romeo, juliet, room = couple
    root = romeo.says(room, "root")
    first = juliet.replies_in_thread(room, root, "first")
    reaction = juliet.reacts(room, root, "👍")
    second = romeo.replies_in_thread(room, root, "second")
    assert romeo.relations(room, root).ids == [second, reaction, first]
    assert romeo.relations(room, root, dir="f").ids == [first, reaction, second]
    assert romeo.relations(room, root, "m.thread").ids == [second, first]
    assert romeo.relations(room, root, "m.thread", "m.room.message").ids == [second, first]
    assert romeo.relations(room, root, "m.thread", "m.sticker").ids == []


def test_relations_come_in_pages(couple: Couple) -> None:
    romeo, _, room = couple
    root = romeo.says(room, "root")
    sent = [romeo.replies_in_thread(room, root, str(number)) for number in range(5)]
    found: list[str] = []
    token = None
    while True:
        answer = romeo.asks("GET", "rooms", room, "relations", root, version="v1", limit=2, **{"from": token})
        found += [event["event_id"] for event in answer["chunk"]]
        token = answer.get("next_batch")
        if token is None:
            break
        assert len(answer["chunk"]) == 2
    assert found == sent[::-1]


def test_a_thread_is_bundled_with_its_root(couple: Couple) -> None:
    romeo, juliet, room = couple
    root = romeo.says(room, "root")
    juliet.replies_in_thread(room, root, "first")
    last = juliet.replies_in_thread(room, root, "second")
    for who, took_part in ((juliet, True), (romeo, True)):
        thread = who.event(room, root)["unsigned"]["m.relations"]["m.thread"]
        assert thread["count"] == 2
        assert thread["latest_event"]["event_id"] == last
        assert thread["current_user_participated"] is took_part


def test_threads_are_listed_by_their_latest_reply(couple: Couple) -> None:
    romeo, juliet, room = couple
    one, two = romeo.says(room, "one"), romeo.says(room, "two")
    juliet.replies_in_thread(room, two, "to two")
    juliet.replies_in_thread(room, one, "to one")

    def threads(**query: str) -> list[str]:
        answer = juliet.asks("GET", "rooms", room, "threads", version="v1", **query)
        return [event["event_id"] for event in answer["chunk"]]

    assert threads() == [one, two]
    assert threads(include="participated") == [one, two]
    romeo.replies_in_thread(room, two, "to two again")
    assert threads() == [two, one]


def test_a_redaction_takes_the_content_away_for_everyone(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = romeo.says(room, "I hate Capulets")
    since = juliet.sync()
    redaction = romeo.redacts(room, sent, "spoken in haste")
    told = juliet.syncs_until(since, lambda seen: redaction in seen.timeline(room)).timeline(room).event(redaction)
    assert told["content"]["reason"] == "spoken in haste"
    assert told["redacts"] == sent
    assert told["content"]["redacts"] == sent
    for shown in (
        juliet.event(room, sent),
        juliet.sync().timeline(room).event(sent),
        juliet.messages(room)[0].event(sent),
        juliet.context(room, sent)["event"],
    ):
        assert shown["content"] == {}
        assert shown["unsigned"]["redacted_because"]["event_id"] == redaction
        assert shown["sender"] == romeo.user_id


def test_only_the_sender_and_moderators_redact(couple: Couple) -> None:
    romeo, juliet, room = couple
    his, hers = romeo.says(room, "his"), juliet.says(room, "hers")
    with refused("M_FORBIDDEN", 403):
        juliet.redacts(room, his)
    assert juliet.event(room, his)["content"]["body"] == "his"
    romeo.redacts(room, hers)
    assert juliet.event(room, hers)["content"] == {}


def test_a_redacted_edit_no_longer_counts(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = romeo.says(room, "one")
    edit = romeo.edits(room, sent, "two")
    romeo.redacts(room, edit)
    assert "m.replace" not in juliet.event(room, sent)["unsigned"].get("m.relations", {})


def test_a_receipt_is_told_to_the_others(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = romeo.says(room, "wherefore art thou?")
    since = romeo.sync()
    juliet.reads(room, sent)
    seen = romeo.syncs_until(since, lambda seen: bool(seen.last.readers(room, sent)))
    assert seen.last.readers(room, sent)[juliet.user_id]["ts"] > 0
    assert juliet.user_id in romeo.sync().readers(room, sent)


def test_a_private_receipt_is_told_to_its_owner_alone(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = romeo.says(room, "a secret")
    juliet.reads(room, sent, "m.read.private")
    assert juliet.user_id in juliet.phone.sync().readers(room, sent, "m.read.private")
    assert juliet.user_id not in romeo.sync().readers(room, sent, "m.read.private")


def test_receipts_of_a_thread_carry_its_root(couple: Couple) -> None:
    romeo, juliet, room = couple
    root = romeo.says(room, "root")
    reply = romeo.replies_in_thread(room, root, "reply")
    juliet.reads(room, reply, thread=root)
    assert romeo.sync().readers(room, reply)[juliet.user_id]["thread_id"] == root


def test_the_read_marker_is_the_readers_own(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = romeo.says(room, "here")
    body = {"m.fully_read": sent, "m.read": sent}
    assert juliet.asks("POST", "rooms", room, "read_markers", body=body) == {}
    told = juliet.phone.sync().room_account_data(room)
    assert told.content("m.fully_read") == {"event_id": sent}
    assert romeo.sync().room_account_data(room).of_type("m.fully_read") == []
    assert juliet.user_id in romeo.sync().readers(room, sent)


def test_typing_is_told_and_ends_with_the_message(couple: Couple) -> None:
    romeo, juliet, room = couple
    since = romeo.sync()
    juliet.types(room)
    seen = romeo.syncs_until(since, lambda seen: seen.last.typing(room) == [juliet.user_id])
    juliet.types(room, False)
    seen = romeo.syncs_until(seen.last, lambda seen: seen.last.typing(room) == [])


def test_typing_runs_out(couple: Couple) -> None:
    romeo, juliet, room = couple
    since = romeo.sync()
    juliet.types(room, timeout_ms=100)
    romeo.syncs_until(since, lambda seen: seen.last.typing(room) == [])


def test_nobody_types_or_reads_in_anothers_name_or_where_they_are_not(couple: Couple, cast: Cast) -> None:
    romeo, juliet, room = couple
    tybalt = cast("tybalt")
    sent = romeo.says(room, "hush")
    with refused("M_FORBIDDEN", 403):
        tybalt.types(room)
    with refused("M_FORBIDDEN"):
        juliet.asks("PUT", "rooms", room, "typing", romeo.user_id, body={"typing": True, "timeout": 1000})
    assert tybalt.call("POST", f"/_matrix/client/v3/rooms/{room}/receipt/m.read/{sent}").status in (403, 404)


def test_context_shows_what_is_around_an_event(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = [romeo.says(room, str(number)) for number in range(7)]
    answer = juliet.context(room, sent[3], limit=4)
    assert answer["event"]["event_id"] == sent[3]
    assert [event["event_id"] for event in answer["events_before"]] == [sent[2], sent[1]]
    assert [event["event_id"] for event in answer["events_after"]] == [sent[4], sent[5]]
    before, _ = juliet.messages(room, limit=2, start=answer["start"])
    after, _ = juliet.messages(room, False, limit=2, start=answer["end"])
    assert before.ids[0] == sent[0]
    assert after.ids == [sent[6]]
    assert any(event["type"] == "m.room.create" for event in answer["state"])


def test_messages_pages_through_the_whole_history_both_ways(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = [romeo.says(room, str(number)) for number in range(12)]
    backwards = juliet.whole_history(room, limit=5)
    forwards = juliet.whole_history(room, backwards=False, limit=5)
    assert backwards.ids == forwards.ids[::-1]
    assert [event for event in forwards.ids if event in sent] == sent
    assert forwards[0]["type"] == "m.room.create"


def test_messages_may_be_filtered(couple: Couple) -> None:
    romeo, juliet, room = couple
    romeo.says(room, "text")
    link = romeo.says(room, "picture", url="mxc://test.localhost/abc")
    sticker = juliet.sends(room, "m.sticker", {"body": "s", "url": "mxc://test.localhost/s", "info": {}})
    assert juliet.messages(room, filter={"types": ["m.sticker"]})[0].ids == [sticker]
    assert juliet.messages(room, filter={"senders": [romeo.user_id], "contains_url": True})[0].ids == [link]
    assert juliet.messages(room, filter={"not_types": ["m.room.*"]})[0].ids == [sticker]


def test_messages_between_two_tokens_are_those_between(couple: Couple) -> None:
    romeo, juliet, room = couple
    romeo.says(room, "before")
    start = juliet.sync()
    sent = [romeo.says(room, str(number)) for number in range(5)]
    end = juliet.sync(start)
    romeo.says(room, "after")
    backwards, _ = juliet.messages(room, to=start.next_batch, start=end.next_batch)
    assert backwards.ids == sent[::-1]
    forwards, _ = juliet.messages(room, False, to=end.next_batch, start=start.next_batch)
    assert forwards.ids == sent
