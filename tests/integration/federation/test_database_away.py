"""What other servers send while the database does not answer: they hear so, send it again, and it counts once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.federated import Federated, TestAuthority
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
