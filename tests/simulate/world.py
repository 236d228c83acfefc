"""A few servers that stop and start, their users, and a network that loses, delays, repeats and splits: from one seed.

Specification of what must come out: server-server API, "PDUs"; once every event has reached every server that is in the
room, all of them have the same state.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from homeserver.core.auth import Rejected
from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft
from homeserver.core.event import Event
from homeserver.core.ids import EventId, UserId, server_name_of
from homeserver.rooms.gaps import Absent, PeerFailed, StateIds
from homeserver.rooms.incoming import RoomOfEvents
from storage.rows import Status
from tests.simulate.servers import Simulated

VERSIONS = ("1", "2", "3", "6", "8", "10", "11", "12")
MOST_LAST_WORDS = 6
CONFLICTS = ("m.room.topic", "m.room.name", "m.room.join_rules", "org.example.thing")


@dataclass
class Weather:
    """How bad the network is."""

    loss: float = 0.15
    longest_delay: int = 12
    repeat: float = 0.15
    longest_repeat: int = 40
    split: float = 0.03
    refusal: float = 0.1
    restart: float = 0.03


@dataclass
class World:
    """What happens, and to whom."""

    seed: int
    servers_count: int = 4
    weather: Weather = field(default_factory=Weather)
    story: list[str] = field(default_factory=list)

    must_know_all: ClassVar[bool] = True
    """Whether every event that is named anywhere exists."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.version = self.random.choice(VERSIONS)
        names = [f"s{number}.example" for number in range(self.servers_count)]
        self.servers = {name: Simulated(name, number, self.version) for number, name in enumerate(names)}
        self.users = [UserId(f"@u{number}:{name}") for name in names for number in range(2)]
        self.time = 0
        self.split: set[str] = set()
        self.mail: list[tuple[int, int, str, str, bytes]] = []
        self._letters = 0
        self.is_fair = False
        self._begin()

    # The beginning: everybody is there.

    def _begin(self) -> None:
        first = next(iter(self.servers.values()))
        creator = self.users[0]
        create = first.create(creator, {})
        room_id = create[0].room_id
        levels: JsonObject = {
            "users": dict.fromkeys(self.moderators(), 50),
            "state_default": 50,
            "events_default": 0,
            "events": {"m.room.topic": 0, "org.example.thing": 0},
        }
        if not first.rules.infinite_creators:
            levels["users"][creator] = 100  # type: ignore[index,call-overload]  # the object above
        told = [
            *first.add(Draft(room_id, "m.room.member", creator, {"membership": "join"}, creator)),
            *first.add(Draft(room_id, "m.room.power_levels", creator, levels, "")),
            *first.add(Draft(room_id, "m.room.join_rules", creator, {"join_rule": "public"}, "")),
        ]
        for server in self.servers.values():
            if server is not first:
                server.begin(create[0].json)
        for user_id in self.users:
            server = self.servers[server_name_of(user_id)]
            if server is not first:
                server.receive(first.name, [event.json for event in told], self.wires(server.name))
            if user_id != creator:
                told += server.add(Draft(room_id, "m.room.member", user_id, {"membership": "join"}, user_id))
            first.receive(
                server.name, [event.json for event in told if event.sender == user_id], self.wires(first.name)
            )
        self.settle(told)

    def moderators(self) -> list[UserId]:
        """Who may do more than others."""
        return self.users[1::2]

    def settle(self, events: Sequence[Event]) -> None:
        """Everybody gets all of these, in order."""
        for server in self.servers.values():
            server.receive(next(iter(self.servers)), [event.json for event in events], self.wires(server.name))

    # The middle: anything.

    def run(self, steps: int) -> None:
        """Let things happen."""
        for _ in range(steps):
            self.time += 1
            for server in self.servers.values():
                server.clock_ms += self.random.randrange(1, 2_000)
            if self.random.random() < self.weather.split:
                self.split = set() if self.split else set(self.random.sample(sorted(self.servers), 2))
                self._tell(f"split: {sorted(self.split)}")
            if self.random.random() < self.weather.restart:
                server = self.random.choice(self.honest())
                server.restart()
                self._tell(f"{server.name} starts anew")
            if self.random.random() < 0.6:
                self._act(self.random.choice(self.users))
            self.deliver()

    def _act(self, user_id: UserId) -> None:
        server = self.servers[server_name_of(user_id)]
        draft = self._draft(server, user_id)
        try:
            events = server.add(draft)
        except Rejected as refusal:
            self._tell(f"{user_id} may not {draft.type} {draft.state_key or ''}: {refusal.reason}")
            return
        for event in events:
            self._tell(f"{user_id} sends {event.event_id} {event.type} {event.state_key or ''} {event.content}")
            self.post(server.name, event.json)

    def _draft(self, server: Simulated, user_id: UserId) -> Draft:
        choose = self.random.choice
        room_id, other = server.room.room_id, choose(self.users)
        kind = self.random.random()
        if kind < 0.3:
            return Draft(room_id, "m.room.message", user_id, {"body": f"{self.time}"})
        if kind < 0.55:
            event_type = choose(CONFLICTS)
            if event_type == "m.room.join_rules":
                return Draft(room_id, event_type, user_id, {"join_rule": choose(("public", "invite"))}, "")
            return Draft(room_id, event_type, user_id, {"value": self.time}, choose(("", "a", "b")))
        if kind < 0.65:
            return self._levels(server, user_id)
        membership = choose(("join", "leave", "ban", "kick", "invite", "unban", "join", "join"))
        if membership in ("join", "leave"):
            return Draft(room_id, "m.room.member", user_id, {"membership": membership, "n": self.time}, user_id)
        content: JsonObject = {"membership": {"kick": "leave", "unban": "leave"}.get(membership, membership)}
        return Draft(room_id, "m.room.member", user_id, content, other)

    def _levels(self, server: Simulated, user_id: UserId) -> Draft:
        event = server.event_at(("m.room.power_levels", ""))
        content: JsonObject = {} if event is None else dict(event.content)
        known = content.get("users")
        users: JsonObject = dict(known) if isinstance(known, dict) else {}
        users[self.random.choice(self.users[1:])] = self.random.choice((0, 25, 50, 75))
        return Draft(server.room.room_id, "m.room.power_levels", user_id, {**content, "users": users}, "")

    def wires(self, asking: str) -> Wires:
        """The other servers, as one of them reaches them."""
        return Wires(self, asking)

    # The network.

    def post(self, origin: str, pdu: bytes) -> None:
        """Send an event to all other servers; some of it gets lost, the rest comes when it comes, or twice."""
        for destination in self.servers:
            if destination == origin or (self.random.random() < self.weather.loss and not self.is_fair):
                continue
            times = [self.random.randrange(1, self.weather.longest_delay)]
            if self.random.random() < self.weather.repeat:
                times.append(self.random.randrange(1, self.weather.longest_repeat))
            for wait in times:
                self._letters += 1
                self.mail.append((self.time + wait, self._letters, origin, destination, pdu))

    def deliver(self) -> None:
        """Bring what is due, also what was sent later first."""
        due = [letter for letter in self.mail if letter[0] <= self.time]
        self.mail = [letter for letter in self.mail if letter[0] > self.time]
        for _, _, origin, destination, pdu in sorted(due):
            if self.is_parted(origin, destination):
                continue
            self.servers[destination].receive(origin, [pdu], self.wires(destination))

    def is_parted(self, one: str, other: str) -> bool:
        """Whether two servers cannot reach each other now."""
        return (one in self.split) != (other in self.split)

    # The end: the network is well, and everybody says something that all hear.

    def end(self) -> list[Simulated]:
        """Let all that was said arrive; gives the servers that are in the room."""
        self.is_fair, self.split = True, set()
        while self.mail:
            self.time += 1
            self.deliver()
        for spoken in range(MOST_LAST_WORDS):
            for server in self.honest():
                server.try_waiting(self.wires(server.name))
            present, known = self.present(), [set(server.rows) for server in self.honest()]
            for server in present:
                self._say(server)
            # The last words of one may bring up what others never heard of; then all have to say something to that.
            everything = {event_id for server in self.honest() for event_id in server.rows}
            said = everything.difference(*known)
            heard = [set(server.rows) - before - said for server, before in zip(self.honest(), known, strict=True)]
            if spoken and not any(heard) and present == self.present():
                break
        return self.present()

    def honest(self) -> list[Simulated]:
        """The servers that keep to the rules."""
        return list(self.servers.values())

    def present(self) -> list[Simulated]:
        """The servers that are in the room, as whoever made it sees it."""
        first = next(iter(self.servers.values()))
        inside = {server_name_of(user_id) for user_id in first.members("join")}
        return [
            server
            for server in self.honest()
            if server.name in inside and any(server_name_of(user) == server.name for user in server.members("join"))
        ]

    def _say(self, server: Simulated) -> None:
        """All users of a server who are in the room say something. Others may take some of them to be out of it."""
        for speaker in [user for user in server.members("join") if server_name_of(user) == server.name]:
            try:
                events = server.add(Draft(server.room.room_id, "m.room.message", speaker, {"body": "the end"}))
            except Rejected:
                continue
            for event in events:
                self._tell(f"{speaker} says {event.event_id} at the end, after {event.prev_events}")
                for other in self.servers.values():
                    if other is not server:
                        other.receive(server.name, [event.json], self.wires(other.name))

    def _tell(self, line: str) -> None:
        self.story.append(f"{self.time}: {line}")


class Wires:
    """Other servers, as one of them reaches them: sometimes not at all."""

    def __init__(self, world: World, asking: str) -> None:
        self._world = world
        self._asking = asking

    def _server(self, name: str) -> Simulated:
        world = self._world
        if world.is_parted(self._asking, name) or (not world.is_fair and world.random.random() < world.weather.refusal):
            raise PeerFailed(f"{name} does not answer", is_passing=True)
        return world.servers[name]

    async def missing_events(
        self, server: str, room: RoomOfEvents, earliest: Sequence[str], latest: Sequence[str], limit: int
    ) -> list[Event]:
        rows = self._server(server).rows
        waiting = deque(
            each
            for event_id in latest
            if EventId(event_id) in rows
            for each in rows[EventId(event_id)].event.prev_events
        )
        found: dict[EventId, Event] = {}
        # A server may give less than it is asked for.
        most = min(limit, self._world.random.choice((0, 1, 3, limit)))
        while waiting and len(found) < most:
            event_id = waiting.popleft()
            row = rows.get(event_id)
            if event_id in earliest or event_id in found or row is None or row.status is Status.REJECTED:
                continue
            found[event_id] = row.event
            waiting += row.event.prev_events
        return [self._world.servers[self._asking].read(event.json) for event in found.values()]

    async def state_ids(self, server: str, room: RoomOfEvents, event_id: str) -> StateIds:
        asked = self._server(server)
        row = asked.rows.get(EventId(event_id))
        if row is None or row.state_root is None:
            raise PeerFailed("the state is not known there")
        state = list(asked.state_at(row.state_root).values())
        return StateIds(state, self._chain(asked, state))

    async def state(self, server: str, room: RoomOfEvents, event_id: str, absent: Absent) -> list[Event]:
        ids = await self.state_ids(server, room, event_id)
        return await self.events(server, room, sorted(await absent({*ids.state, *ids.auth_chain})))

    async def events(self, server: str, room: RoomOfEvents, event_ids: Sequence[str]) -> list[Event]:
        rows = self._server(server).rows
        here = self._world.servers[self._asking]
        return [here.read(rows[EventId(each)].event.json) for each in event_ids if EventId(each) in rows]

    async def event_auth(self, server: str, room: RoomOfEvents, event_id: str) -> list[Event]:
        asked = self._server(server)
        return await self.events(server, room, self._chain(asked, [EventId(event_id)]))

    async def backfill(self, server: str, room: RoomOfEvents, start: Sequence[str], limit: int) -> list[Event]:
        raise PeerFailed("nobody reads back here")

    @staticmethod
    def _chain(server: Simulated, event_ids: Sequence[EventId]) -> list[EventId]:
        found: dict[EventId, None] = {}
        waiting = [
            each
            for event_id in event_ids
            if event_id in server.rows
            for each in server.rows[event_id].event.auth_events
        ]
        while waiting:
            event_id = waiting.pop()
            if event_id not in found and event_id in server.rows:
                found[event_id] = None
                waiting += server.rows[event_id].event.auth_events
        return list(found)
