"""Servers that take a question for keys and do not answer it: the client is told so in its time, and of all others."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.cast import Actor
from tests.federated import Federated, joins_through
from tests.key_ring import ALGORITHM, Keys, queries
from tests.stranger import Asked, Stranger
from tests.wire import Json, client_path

PATIENCE_S = 10.0
"""Well above the time that the client gives, and well below that after which the server gives up by itself."""
TIMEOUT_MS = 500


class Silence:
    """Holds answers back until it is over."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked = threading.Semaphore(0)

    def until_over(self, asked: Asked) -> Json:
        """The user has one device."""
        self.asked.release()
        self.over.wait(60)
        return {"user_id": asked.last, "stream_id": 1, "devices": [{"device_id": "PHONE", "keys": _keys(asked.last)}]}


def _keys(user_id: str) -> Json:
    return {"user_id": user_id, "device_id": "PHONE", "algorithms": [], "keys": {}, "signatures": {}}


@pytest.fixture
def silence() -> Iterator[Silence]:
    made = Silence()
    yield made
    made.over.set()


def test_a_lookup_ends_in_time_and_what_comes_late_is_there_for_the_next(
    pair: tuple[Federated, Federated], stranger: Stranger, silence: Silence
) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    hers = Keys(juliet).publishes(1)
    near = [stranger.user(name) for name in ("benvolio", "mercutio")]
    for user in near:
        stranger.joins(here.server_name, room, user)
    stranger.answers["user/devices/"] = silence.until_over
    stranger.answers["user/keys/query"] = silence.until_over
    for whom in (near, [*near, stranger.user("nobody_we_meet")]):
        answer = _asks(romeo, "query", {"device_keys": {user: [] for user in [*whom, juliet.user_id]}})
        assert list(answer["failures"]) == [stranger.name]
        assert answer["device_keys"][juliet.user_id] == {juliet.device_id: hers.device_keys()}
    # Each list is asked for once, however many wait for it.
    assert sum(each.path.endswith(("benvolio:" + stranger.name,)) for each in stranger.asked) == 1
    token = romeo.sync()
    silence.over.set()
    del stranger.answers["user/keys/query"]
    for _ in range(50):
        found = queries(romeo, *near)
        if not found["failures"]:
            break
        token = romeo.sync(token, timeout_ms=200)
    assert {user: found["device_keys"][user] for user in near} == {user: {"PHONE": _keys(user)} for user in near}


def test_a_claim_ends_in_time_and_is_not_sent_again(
    pair: tuple[Federated, Federated], stranger: Stranger, silence: Silence
) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    hers = Keys(juliet).publishes(1)
    stranger.answers["user/keys/claim"] = silence.until_over
    wanted = {stranger.user("benvolio"): {"PHONE": ALGORITHM}, juliet.user_id: {juliet.device_id: ALGORITHM}}
    answer = _asks(romeo, "claim", {"one_time_keys": wanted})
    assert list(answer["failures"]) == [stranger.name]
    assert len(answer["one_time_keys"][juliet.user_id][juliet.device_id]) == 1
    assert hers.uploads() == {ALGORITHM: 0}
    assert [each.path.rpartition("/")[2] for each in stranger.asked].count("claim") == 1


def _asks(who: Actor, what: str, body: Json) -> Json:
    path = client_path("keys", what)
    answer = who.call("POST", path, {**body, "timeout": TIMEOUT_MS}, timeout_s=PATIENCE_S)
    assert answer.status == 200, answer
    return answer.json
