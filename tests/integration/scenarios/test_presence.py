"""Presence: who is there, as GET /presence, /sync and the stream tell it (client-server API, "Presence")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest

from tests.cast import Actor, Cast, Device, logged_in, refused
from tests.postgres import TestServer
from tests.servers import MakeServer
from tests.sync_answer import Seen, Synced
from tests.wire import Json
from tests.ws_client import Stream

Couple = tuple[Actor, Actor, str]


@pytest.fixture
def couple(cast: Cast) -> Couple:
    """Two people in a room, neither of whom is there."""
    romeo, juliet = cast("romeo"), cast("juliet", devices=["laptop", "phone"])
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    return romeo, juliet, room


def syncs(who: Device, since: Synced | None = None, **query: Json) -> Synced:
    """GET /sync with more parameters than people in scenarios use."""
    return Synced(who.asks("GET", "sync", since=None if since is None else since.next_batch, **query))


def unseen(who: Device, since: Synced | None = None, **query: Json) -> Synced:
    """What somebody hears who does not show."""
    return syncs(who, since, set_presence="offline", **query)


def says(who: Device, presence: str, status_msg: str | None = None) -> None:
    body: Json = {"presence": presence, **({} if status_msg is None else {"status_msg": status_msg})}
    assert who.asks("PUT", "presence", who.user_id, "status", body=body) == {}


def seen_by(who: Device, other: Device) -> Json:
    return who.asks("GET", "presence", other.user_id, "status")


def told(answer: Synced, who: Device) -> Json:
    """What an answer says of somebody's presence; None if nothing."""
    of = [event["content"] for event in answer.presence if event["sender"] == who.user_id]
    assert all(event["type"] == "m.presence" for event in answer.presence)
    assert len(of) <= 1
    return of[0] if of else None


def hears(who: Device, since: Synced, other: Device, found: Callable[[Json], bool]) -> Synced:
    """Long polls until somebody's presence is told in a certain way; the last answer."""

    def is_found(answers: Seen) -> bool:
        content = told(answers.last, other)
        return content is not None and found(content)

    wanted: Json = {"room": {"rooms": []}}
    answers = Seen.until(polls(who, since, filter=wanted), is_found)
    return answers.last


def polls(who: Device, since: Synced, **query: Json) -> Iterator[Synced]:
    """Answers, one continuing the other."""
    answer = since
    for _ in range(10):
        answer = unseen(who, answer, timeout=10_000, **query)
        yield answer


def test_who_was_never_there_is_offline(couple: Couple) -> None:
    romeo, juliet, _ = couple
    assert seen_by(romeo, juliet)["presence"] == "offline"
    assert seen_by(romeo, romeo)["presence"] == "offline"
    assert told(unseen(romeo), juliet) is None


def test_who_syncs_is_online_and_hears_so(couple: Couple) -> None:
    romeo, juliet, _ = couple
    own = told(syncs(juliet), juliet)
    assert own["presence"] == "online" and own["currently_active"] is True
    found = seen_by(romeo, juliet)
    assert found["presence"] == "online" and found["currently_active"] is True
    assert 0 <= found["last_active_ago"] < 60_000
    assert told(unseen(romeo), juliet)["presence"] == "online"


@pytest.mark.parametrize("says_so", ["unavailable", "offline"])
def test_a_client_may_show_its_user_as_idle_or_not_at_all(couple: Couple, says_so: str) -> None:
    romeo, juliet, _ = couple
    syncs(juliet, set_presence=says_so)
    assert seen_by(romeo, juliet)["presence"] == says_so


def test_the_most_present_device_counts(couple: Couple) -> None:
    romeo, juliet, _ = couple
    syncs(juliet.laptop, set_presence="online")
    syncs(juliet.phone, set_presence="unavailable")
    assert seen_by(romeo, juliet)["presence"] == "online"
    syncs(juliet.laptop, set_presence="offline")
    assert seen_by(romeo, juliet)["presence"] == "unavailable"
    syncs(juliet.phone, set_presence="offline")
    assert seen_by(romeo, juliet)["presence"] == "offline"


def test_a_status_is_told_to_those_who_wait(couple: Couple) -> None:
    romeo, juliet, _ = couple
    start = unseen(romeo)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hears, romeo, start, juliet, lambda content: "status_msg" in content)
        says(juliet, "unavailable", "on the balcony")
        content = told(waiting.result(), juliet)
    assert content["presence"] == "unavailable"
    assert content["status_msg"] == "on the balcony"
    assert "currently_active" not in content
    assert seen_by(romeo, juliet)["status_msg"] == "on the balcony"


def test_the_users_other_devices_hear_what_was_set(couple: Couple) -> None:
    _, juliet, _ = couple
    start = unseen(juliet.phone)
    says(juliet.laptop, "online", "at home")
    assert told(hears(juliet.phone, start, juliet, bool), juliet)["status_msg"] == "at home"


def test_coming_and_going_is_told(couple: Couple) -> None:
    romeo, juliet, _ = couple
    start = unseen(romeo)
    syncs(juliet)
    came = hears(romeo, start, juliet, lambda content: content["presence"] == "online")
    syncs(juliet, set_presence="offline")
    assert told(hears(romeo, came, juliet, lambda content: content["presence"] == "offline"), juliet)


def test_a_status_without_a_message_takes_the_old_one_away(couple: Couple) -> None:
    romeo, juliet, _ = couple
    says(juliet, "online", "here")
    says(juliet, "online")
    assert "status_msg" not in seen_by(romeo, juliet)


def test_syncing_leaves_the_message_as_it_is(couple: Couple) -> None:
    romeo, juliet, _ = couple
    says(juliet, "unavailable", "busy")
    syncs(juliet)
    assert seen_by(romeo, juliet)["status_msg"] == "busy"


def test_who_writes_is_not_idle(couple: Couple) -> None:
    romeo, juliet, room = couple
    syncs(juliet, set_presence="unavailable")
    assert seen_by(romeo, juliet)["presence"] == "unavailable"
    juliet.says(room, "ay me")
    assert seen_by(romeo, juliet)["presence"] == "online"


def test_who_writes_unseen_stays_unseen(couple: Couple) -> None:
    romeo, juliet, room = couple
    unseen(juliet)
    juliet.says(room, "ay me")
    assert seen_by(romeo, juliet)["presence"] == "offline"


def test_strangers_see_nothing(couple: Couple, cast: Cast) -> None:
    romeo, juliet, _ = couple
    stranger = cast("paris")
    stranger.creates_room()
    start = unseen(stranger)
    says(juliet, "online", "here")
    # Somebody else's change shows that this one would have come by now.
    says(stranger, "online", "me")
    answer = hears(stranger, start, stranger, bool)
    assert told(answer, juliet) is None
    assert told(unseen(stranger), juliet) is None
    with refused("M_FORBIDDEN", 403):
        seen_by(stranger, juliet)
    with refused("M_FORBIDDEN", 403):
        stranger.asks("GET", "presence", "@nobody:" + juliet.user_id.partition(":")[2], "status")


def test_nobody_sets_the_presence_of_others(couple: Couple) -> None:
    romeo, juliet, _ = couple
    with refused("M_FORBIDDEN", 403):
        romeo.asks("PUT", "presence", juliet.user_id, "status", body={"presence": "offline"})


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"presence": "asleep"}, "M_BAD_JSON"),
        ({"presence": "online", "status_msg": 7}, "M_BAD_JSON"),
        ({"presence": "online", "status_msg": "x" * 10_000}, "M_INVALID_PARAM"),
    ],
)
def test_a_malformed_status_is_refused(couple: Couple, body: Json, errcode: str) -> None:
    _, juliet, _ = couple
    with refused(errcode, 400):
        juliet.asks("PUT", "presence", juliet.user_id, "status", body=body)


def test_who_comes_into_a_room_meets_those_who_are_there(couple: Couple, cast: Cast) -> None:
    romeo, juliet, room = couple
    syncs(juliet)
    unseen(romeo)
    mercutio = cast("mercutio")
    start = syncs(mercutio)
    assert told(start, juliet) is None
    romeo_at = unseen(romeo)
    mercutio.joins(room)
    answer = syncs(mercutio, start)
    assert room in answer.joined
    assert told(answer, juliet)["presence"] == "online"
    assert told(answer, romeo) is None
    # ... and those who are there meet the newcomer.
    news = unseen(romeo, romeo_at)
    assert room in news.joined
    assert told(news, mercutio)["presence"] == "online"


def test_ignored_users_are_left_out(couple: Couple) -> None:
    romeo, juliet, room = couple
    romeo.keeps("m.ignored_user_list", {"ignored_users": {juliet.user_id: {}}})
    syncs(juliet)
    assert told(unseen(romeo), juliet) is None


def test_filters_hold_for_presence(couple: Couple) -> None:
    romeo, juliet, _ = couple
    syncs(juliet)
    syncs(romeo)

    def filtered(**presence: Json) -> list[str]:
        return sorted(event["sender"] for event in unseen(romeo.device, filter={"presence": presence}).presence)

    assert filtered(not_senders=[romeo.user_id]) == [juliet.user_id]
    assert filtered(senders=[romeo.user_id]) == [romeo.user_id]
    assert filtered(not_types=["m.presence"]) == []
    assert filtered(types=[]) == []
    assert filtered(limit=1) == [romeo.user_id]


@pytest.mark.myelin
def test_a_stream_makes_present_and_tells_of_presence(couple: Couple) -> None:
    romeo, juliet, _ = couple
    with Stream(juliet.wire.host, juliet.wire.port, juliet.token) as stream:
        assert stream.asks("subscribe", set_presence="unavailable") == {"id": 1}
        assert told(Synced(stream.delta()), juliet)["presence"] == "unavailable"
        assert seen_by(romeo, juliet)["presence"] == "unavailable"
        says(romeo, "online", "below")
        while not (content := told(Synced(stream.delta()), romeo)):
            pass
        assert content["presence"] == "online" and content["status_msg"] == "below"
        assert stream.asks("subscribe", set_presence="asleep")["errcode"] == "M_BAD_JSON"
        assert stream.asks("subscribe")["id"] == 3
        assert seen_by(romeo, juliet)["presence"] == "online"


@pytest.mark.myelin
def test_what_was_said_outlives_a_restart(make_server: MakeServer) -> None:
    server = make_server()
    cast = Cast(server)
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    says(juliet, "unavailable", "asleep")
    says(romeo, "offline", "out")
    since = unseen(romeo)
    server.restart()
    found = seen_by(romeo, juliet)
    assert found["presence"] == "unavailable" and found["status_msg"] == "asleep"
    assert found["last_active_ago"] >= 0
    assert told(unseen(romeo), juliet)["status_msg"] == "asleep"
    out = seen_by(juliet, romeo)
    assert out["presence"] == "offline" and out["status_msg"] == "out"
    # A token of before the restart goes on, and what is set now comes with it.
    says(juliet, "online", "awake")
    assert told(hears(romeo, since, juliet, lambda content: content["presence"] == "online"), juliet)


@pytest.mark.myelin
def test_where_presence_is_off_everybody_is_offline(make_server: MakeServer) -> None:
    cast = Cast(make_server(presence={"enabled": False}))
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    says(juliet, "online", "here")
    assert "presence" not in syncs(juliet).answer
    assert "presence" not in syncs(romeo).answer
    assert seen_by(romeo, juliet) == {"presence": "offline"}
    with refused("M_FORBIDDEN", 403):
        seen_by(cast("paris"), juliet)
    with refused("M_FORBIDDEN", 403):
        romeo.asks("PUT", "presence", juliet.user_id, "status", body={"presence": "offline"})


@pytest.mark.myelin
def test_an_account_that_is_to_be_forgotten_leaves_no_status(make_server: MakeServer, postgres: TestServer) -> None:
    dsn = postgres.fresh_database()
    server = make_server(dsn)
    juliet, romeo = Cast(server)("juliet"), Cast(server)("romeo")
    says(juliet, "online", "a secret")
    says(romeo, "online", "no secret")
    server.restart()
    assert kept_messages(dsn) == {"a secret", "no secret"}
    says(juliet, "online", "another secret")
    other = logged_in(server.wire, juliet.user_id)
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": juliet.user_id}}
    body: Json = {"auth": {**auth, "password": "a password for tests"}, "erase": True}
    other.asks("POST", "account", "deactivate", body=body)
    server.restart()
    assert kept_messages(dsn) == {"no secret"}


def kept_messages(dsn: str) -> set[str | None]:
    """The status messages in the table."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as tx:
        tx.execute("SELECT status_msg FROM presence")
        return {message for (message,) in tx.fetchall()}
