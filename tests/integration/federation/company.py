"""Three servers with a bad network between them, the people on them, and clients that note all that they are told."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import psycopg2

from tests.bad_network import Gate, Weather
from tests.cast import Actor, Device, Refused
from tests.federated import EVERYTHING, Federated, TestAuthority, joins_through
from tests.integration.admin import free_port
from tests.sync_answer import Synced
from tests.wire import Json

REJECTED: Final = 2
PATIENCE_S: Final = 60.0
POLL_MS: Final = 2_000
PAUSE_S: Final = 0.1


class Gated(Federated):
    """A server whose name is that of a gate before it."""

    def __init__(self, dsn: str, authority: TestAuthority) -> None:
        federation_port = free_port()
        self.gate = Gate(federation_port, authority)
        self.dsn = dsn
        super().__init__(
            dsn, authority, federation_port=federation_port, known_at=self.gate.port, log={"level": "info"}
        )
        self.is_up = False

    def start(self) -> None:
        super().start()
        self.is_up = True

    def kill(self) -> None:
        self.is_up = False
        super().kill()

    def remove(self) -> None:
        super().remove()
        self.gate.close()

    def held(self, room: str) -> dict[str, bool]:
        """The events of a room that have their place here: id → was it taken (also if it was soft-failed)?"""
        return {event_id: status < REJECTED for event_id, status in self._events(room, "state_root IS NOT NULL")}

    def shown(self, room: str) -> set[str]:
        """The events of a room that clients are to see as they come."""
        return {event_id for event_id, _ in self._events(room, "status = 0 AND position > 0")}

    def _events(self, room: str, condition: str) -> list[tuple[str, int]]:
        connection = psycopg2.connect(self.dsn)
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    f"SELECT event_id, status FROM events JOIN rooms USING (room) WHERE room_id = %s AND {condition}",
                    (room,),
                )
                return cursor.fetchall()
        finally:
            connection.close()


class Follower:
    """A client that follows /sync through everything, and notes what it is told."""

    def __init__(self, who: Actor, room: str) -> None:
        self.who = who
        self.room = room
        self.timeline: list[str] = []
        self.state: dict[tuple[str, str], str] = {}
        self.messages: list[tuple[str, int]] = []
        """To the device: who sent it, and its number."""
        self.receipts: dict[str, str] = {}
        self.gaps = 0
        """Timelines that did not begin where the one before ended."""
        self.problem: str | None = None
        first = who.sync(filter=EVERYTHING, use_state_after=True)
        self._note(first)
        self.gaps = 0
        self._token = first.next_batch
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"{self.who} after {self.gaps} gaps"

    def stop(self) -> None:
        """Follow no more."""
        self._is_over.set()
        self._thread.join(PATIENCE_S)

    def _follow(self) -> None:
        while not self._is_over.is_set():
            try:
                answer = self.who.sync(self._token, filter=EVERYTHING, use_state_after=True, timeout_ms=POLL_MS)
                self._note(answer)
                self._token = answer.next_batch
            except (OSError, http.client.HTTPException):
                time.sleep(PAUSE_S)  # the server is down: once more from where it was
            except Exception as error:  # noqa: BLE001  # for the test to see
                self.problem = repr(error)
                return

    def _note(self, answer: Synced) -> None:
        if answer.room(self.room):
            self.gaps += answer.is_limited(self.room)
        self.timeline += answer.timeline(self.room).ids
        for event in answer.state_after(self.room):
            self.state[event["type"], event["state_key"]] = event["event_id"]
        self.messages += [(event["sender"], event["content"]["number"]) for event in answer.to_device]
        for event in answer.ephemeral(self.room).of_type("m.receipt"):
            for event_id, kinds in event["content"].items():
                self.receipts.update(dict.fromkeys(kinds.get("m.read", ()), event_id))


class Company:
    """People of three servers in one room. The first three stay in it; the others come, go, and are put out."""

    def __init__(self, servers: Sequence[Gated], version: str, seed: str) -> None:
        self.servers = servers
        self.seed = seed
        self.dice = random.Random(seed)
        self.server_of: dict[Actor, Gated] = {}
        self.anchors = [self._person(name, server) for name, server in zip("ABC", servers, strict=True)]
        self.others = [self._person(name, server) for name, server in zip("xyz", servers, strict=True)]
        self.people = [*self.anchors, *self.others]
        self.story: list[str] = []
        self.sent: dict[tuple[str, str], int] = {}
        """Messages to devices: of whom, to whom, and how many."""
        self.read: dict[str, str] = {}
        self.room = ""
        try:
            self.room = self._makes_room(version)
        except BaseException:
            self._tell()
            raise
        self._begun_with = {event_id for server in servers for event_id in server.held(self.room)}
        """What came before some server joined, each has only as far as it wants it."""
        self.followers = [Follower(who, self.room) for who in self.anchors]

    def _person(self, name: str, server: Gated) -> Actor:
        who = server.cast(name.lower() if name in "ABC" else name)
        self.server_of[who] = server
        return who

    def _makes_room(self, version: str) -> str:
        first, *_ = self.anchors
        powers = (100, 60, 60, 50, 50)
        levels = {who.user_id: power for who, power in zip(self.people[1:], powers, strict=True)}
        # Before version 12, whoever makes a room has power by a level like others.
        levels |= {} if version == "12" else {first.user_id: 100}
        room = first.creates_room(
            preset="public_chat", room_version=version, power_level_content_override={"users": levels, "invite": 0}
        )
        for who in self.people[1:]:
            if self.server_of[who] is self.servers[0]:
                who.joins(room)
            else:
                joins_through(who, room, self.servers[0])
            # Who comes next is told of to those servers of which theirs knows by then.
            inside = self.people[: self.people.index(who) + 1]
            watching = [each for each in self.anchors if each in inside]
            until(lambda: all(_count(each, room) == len(inside) for each in watching), f"{who} is in")  # noqa: B023
        return room

    # What they do.

    def talks(self, steps: int) -> None:
        """Somebody does something, so many times."""
        for _ in range(steps):
            who = self.dice.choice(self.people)
            action = self.dice.choice(self._actions())
            if self.server_of[who].is_up:
                self._does(who, action)

    def _does(self, who: Actor, action: Callable[[Actor, str], object]) -> None:
        mark = f"{len(self.story)}"
        try:
            outcome: object = action(who, mark)
        except Refused as refusal:
            assert refusal.status in (400, 403, 404, 502, 504), refusal
            outcome = f"refused: {refusal.answer.json.get('error')}"
        self.story.append(f"{mark}: {who.user_id} {action.__name__.strip('_')}: {outcome}")

    def _actions(self) -> list[Callable[[Actor, str], object]]:
        rare = [self._topic, self._name, self._part, self._power, self._kick, self._ban, self._unban, self._invite]
        often = [self._says, self._says, self._reads, self._passes]
        return [*rare, *often, *often, self._comes, self._comes, self._goes, self._rules, self._redacts]

    def _says(self, who: Actor, mark: str) -> str:
        return who.says(self.room, mark)

    def _topic(self, who: Actor, mark: str) -> str:
        return who.sets_state(self.room, "m.room.topic", {"topic": mark})

    def _name(self, who: Actor, mark: str) -> str:
        return who.sets_state(self.room, "m.room.name", {"name": mark})

    def _part(self, who: Actor, mark: str) -> str:
        return who.sets_state(self.room, "test.part", {"by": mark}, state_key=self.dice.choice("abc"))

    def _power(self, who: Actor, mark: str) -> str:
        power: Json = who.state(self.room, "m.room.power_levels")
        power["users"][self.dice.choice(self.others).user_id] = self.dice.choice([0, 25, 50, 60])
        power["events"]["m.room.topic"] = self.dice.choice([0, 50, 60])
        return who.sets_state(self.room, "m.room.power_levels", power)

    def _kick(self, who: Actor, mark: str) -> None:
        who.kicks(self.room, self.dice.choice(self.others), reason=mark)

    def _ban(self, who: Actor, mark: str) -> None:
        who.bans(self.room, self.dice.choice(self.others), reason=mark)

    def _unban(self, who: Actor, mark: str) -> None:
        who.unbans(self.room, self.dice.choice(self.others))

    def _invite(self, who: Actor, mark: str) -> None:
        # Of one's own server: invites of others need an answer while somebody waits.
        who.invites(self.room, self.others[self.servers.index(self.server_of[who])])

    def _comes(self, who: Actor, mark: str) -> None:
        if who in self.others:
            who.joins(self.room, reason=mark)

    def _goes(self, who: Actor, mark: str) -> None:
        if who in self.others:
            who.leaves(self.room, reason=mark)

    def _rules(self, who: Actor, mark: str) -> str:
        return who.sets_state(self.room, "m.room.join_rules", {"join_rule": self.dice.choice(["public", "invite"])})

    def _redacts(self, who: Actor, mark: str) -> object:
        messages = who.messages(self.room, limit=20)[0].of_type("m.room.message")
        return who.redacts(self.room, self.dice.choice(messages)["event_id"], mark) if messages else None

    def _reads(self, who: Actor, mark: str) -> object:
        who = self.anchors[self.servers.index(self.server_of[who])]
        newest = who.messages(self.room, limit=1)[0].ids[0]
        who.reads(self.room, newest)
        self.read[who.user_id] = newest
        return newest

    def _passes(self, who: Actor, mark: str) -> None:
        """A message to the device of each of those who stay, from the one of them on the same server."""
        who = self.anchors[self.servers.index(self.server_of[who])]
        for other in self.anchors:
            if other is not who:
                number = self.sent[who.user_id, other.user_id] = self.sent.get((who.user_id, other.user_id), 0) + 1
                body = {"messages": {other.user_id: {"*": {"number": number}}}}
                who.asks("PUT", "sendToDevice", "test.pass", who.new_txn_id(), body=body)

    # The network.

    def turns(self, weather: Weather) -> None:
        """The weather between all of them, from now on."""
        for to, server in enumerate(self.servers):
            dice = {
                other.server_name: random.Random(f"{self.seed} {number} {to}")
                for number, other in enumerate(self.servers)
                if other is not server
            }
            server.gate.turns(weather, dice)

    def parts(self, alone: Gated) -> None:
        """One cannot be reached by the others, nor they by it."""
        for server in self.servers:
            others = [other.server_name for other in self.servers if other is not server]
            server.gate.shuts_out(others if server is alone else [alone.server_name])

    def meets(self) -> None:
        """The network is well: all servers find out that the others are there, and all is told."""
        for server in self.servers:
            server.gate.open()
        for who in self.anchors:
            for server in self.servers:
                if server is not self.server_of[who]:
                    # Who wants to join is asked for at once, however often the other server did not answer before.
                    try:
                        joins_through(who, f"!nothing:{server.server_name}", server)
                    except Refused as refusal:
                        assert refusal.status == 404, refusal

    # The end.

    def agrees(self) -> None:
        """All must have the same in the end, servers and clients. If they do not, the test's output tells the story."""
        try:
            self._agree()
        except BaseException:
            self._tell()
            raise

    def _agree(self) -> None:
        self._same_events()
        # What one server took and another soft-failed is part of the state there once somebody has gone on from it.
        for _ in range(2):
            for who in self.anchors:
                self._says(who, "the end")
            held = self._same_events()
        states = until_same(lambda: [described(who, self.room) for who in self.anchors], "the same state")
        until_same(lambda: [self._receipts_of(follower) for follower in self.followers], "the same receipts")
        until(lambda: all(self._messages_of(each) == self._sent_to(each.who) for each in self.followers), "messages")
        taken = {event_id for event_id, is_taken in held.items() if is_taken}
        for follower in self.followers:
            shown = self.server_of[follower.who].shown(self.room)
            assert shown - self._begun_with <= taken
            until_same(lambda: [dict.fromkeys(each) for each in (shown, follower.timeline)], f"shown {follower}")  # noqa: B023
        for follower in self.followers:
            follower.stop()
            assert follower.problem is None, follower.problem
            told = follower.timeline
            assert len(told) == len(set(told)), [each for each in set(told) if told.count(each) > 1]
            assert self._messages_of(follower) == self._sent_to(follower.who)
            # Nothing can tell a client that a part of the state is no more.
            differing = states[0].items() - follower.state.items()
            assert not differing, f"{follower.who} has another state, or {follower.gaps} gaps: {sorted(differing)}"
        for server in self.servers:
            assert server.gate.complaints == []

    def _tell(self) -> None:
        print(f"{self.room}", *self.story, sep="\n")
        for server in self.servers:
            log = [line for line in server.output().splitlines() if self.room in line or "destination=" in line]
            print(f"--- to {server.server_name}", *server.gate.story, *log, sep="\n")

    def _same_events(self) -> dict[str, bool]:
        found: dict[str, bool] = until_same(
            lambda: [self._held_by(server) for server in self.servers], "the same events"
        )[0]
        return found

    def _held_by(self, server: Gated) -> dict[str, bool]:
        held = server.held(self.room)
        return {event_id: is_taken for event_id, is_taken in held.items() if event_id not in self._begun_with}

    def _messages_of(self, follower: Follower) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for sender, number in follower.messages:
            found.setdefault(sender, []).append(number)
        return found

    def _sent_to(self, who: Device) -> dict[str, list[int]]:
        return {sender: list(range(1, n + 1)) for (sender, target), n in self.sent.items() if target == who.user_id}

    def _receipts_of(self, follower: Follower) -> dict[str, str]:
        return {who: follower.receipts.get(who, "") for who in self.read}


def described(who: Actor, room: str) -> dict[tuple[str, str], str]:
    """The state of a room as someone sees it: each part and the event that it is."""
    return {(event["type"], event["state_key"]): event["event_id"] for event in who.whole_state(room)}


def _count(who: Actor, room: str) -> int:
    return len(who.members(room, membership="join"))


def until(holds: Callable[[], bool], what: str) -> None:
    """Servers need a while: ask again until it holds."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"it never came true: {what}"
        time.sleep(PAUSE_S)


def until_same(of_each: Callable[[], Sequence[dict[str, Json] | dict[tuple[str, str], str]]], what: str) -> Json:
    """Ask again until all are the same; gives them."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        found = of_each()
        if all(each == found[0] for each in found):
            return found
        if time.monotonic() > deadline_s:
            pairs = [set(each.items()) for each in found]
            common = set.intersection(*pairs)
            raise AssertionError(f"they never had {what}: {[sorted(each - common) for each in pairs]}")
        time.sleep(PAUSE_S)
