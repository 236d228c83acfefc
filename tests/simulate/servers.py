"""A homeserver's rooms in memory: the real plans, placing, tries, caches and resolution; no network, no database.

What the database would be asked for is always in the caches, which are large enough. Whoever asked it all the same
would wait for ever, and `now` would say so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import TypeVar

from homeserver.core import state_trie
from homeserver.core.canonical_json import decode_object
from homeserver.core.draft import Draft
from homeserver.core.event import Event
from homeserver.core.ids import EventId, RoomId, ServerName, UserId
from homeserver.core.room_rules import ROOM_RULES, RoomRules
from homeserver.core.signatures import Signer, SigningKey
from homeserver.core.state_res import Answer, AuthNode, Question, resolve, run
from homeserver.core.state_trie import SlotHasher
from homeserver.rooms.append import Script
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.gaps import GapFiller, PeerFailed, Peers, in_order
from homeserver.rooms.heads import ALWAYS_KNOWN
from homeserver.rooms.incoming import RoomOfEvents, read_pdu
from homeserver.rooms.missing import Missing, MissingEvents, MissingResolution
from homeserver.rooms.outcomes import Batch, place_events, place_filling
from homeserver.rooms.placing import Placer
from homeserver.rooms.plan import Inputs, Plan, RoomPlan
from homeserver.rooms.room import Partial, Room
from homeserver.rooms.settling import Settler, Settling, WholeState
from homeserver.rooms.state import StateKey, StateStore
from homeserver.runtime.ring import Ring
from storage.database import Database
from storage.rows import EventRow, Status

T = TypeVar("T")
LARGE = 10**12
MOST_ROUNDS = 1_000


class NoThreads:
    """There is no reactor."""

    def callFromThread(self, call: Callable[..., object], /, *args: object) -> object:  # the name is Twisted's
        raise AssertionError("nothing runs in threads here")


def now(work: Awaitable[T]) -> T:
    """The result of a coroutine that need not wait."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("the simulation waited for something that is not in memory")


class SeededPlan(Plan):
    """Where ids of events are no hashes, they must not be random either."""

    def new_id(self, rules: RoomRules) -> EventId | None:
        if not rules.event_id_in_pdu:
            return None
        return EventId(f"$n{self.next_position}:{self.inputs.signer.server}")


class Held:
    """What a simulated server has."""

    def __init__(self, server: Simulated) -> None:
        self._server = server

    async def absent(self, event_ids: Collection[EventId]) -> set[EventId]:
        return {each for each in event_ids if each not in self._server.rows}

    async def lacking(self, event_ids: Collection[EventId]) -> set[EventId]:
        rows = self._server.rows
        return {each for each in event_ids if each not in rows or rows[each].state_root is None}

    async def events(self, event_ids: Collection[EventId]) -> list[Event]:
        return [self._server.rows[each].event for each in event_ids if each in self._server.rows]


class Simulated:
    """One server with one room."""

    def __init__(self, name: str, number: int, version: str) -> None:
        self.name = ServerName(name)
        self.rules: RoomRules = ROOM_RULES[version]
        self.rows: dict[EventId, EventRow] = {}
        self.waiting: dict[EventId, tuple[str, Event]] = {}
        """Events whose past could not be had yet, with the server that sent them."""
        self.clock_ms = 1_700_000_000_000
        self.room_id: RoomId | None = None
        self._room: Room | None = None
        self._position, self._history = 0, 0
        database = Database("postgresql://nowhere/nothing", NoThreads())
        self._ring = Ring()
        self._state = StateStore(database, SlotHasher(bytes([number]) * 16), LARGE)
        self._events = EventCache(database, self._ring, LARGE)
        self.signer = Signer(self.name, SigningKey("1", bytes([number + 1]) * 32))
        self._inputs = Inputs(self.signer, self._state, self._events, self._head_of)

    # What its users do.

    def create(self, creator: UserId, content: dict[str, object]) -> list[Event]:
        """Make the room."""
        fields = {**content, "room_version": self.rules.version}
        if self.rules.creator_in_content:
            fields["creator"] = creator
        room_id = None if self.rules.room_id_is_create_hash else RoomId(f"!room:{self.name}")
        draft = Draft(room_id, "m.room.create", creator, fields, "")  # type: ignore[arg-type]  # plain values

        def script(plan: Plan) -> list[EventRow]:
            planned = plan.new_room(1, self.rules, draft)
            self._room, self.room_id = planned.room, planned.room.room_id
            return [planned.rows[0]]

        return [row.event for row in self.run(script)]

    def add(self, *drafts: Draft) -> list[Event]:
        """Add events of its own users; raises what the rules object to."""

        def script(plan: Plan) -> list[EventRow]:
            planned = plan.room(str(self.room_id))
            return [planned.add(draft) for draft in drafts]

        return [row.event for row in self.run(script)]

    def restart(self) -> None:
        """Forget all but what would be on disk: events, states, what waits, and where the room's next event goes."""
        before = self.room
        self._inputs = Inputs(self.signer, self._state, self._events, self._head_of)
        self._room = room = Room(before.number, before.room_id, before.rules)
        room.extremities, room.depth, room.position = before.extremities, before.depth, before.position
        room.state_root, room.recent_roots = before.state_root, [(before.position, before.state_root)]
        room.summary, room.local_joined = before.summary, set(before.local_joined)
        room.waiting_redactions, room.partial = before.waiting_redactions, before.partial
        for key in ALWAYS_KNOWN:
            position = self._state.peek(room.state_root, *key)
            room.known[key] = None if position is None else self._events.cached(position)

    # What other servers send.

    def receive(self, origin: str, pdus: Sequence[bytes], peers: Peers) -> None:
        """Take events as the accepter does: those whose past is here at once, the others after it was fetched."""
        events = [self.read(pdu) for pdu in pdus]
        self.waiting.update({event.event_id: (origin, event) for event in events})
        self.try_waiting(peers)

    def try_waiting(self, peers: Peers) -> None:
        """Take what waits, as far as that can be done now."""
        unplaced = self._place([event for _, event in self.waiting.values()])
        for event in unplaced:
            if event.event_id not in self.waiting:
                continue  # it came with the past of another
            origin = self.waiting[event.event_id][0]
            assert self._room is not None
            room = self.of_events
            earliest = self._room.extremity_ids[:20]
            try:
                filling = now(GapFiller(peers, Held(self)).fill(origin, room, [event], earliest))
            except PeerFailed:
                continue
            batch = self._accept(lambda placer, filling=filling: place_filling(placer, filling))  # type: ignore[misc]
            for each in batch.placed:
                self.waiting.pop(each.row.event.event_id, None)

    def read(self, pdu: bytes) -> Event:
        """An event as it comes over the wire."""
        return read_pdu(decode_object(pdu), self.rules)

    # How it comes into a room of others, without the members.

    def propose(self, draft: Draft) -> Event:
        """An event as it would be added now; raises what the rules object to."""
        return self.look(lambda plan: plan.room(str(self.room_id)).add(draft)).event

    def takes_over(self, join: Event, state: Sequence[bytes], chain: Sequence[bytes]) -> None:
        """Begin with a room at this join, with the state before it as far as it is told."""
        known = [self.read(pdu) for pdu in state]
        create = next(event for event in known if event.type == "m.room.create")
        self._room, self.room_id = Room(1, join.room_id, self.rules), join.room_id
        self._take([*known, *map(self.read, chain)], create)
        # Whoever lets the guest in, or invited them, is known from the start.
        members = [event for event_id in join.auth_events if (event := self.rows[event_id].event).membership]
        before = {event.key: event for event in (*members, *known)}
        root, nodes = self._built(before.values())
        self._state.hold(nodes)
        room = self._room

        def script(plan: Plan) -> EventRow:
            room.state_root = root
            room.known = dict.fromkeys(ALWAYS_KNOWN)
            room.known.update({key: self.rows[event.event_id] for key, event in before.items()})
            planned = plan.rooms[room.room_id] = RoomPlan(plan, room, is_new=True)
            return Placer(planned).add(join, before=root).row

        row = self.run(script)
        assert row.status is Status.ACCEPTED
        self._state.committed(nodes)
        room.partial = Partial(row)

    def completes(self, state: Sequence[EventId], events: Sequence[Event]) -> list[EventId]:
        """Learn the whole state before the join; ids of the events that are judged otherwise by it."""
        room, partial = self.room, self.room.partial
        assert partial is not None
        self._take(events, room.create)
        told = [self.rows[each] for each in state if self.rows[each].status is not Status.REJECTED]
        root, nodes = self._built([row.event for row in told])
        members = {
            row.position: (str(row.event.state_key), str(row.event.membership)) for row in told if row.event.membership
        }
        settling = Settling(partial, WholeState(root, nodes, members), dict(nodes))
        since = [row for row in self.rows.values() if row.position > partial.join.position]
        hidden = [row for row in self.rows.values() if row.position < 0 and row.state_root is not None]

        def step(work: Callable[[Settler], T]) -> T:
            return self.look(lambda plan: work(Settler(plan.room(room.room_id), settling)))

        step(Settler.begin)
        step(lambda settler: settler.go_on(since, hidden))
        step(lambda settler: settler.go_on((), hidden))
        settled = step(lambda settler: settler.finish(self.name))
        self._position += 1
        settled.row.position = self._position
        self._state.committed(settling.nodes)
        settled.apply(room)
        for given in settling.given.values():
            given.row.state_root, given.row.status = given.root, given.status
        self._inputs.resolutions.clear()
        return [row.event.event_id for row, _ in settling.changed]

    @property
    def of_events(self) -> RoomOfEvents:
        """What the room's events are read by."""
        partial = self.room.partial
        followed = None if partial is None else partial.followed
        return RoomOfEvents(self.room.room_id, self.rules, frozenset(() if followed is None else (followed,)))

    def _take(self, events: Sequence[Event], create: Event) -> None:
        """Keep events without their place."""
        room = self.room

        def script(plan: Plan) -> None:
            placer = Placer(plan.rooms.setdefault(room.room_id, RoomPlan(plan, room)))
            placer.create = placer.create or create
            placer.prefetch(events)
            for event in in_order({event.event_id: event for event in (create, *events)}.values(), by_prev=False):
                placer.add_outlier(event)

        self.run(script)

    def _built(self, events: Iterable[Event]) -> tuple[bytes, dict[bytes, bytes]]:
        """The root of a state, and its nodes."""
        return state_trie.build({self._state.slot(*event.key): self.rows[event.event_id].position for event in events})

    # What it knows.

    @property
    def room(self) -> Room:
        assert self._room is not None
        return self._room

    def state(self) -> dict[StateKey, EventId]:
        """The current state."""
        return self.state_at(self.room.state_root)

    def state_at(self, root: bytes) -> dict[StateKey, EventId]:
        """A state, by its root."""
        events = (self._events.cached(position) for _, position in state_trie.items(self._state.load, root))
        found = [row.event for row in events if row is not None]
        return {event.key: event.event_id for event in found}

    def event_at(self, key: StateKey) -> Event | None:
        """One event of the current state."""
        position = self._state.peek(self.room.state_root, *key)
        row = None if position is None else self._events.cached(position)
        return None if row is None else row.event

    def members(self, membership: str) -> list[UserId]:
        """Who has this membership."""
        events = (self.rows[event_id].event for key, event_id in self.state().items() if key[0] == "m.room.member")
        return [UserId(event.key[1]) for event in events if event.membership == membership]

    # The machinery: what the appender does, without waiting.

    def run(self, script: Script[T]) -> T:
        """Run a script, and commit at once."""
        answer, plan = self._planned(script)
        self._commit(plan)
        return answer

    def look(self, script: Script[T]) -> T:
        """Run a script that only looks."""
        return self._planned(script)[0]

    def _planned(self, script: Script[T]) -> tuple[T, Plan]:
        absent: frozenset[str] = frozenset()
        for _ in range(MOST_ROUNDS):
            plan = SeededPlan(self._inputs, self._position + 1, self.clock_ms, absent)
            plan.next_history_position = self._history - 1
            try:
                answer = script(plan)
            except MissingEvents as missing:
                assert not any(EventId(each) in self.rows for each in missing.event_ids)
                absent |= frozenset(missing.event_ids)
            except MissingResolution as missing:
                self._inputs.resolutions.put(missing.after, self._resolve(missing))
            except Missing as missing:
                raise AssertionError("all there is must be in memory") from missing
            else:
                return answer, plan
        raise AssertionError("a script never ended")

    def _place(self, events: Sequence[Event]) -> list[Event]:
        if not events:
            return []
        batch = self._accept(lambda placer: place_events(placer, events))
        for each in batch.placed:
            self.waiting.pop(each.row.event.event_id, None)
        return [gap.event for gap in batch.unplaced]

    def _accept(self, place: Callable[[Placer], Batch]) -> Batch:
        placers: list[Placer] = []

        def script(plan: Plan) -> Batch:
            placer = Placer(plan.room(str(self.room_id)))
            placers[:] = [placer]
            return place(placer)

        batch = self.run(script)
        for given in batch.given:
            given.row.state_root, given.row.status = given.root, given.status
        self._state.committed(placers[0].given_nodes)
        return batch

    def begin(self, create: bytes) -> None:
        """Hear of the room for the first time, by the event that made it."""
        event = self.read(create)

        def script(plan: Plan) -> EventRow:
            self._room, self.room_id = Room(1, event.room_id, self.rules), event.room_id
            planned = plan.rooms[event.room_id] = RoomPlan(plan, self._room, is_new=True)
            return Placer(planned).add(event).row

        assert self.run(script).status is Status.ACCEPTED

    def _commit(self, plan: Plan) -> None:
        plan.finish()
        for planned in plan.rooms.values():
            planned.apply()
            self._state.hold(planned.nodes)
        live = [row for row in plan.rows if not row.is_history]
        self._position += len(live)
        self._history -= len(plan.rows) - len(live)
        self._ring.publish(live)
        for row in plan.rows:
            self.rows[row.event.event_id] = self._events.remember(row)
            if row.changes is not None and row.changes.nodes:
                self._state.committed(row.changes.nodes)
            row.changes = None
            self.room.uncommitted.pop(row.event.event_id, None)
        self.room.queued = 0

    def _resolve(self, missing: MissingResolution) -> dict[StateKey, EventId | None]:
        """State resolution with answers out of memory."""
        by_position = {row.position: row for row in (*self.rows.values(), *missing.overlay.rows.values())}
        by_id = {row.event.event_id: row for row in by_position.values()}

        def load(node_id: bytes) -> bytes:
            return missing.overlay.nodes.get(node_id) or self._state.load(node_id)

        conflicted: dict[StateKey, list[EventId | None]] = {}
        for positions in state_trie.differing(load, missing.roots).values():
            rows = [None if position is None else by_position[position] for position in positions]
            key = next(row.event.key for row in rows if row is not None)
            conflicted[key] = [None if row is None else row.event.event_id for row in rows]

        def answer(question: Question) -> Answer:
            unconflicted: dict[StateKey, EventId] = {}
            for key in question.unconflicted:
                position = state_trie.get(load, missing.roots[0], self._state.slot(*key))
                if position is not None:
                    unconflicted[key] = by_position[position].event.event_id
            asked = {event_id: by_id[event_id] for event_id in question.events}
            citing = {
                cited: sorted(
                    row.event.event_id
                    for row in by_id.values()
                    if row.event.is_state and cited in row.event.auth_events
                )[told:]
                for cited, told in question.cited_by.items()
            }
            return Answer(
                nodes={each: AuthNode(by_id[each].event.auth_events, by_id[each].rank) for each in question.nodes},
                events={event_id: row.event for event_id, row in asked.items()},
                rejected=[event_id for event_id, row in asked.items() if row.status is Status.REJECTED],
                unconflicted=unconflicted,
                cited_by=citing,
            )

        return dict(run(resolve(self.rules, conflicted), answer))

    def _head_of(self, room_id: str) -> Room | None:
        return self._room if self._room is not None and self._room.room_id == room_id else None
