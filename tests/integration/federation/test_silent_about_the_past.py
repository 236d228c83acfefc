"""A server that takes and sends events, and does not answer when it is asked what came before them."""

from __future__ import annotations

import threading
from functools import partial

from tests.federated import MakeFederated, TestAuthority
from tests.stranger import Answer, Asked, NotHere, Stranger
from tests.sync_answer import Seen
from tests.wire import Json


def always(answer: Json) -> Answer:
    return lambda asked: answer


def has_all(room: str, wanted: set[str], seen: Seen) -> bool:
    return wanted <= set(seen.timeline(room).ids)


def test_others_of_the_room_are_asked_instead_and_heard_meanwhile(
    make_federated: MakeFederated, stranger: Stranger, authority: TestAuthority
) -> None:
    server = make_federated()
    romeo, juliet = server.cast("romeo"), stranger.user("juliet")
    room = romeo.creates_room(preset="public_chat")
    seen = stranger.joins(server.server_name, room, juliet)
    helpful = Stranger(authority)
    nurse = helpful.user("nurse")
    is_over, was_asked = threading.Event(), threading.Event()

    def never(asked: Asked) -> Json:
        was_asked.set()
        is_over.wait(120)
        raise NotHere

    def asked_of(who: Stranger) -> int:
        return sum("/get_missing_events/" in each.path for each in who.asked)

    try:
        with_nurse = helpful.joins(server.server_name, room, nurse)
        seen.saw(with_nurse.state["m.room.member", nurse])
        stranger.answers["get_missing_events/"] = never

        # Of juliet's messages only the last one is sent, twice over; her server is silent about those before it.
        since = romeo.sync()
        for number, line in enumerate(("first", "second")):
            said = [seen.says(juliet, line)]
            seen.saw(said[0])
            said.append(seen.says(juliet, f"after the {line}"))
            seen.saw(said[1])
            helpful.answers["get_missing_events/"] = always({"events": [said[0].to_pdu()]})
            assert seen.sends(said[1]) == {said[1].event_id: {}}
            assert was_asked.wait(30)
            word = with_nurse.says(nurse, f"word {number}")
            assert with_nurse.sends(word) == {word.event_id: {}}
            wanted: set[str] = {word.event_id, *(event.event_id for event in said)}
            heard = romeo.syncs_until(since, partial(has_all, room, wanted))
            since = heard.last
        assert not is_over.is_set()
        # Who was silent the first time is not waited for the second time.
        assert (asked_of(stranger), asked_of(helpful)) == (1, 2)
        assert server.errors() == []
    finally:
        is_over.set()
        helpful.stop()
