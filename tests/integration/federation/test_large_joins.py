"""Joining rooms with many members through another server, whatever it sends, and letting others into them."""

from __future__ import annotations

import gzip
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from homeserver.core.canonical_json import JsonObject
from tests.cast import Device
from tests.federated import Federated, MakeFederated, TestAuthority
from tests.integration.federation.large_room import MEMBER, LargeRoom
from tests.stranger import Stranger

SEND_JOIN = "/_matrix/federation/v2/send_join"
MEMBERS = 20_000
LATEST_S = 100


@pytest.fixture
def strangers(authority: TestAuthority) -> Iterator[Callable[[], Stranger]]:
    """Other servers."""
    made: list[Stranger] = []

    def make() -> Stranger:
        made.append(Stranger(authority))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def test_a_room_of_twenty_thousand_is_joined_and_joined_through_within_little_memory(
    make_federated: MakeFederated, strangers: Callable[[], Stranger]
) -> None:
    here, there = make_federated(), make_federated()
    alice, bob = here.cast("alice"), there.cast("bob")
    room = LargeRoom(strangers(), MEMBERS)
    with Watch(here) as watch:
        joins_whole(alice, room, room.stranger.name, MEMBERS + 2)
    # As much as a kilobyte a member and more is known afterwards; with all events at hand it would be above 80.
    assert watch.grown_megabytes < 60
    assert watch.answered > 50
    with Watch(here) as reading:
        assert len(alice.members(room.room_id)) == MEMBERS + 2
    # The list of them, of which answers are made. With an answer at once, and all events at hand, it was 80 and more.
    assert reading.grown_megabytes < 30

    with Watch(here) as giving, Watch(there) as taking:
        joins_whole(bob, room, here.server_name, MEMBERS + 3)
    assert giving.grown_megabytes < 20
    assert taking.grown_megabytes < 60
    assert giving.answered > 50 and taking.answered > 50
    since = alice.sync()
    said = bob.says(room.room_id, "so many")
    assert alice.syncs_until(since, lambda seen: said in seen.timeline(room.room_id))


@pytest.mark.parametrize("chain_comes_first", [True, False])
def test_the_members_are_taken_in_whatever_order_they_come(
    server: Federated, strangers: Callable[[], Stranger], chain_comes_first: bool
) -> None:
    room = LargeRoom(strangers(), 1_500)
    random.Random(1).shuffle(room.state)
    room.auth_chain.reverse()
    state, chain = ([event.to_pdu() for event in part] for part in (room.state, room.auth_chain))
    parts = {"auth_chain": chain, "state": state} if chain_comes_first else {"state": state, "auth_chain": chain}
    room.stranger.answers[SEND_JOIN] = lambda asked: json.dumps(parts, indent=1).encode()
    alice = server.cast("alice")
    joins_whole(alice, room, room.stranger.name, 1_502)
    everybody = {*(event.state_key for event in room.members), *room.owners, alice.user_id}
    assert alice.members(room.room_id).keys() == everybody
    # So many come in pieces, for those who take them compressed too.
    assert alice.members(room.room_id, membership="leave") == {}
    assert alice.members(room.room_id, not_membership="leave").keys() == everybody
    assert alice.asks("GET", "rooms", room.room_id, "joined_members")["joined"].keys() == everybody
    assert len(alice.whole_state(room.room_id)) == len(room.state) + 1
    target = f"/_matrix/client/v3/rooms/{room.room_id}/members"
    packed = alice.call("GET", target, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(packed.body))["chunk"]) == len(everybody)


def test_what_is_wrong_with_a_few_events_does_not_keep_us_out(
    server: Federated, strangers: Callable[[], Stranger]
) -> None:
    room = LargeRoom(strangers(), 30)
    pdus: list[object] = [event.to_pdu() for event in room.state]
    unsigned, forged, changed, elsewhere = (room.members[number].to_pdu() for number in range(4))
    unsigned["signatures"] = {}
    signatures_of(forged)[room.stranger.signer.key.key_id] = "A" * 86
    changed["content"] = {"membership": "join", "displayname": "somebody else"}
    elsewhere["room_id"] = f"!elsewhere:{room.stranger.name}"
    large = room.members[4].to_pdu()
    large["content"] = {"membership": "join", "displayname": "x" * 70_000}
    by_nobody = room.adds(room.stranger.user("x"), MEMBER, {"membership": "join"}, room.stranger.user("x"), ())
    for event, pdu in zip(room.members, (unsigned, forged, changed, elsewhere, large), strict=False):
        pdus[room.state.index(event)] = pdu
    pdus += [17, None, "event", [], {}, {"type": MEMBER}, by_nobody.to_pdu()]
    room.stranger.answers[SEND_JOIN] = lambda asked: {"state": pdus, "auth_chain": []}
    alice = server.cast("alice")
    alice.asks("POST", "join", room.room_id, body={}, via=room.stranger.name)
    left_out = {str(room.members[number].state_key) for number in (0, 1, 3, 4)}
    everybody = {*(event.state_key for event in room.members), *room.owners, alice.user_id}
    assert alice.members(room.room_id).keys() == everybody - left_out
    # Of what is not what its sender has hashed, there is what no redaction takes away.
    assert alice.state(room.room_id, MEMBER, str(changed["state_key"])) == {"membership": "join"}


NONSENSE = {
    "is cut off": b'{"state":[%s]',
    "is no object": b"[%s]",
    "goes on after its end": b'{"state":[%s]}{"state":[]}',
    "has no array": b'{"state":{},"auth_chain":[%s]}',
    "has one array twice": b'{"state":[%s],"state":[]}',
    "has no beginning": b'{"state":[]}',
    "is nothing": b"",
}


@pytest.mark.parametrize("how", NONSENSE)
def test_who_answers_with_nonsense_is_passed_over(
    server: Federated, strangers: Callable[[], Stranger], how: str
) -> None:
    room, other = LargeRoom(strangers(), 3), strangers()
    events = b",".join(event.json for event in room.state)
    other.answers["make_join"] = room.stranger.answers["make_join"]
    other.answers[SEND_JOIN] = lambda asked: NONSENSE[how].replace(b"%s", events)
    alice = server.cast("alice")
    answer = alice.call("POST", f"/_matrix/client/v3/join/{room.room_id}?via={other.name}&via={room.stranger.name}", {})
    assert answer.status == 200, answer
    assert any(asked.path.startswith(SEND_JOIN) for asked in other.asked)
    assert alice.state(room.room_id, "m.room.name") == {"name": "A large room"}


def test_a_room_that_another_server_has_made_up_is_not_taken_for_the_true_one(
    server: Federated, strangers: Callable[[], Stranger]
) -> None:
    liar = strangers()
    room, invented = LargeRoom(strangers(), 3, "11"), LargeRoom(liar, 3, "10")
    # It proposes a join to the true room as one of another version, and tells a beginning to go with it.
    invented.pretends_to_be(room)
    alice = server.cast("alice")
    answer = alice.call("POST", f"/_matrix/client/v3/join/{room.room_id}?via={liar.name}&via={room.stranger.name}", {})
    assert answer.status == 200, answer
    assert any(asked.path.startswith(SEND_JOIN) for asked in liar.asked)
    assert alice.state(room.room_id, "m.room.create") == {"room_version": "11"}
    assert len(alice.members(room.room_id)) == 5


def joins_whole(who: Device, room: LargeRoom, via: str, expected_members: int) -> None:
    """Join, and wait until all members are there."""
    who.asks("POST", "join", room.room_id, body={}, via=via)
    deadline_s = time.monotonic() + LATEST_S
    # Telling all of them to a client is another matter.
    while who.asks("GET", "room_summary", room.room_id, version="v1")["num_joined_members"] != expected_members:
        assert time.monotonic() < deadline_s
        time.sleep(0.5)


def signatures_of(pdu: JsonObject) -> dict[str, str]:
    """The signatures of the one server that has signed it."""
    by_server = pdu["signatures"]
    assert isinstance(by_server, dict)
    (by_key,) = by_server.values()
    assert isinstance(by_key, dict)
    return by_key  # type: ignore[return-value]  # they are texts


class Watch:
    """Asks a server for other things all the while; looks how much its memory grows meanwhile."""

    def __init__(self, server: Federated) -> None:
        self.answered = 0
        self.grown_megabytes = 0.0
        self._process = Path(f"/proc/{server.process_id}")
        self._other = server.cast("other")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._before = 0

    def __enter__(self) -> Watch:
        self._process.joinpath("clear_refs").write_text("5")  # proc(5): the peak begins anew
        self._before = self._kilobytes("VmRSS")
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self.grown_megabytes = (self._kilobytes("VmHWM") - self._before) / 1000

    def _ask(self) -> None:
        while not self._done.is_set():
            self._other.sync()
            self.answered += 1
            time.sleep(0.02)

    def _kilobytes(self, name: str) -> int:
        lines = self._process.joinpath("status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
