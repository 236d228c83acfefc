"""What a server is told of the devices of those whom it meets, or may have missed: exactly the EDUs that it gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from tests.cast import Actor
from tests.federated import Federated, MakeFederated
from tests.key_ring import Identity, Keys, changed, queries, uploads_identity
from tests.stranger import PREFIX, Asked, Stranger, now_ms
from tests.wire import Json

PATIENCE_S = 20.0
HOUR_MS = 3_600_000


class Told:
    """What a stranger is told of devices and keys."""

    def __init__(self, stranger: Stranger) -> None:
        self.edus: list[Json] = []
        self.bodies: list[str] = []
        stranger.answers["send/"] = self.take

    def take(self, asked: Asked) -> Json:
        """A transaction came."""
        self.bodies += [each["content"]["body"] for each in asked.body["pdus"] if "body" in each["content"]]
        self.edus += [each for each in asked.body["edus"] if each["edu_type"] in LISTS]
        return {"pdus": {}}

    def of(self, who: Actor) -> list[Json]:
        """What it was told of somebody."""
        return [each for each in self.edus if each["content"]["user_id"] == who.user_id]

    def hears(self, who: Actor, room: str, text: str) -> None:
        """Somebody says something: it is told of all that was before."""
        who.says(room, text)
        self._wait(lambda: text in self.bodies)

    def until(self, who: Actor, number: int) -> Sequence[Json]:
        """So much about somebody, and no more."""
        self._wait(lambda: len(self.of(who)) >= number)
        assert len(self.of(who)) == number, self.edus
        return self.of(who)

    def _wait(self, holds: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline_s, self.edus
            time.sleep(0.02)


LISTS = ("m.device_list_update", "m.signing_key_update")


def test_who_comes_into_a_room_is_told_to_servers_that_they_meet_there_and_only_once(
    pair: tuple[Federated, Federated], stranger: Stranger
) -> None:
    server, _ = pair
    romeo, juliet = server.cast("romeo"), server.cast("juliet")
    told = Told(stranger)
    rooms = [romeo.creates_room(preset="public_chat") for _ in range(2)]
    keys, identity = Keys(juliet).publishes(), Identity(juliet.user_id)
    uploads_identity(juliet, identity.keys())
    for room in rooms:
        stranger.joins(server.server_name, room, stranger.user("benvolio"))
    assert told.of(juliet) == []
    juliet.joins(rooms[0])
    devices, signing = told.until(juliet, 2)
    assert devices["edu_type"] == "m.device_list_update"
    assert devices["content"]["device_id"] == juliet.device_id
    assert devices["content"]["keys"] == keys.device_keys()
    _, known = stranger.reads(server.server_name, "user", "devices", juliet.user_id)
    assert devices["content"]["stream_id"] == known["stream_id"]
    assert signing["content"]["master_key"] == identity.master_key()
    assert "user_signing_key" not in signing["content"]
    # From here on it is told of each change by itself; another room and another name are no news.
    juliet.joins(rooms[1])
    juliet.asks("PUT", "profile", juliet.user_id, "displayname", body={"displayname": "Juliet"})
    juliet.asks("PUT", "devices", juliet.device_id, body={"display_name": "balcony"})
    renamed = told.until(juliet, 3)[2]["content"]
    assert (renamed["device_display_name"], renamed["prev_id"]) == ("balcony", [known["stream_id"]])
    # Out of both rooms, nothing. And back: told anew.
    for room in rooms:
        juliet.leaves(room)
    juliet.asks("PUT", "devices", juliet.device_id, body={"display_name": "tomb"})
    told.hears(romeo, rooms[0], "she is gone")
    told.until(juliet, 3)
    juliet.joins(rooms[0])
    assert told.until(juliet, 5)[3]["content"]["device_display_name"] == "tomb"


def test_what_changed_before_a_server_was_known_to_have_come_is_told_to_it(
    pair: tuple[Federated, Federated], stranger: Stranger
) -> None:
    server, _ = pair
    romeo, nurse = server.cast("romeo"), server.cast("nurse")
    room = romeo.creates_room(preset="public_chat")
    told = Told(stranger)
    before: list[Json] = []

    def look_and_change() -> None:
        before.append(stranger.reads(server.server_name, "user", "devices", romeo.user_id)[1])
        Keys(romeo).publishes()

    # Nurse shares no room with it, so she is none of its business.
    Keys(nurse).publishes()
    stranger.joins(server.server_name, room, stranger.user("benvolio"), meanwhile=look_and_change)
    (update,) = told.until(romeo, 1)
    assert update["content"]["stream_id"] > before[0]["stream_id"]
    assert told.of(nurse) == []


def test_lists_that_have_not_changed_since_a_server_came_are_not_told(
    pair: tuple[Federated, Federated], stranger: Stranger
) -> None:
    server, _ = pair
    romeo = server.cast("romeo")
    room = romeo.creates_room(preset="public_chat")
    told = Told(stranger)
    Keys(romeo).publishes()
    # By its clock it comes an hour later.
    stranger.joins(server.server_name, room, stranger.user("benvolio"), ts=now_ms() + HOUR_MS)
    romeo.asks("PUT", "devices", romeo.device_id, body={"display_name": "phone"})
    (update,) = told.until(romeo, 1)
    assert update["content"]["device_display_name"] == "phone"


def test_changes_are_told_though_the_server_is_killed_before_they_are_sent(
    make_federated: MakeFederated, stranger: Stranger
) -> None:
    server = make_federated()
    romeo, juliet = server.cast("romeo"), server.cast("juliet")
    told = Told(stranger)
    rooms = [romeo.creates_room(preset="public_chat") for _ in range(2)]
    for room in rooms:
        stranger.joins(server.server_name, room, stranger.user("benvolio"))
    held, asked = threading.Event(), threading.Event()

    def hold(_: Asked) -> Json:
        asked.set()
        held.wait(PATIENCE_S)
        return {"pdus": {}}

    stranger.answers["send/"] = hold
    Keys(romeo).publishes()
    assert asked.wait(PATIENCE_S)
    Keys(juliet).publishes()
    juliet.joins(rooms[0])
    server.kill()
    stranger.answers["send/"] = told.take
    held.set()
    server.start()
    for who in (romeo, juliet):
        assert told.until(who, 1)[0]["content"]["device_id"] == who.device_id


def test_nothing_is_fetched_for_those_with_whom_nobody_shares_a_room(
    pair: tuple[Federated, Federated], stranger: Stranger
) -> None:
    server, _ = pair
    romeo = server.cast("romeo")
    room = romeo.creates_room(preset="public_chat")
    near, far = stranger.user("benvolio"), stranger.user("tybalt")
    stranger.joins(server.server_name, room, near)
    stranger.answers["user/devices/"] = lambda asked: {"user_id": asked.last, "stream_id": 7, "devices": []}
    for user in (near, far):
        assert queries(romeo, user)["device_keys"].get(user) == ({} if user == near else None)
    since = romeo.sync()
    # Each builds upon what is not known here.
    updates = [
        {"user_id": user, "device_id": "PHONE", "stream_id": 9, "prev_id": [8], "keys": None} for user in (far, near)
    ]
    stranger.sends(server.server_name, edus=[{"edu_type": LISTS[0], "content": update} for update in updates])
    heard = romeo.syncs_until(since, lambda seen: near in changed(seen.last.answer))
    assert not any(far in changed(answer.answer) for answer in heard)
    fetched = [each.last for each in stranger.asked if each.path.startswith(f"{PREFIX}user/devices/")]
    assert fetched.count(near) >= 2
    assert far not in fetched
