"""What other servers send while the database does not answer: they hear so, send it again, and it counts once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.federated import Federated, TestAuthority
from tests.integration.admin import until
from tests.postgres import TestServer
from tests.stranger import Stranger
from tests.wire import Json

UNAVAILABLE = 503


def test_what_is_not_on_disk_is_not_answered_with_200_and_counts_once_when_it_comes_again(
    restartable_postgres: TestServer, authority: TestAuthority, stranger: Stranger
) -> None:
    server = Federated(restartable_postgres.fresh_database(), authority)
    try:
        server.start()
        romeo, juliet = server.cast("romeo"), stranger.user("juliet")
        room = romeo.creates_room(preset="public_chat")
        seen = stranger.joins(server.server_name, room, juliet)
        since = romeo.sync()
        message = seen.says(juliet, "wherefore")

        def to_device(message_id: str) -> Json:
            content: Json = {"sender": juliet, "type": "test.pass", "message_id": message_id}
            content["messages"] = {romeo.user_id: {"*": {"number": message_id}}}
            return {"edu_type": "m.direct_to_device", "content": content}

        stranger.sends(server.server_name, txn_id="before")
        restartable_postgres.crash()
        with ThreadPoolExecutor() as together:
            sent = [
                together.submit(stranger.sends, server.server_name, [message], txn_id="event"),
                together.submit(stranger.sends, server.server_name, [message], txn_id="again"),
                together.submit(stranger.sends, server.server_name, [], [to_device("one")], txn_id="message"),
            ]
            assert [answer.result()[0] for answer in sent] == [UNAVAILABLE] * 3
        restartable_postgres.start()
        assert stranger.sends(server.server_name, [message], [to_device("one")], txn_id="later") == (
            200,
            {"pdus": {message.event_id: {}}},
        )
        stranger.sends(server.server_name, [], [to_device("two")], txn_id="last")
        heard = romeo.syncs_until(since, lambda seen: sum(len(answer.to_device) for answer in seen) >= 2)
        told = [event["content"]["number"] for answer in heard for event in answer.to_device]
        assert told == ["one", "two"]
        assert heard.timeline(room).ids == [message.event_id]
    finally:
        server.remove()


def test_everybody_is_told_soon_that_a_frozen_database_does_not_answer(
    restartable_postgres: TestServer, authority: TestAuthority, stranger: Stranger
) -> None:
    server = Federated(restartable_postgres.fresh_database(), authority)
    try:
        server.start()
        romeo, juliet = server.cast("romeo"), stranger.user("juliet")
        room = romeo.creates_room(preset="public_chat")
        seen = stranger.joins(server.server_name, room, juliet)
        since = romeo.sync()
        # A topic has to be looked up: it may have come before as a part of some state.
        event = seen.build(juliet, "org.example.note", {"n": 1}, juliet)
        messages = [seen.says(juliet, str(number)) for number in range(8)]
        stranger.sends(server.server_name, txn_id="before")
        asks = [
            partial(stranger.sends, server.server_name, [event], txn_id="state"),
            *(partial(stranger.sends, server.server_name, [each], txn_id=each.event_id) for each in messages),
            partial(stranger.reads, server.server_name, "backfill", room, v=messages[0].event_id, limit="10"),
        ]
        with restartable_postgres.frozen(), ThreadPoolExecutor(len(asks) + 1) as together:
            sent = [together.submit(ask) for ask in asks]
            told = together.submit(
                romeo.call, "PUT", f"/_matrix/client/v3/profile/{romeo.user_id}/displayname", {"displayname": "R"}
            )
            # The stranger has 60 s of patience: whoever is not answered by then fails.
            assert {answer.result()[0] for answer in sent} == {UNAVAILABLE}
            assert told.result().status == UNAVAILABLE
        until(lambda: server.health() == 200, "the database is back")
        until(lambda: stranger.sends(server.server_name, messages)[0] == 200, "what was sent is taken")
        last = romeo.says(room, "so soon")
        heard = romeo.syncs_until(since, lambda seen: last in seen.timeline(room)).timeline(room)
        assert sorted(heard.ids) == sorted([*(message.event_id for message in messages), last])
    finally:
        server.remove()
