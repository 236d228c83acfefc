"""The only code that adds events to rooms.

The way in: drafts, or a script that looks at rooms and adds to them; the way out: events that are committed, or a
refusal (MatrixError). When everything is in memory, nothing is awaited and nothing is read between the question and the
queue
of the writer. The heads of the rooms go on at once, so that what comes next builds on it and shares the batch; should
the writer fail, the heads are dropped and loaded anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred

from homeserver.core.auth import Rejected
from homeserver.core.canonical_json import NotCanonical
from homeserver.core.draft import Draft
from homeserver.core.event import BadEvent, Event, EventTooLarge
from homeserver.core.policy import is_exempt
from homeserver.core.signatures import Signer
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.missing import (
    Missing,
    MissingEvents,
    MissingNodes,
    MissingPolicyUsers,
    MissingPositions,
    MissingResolution,
    MissingRoom,
    MissingSignatures,
    MissingState,
)
from homeserver.rooms.plan import Inputs, Plan
from homeserver.rooms.policy_servers import PolicyServers
from homeserver.rooms.recommended import NOBODY_ASKED, policy_in_force
from homeserver.rooms.resolve import Resolver
from homeserver.rooms.room import PolicyUsers, Room
from homeserver.rooms.state import StateKey, StateStore
from homeserver.runtime.clock import Clock
from homeserver.runtime.ring import Ring
from homeserver.runtime.writer import Also, Writer
from homeserver.web.errors import BadJson, Forbidden, MatrixError
from storage import events as event_table
from storage import memberships, partial_rooms
from storage import state_nodes as node_table
from storage.database import Cursor, Database
from storage.rows import Entry, EventRow, StateRow

T = TypeVar("T")
Script = Callable[[Plan], T]
"""Looks at rooms and adds events to them. May run several times; must do nothing else."""

MOST_ROUNDS = 200
"""How often a script may find something missing.

Each round brings what it asked for, so this is never reached in earnest.
"""


class Appender:
    """Adds events. A follower of the ring: it learns there what is committed. Constructed after the event cache."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        state: StateStore,
        events: EventCache,
        writer: Writer,
        ring: Ring,
        signer: Signer,
        clock: Clock,
        policies: PolicyServers,
    ) -> None:
        self._database = database
        self._heads = heads
        self._state = state
        self._events = events
        self._writer = writer
        self._ring = ring
        self._clock = clock
        self._policies = policies
        self._resolver = Resolver(database, state, events)
        self._inputs = Inputs(signer, state, events, heads.cached)
        ring.subscribe(self._published, EventRow)
        writer.on_failure(self._failed)

    @property
    def server_name(self) -> str:
        """Of this server."""
        return self._inputs.signer.server

    async def add(
        self, room_id: str, drafts: Sequence[Draft], *, device: int | None = None, txn_path: str | None = None
    ) -> list[EventRow]:
        """Add events to a room, all of them or none. Returns when they are committed."""

        def script(plan: Plan) -> list[EventRow]:
            room = plan.room(room_id)
            return [room.add(draft, device=device, txn_path=txn_path) for draft in drafts]

        return await self.run(script)

    async def run(self, script: Script[T], also: Sequence[Also] = ()) -> T:
        """Run a script and commit what it added, all of it or nothing. Its answer comes after the commit.

        `also`: small statements for the same transaction.
        """
        answer, committed = await self.queue_script(script, also)
        await committed
        return answer

    async def queue_script(
        self, script: Script[T], also: Sequence[Also] = (), now_ms: int | None = None
    ) -> tuple[T, Deferred[None]]:
        """As `run`, but returns when the events are queued, with what tells of their commit.

        `now_ms`: another time for them.
        """
        absent: frozenset[str] = frozenset()
        recommended = NOBODY_ASKED
        for _ in range(MOST_ROUNDS):
            now = self._clock.now_ms() if now_ms is None else now_ms
            plan = self._plan(now, absent)
            plan.recommending = recommended
            try:
                answer = script(plan)
            except MissingSignatures as missing:
                recommended = await self._policies.heard(recommended, missing)
            except Missing as missing:
                absent |= await self._fetch(missing)
            except (Rejected, BadEvent, NotCanonical) as refusal:
                raise refused(refusal) from refusal
            else:
                return answer, self._queue(plan, also)
        raise RuntimeError("a script never found all that it needed in memory")

    async def look(self, script: Script[T]) -> T:
        """Run a script that only looks, or tries whether something would be allowed; nothing is added."""
        absent: frozenset[str] = frozenset()
        for _ in range(MOST_ROUNDS):
            try:
                return script(self._plan(self._clock.now_ms(), absent))
            except Missing as missing:
                absent |= await self._fetch(missing)
            except (Rejected, BadEvent, NotCanonical) as refusal:
                raise refused(refusal) from refusal
        raise RuntimeError("a script never found all that it needed in memory")

    async def recommended(self, event: Event) -> Event:
        """An event of a local user that is not to be added yet, with the signature of the room's policy server.

        As it is where the room uses none. MatrixError where the signature is refused.
        """
        if is_exempt(event.type, event.state_key):
            return event
        policy = await self.look(lambda plan: policy_in_force(plan.room(event.room_id)))
        return event if policy is None else await self._policies.sign(policy, event)

    def _plan(self, now_ms: int, absent: frozenset[str]) -> Plan:
        writer = self._writer
        plan = Plan(self._inputs, writer.next_position, now_ms, absent)
        plan.next_history_position = writer.next_history_position
        return plan

    def _queue(self, plan: Plan, also: Sequence[Also]) -> Deferred[None]:
        rows = plan.rows
        if not rows and not also:
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        plan.finish()
        first = rows[0].position if rows else 0
        # Raises, with nothing changed, if the log takes nothing now.
        committed = self._writer.append(rows, also)
        assert not rows or rows[0].position == first, "the log has not gone on since the plan was made"
        for planned in plan.rooms.values():
            if planned.rows:
                planned.apply()
                if planned.room.partial is not None:
                    planned.room.partial.placed += len(planned.rows)
                self._state.hold(planned.nodes)
                if planned.is_new:
                    self._heads.put(planned.room)
        history = [row for row in rows if row.is_history]
        if history:
            committed.addCallback(self._settled, history, plan.forgets_members)
        return committed

    def forget_resolutions(self) -> None:
        """Resolve all states anew: some were resolved from states that turned out to be others."""
        self._inputs.resolutions.clear()

    async def _fetch(self, missing: Missing) -> frozenset[str]:
        """Bring what was missing into memory, in one visit. Gives the ids of events that we do not have."""
        if isinstance(missing, MissingRoom):
            if await self._heads.if_known(missing.room_id) is None:
                # Whether this server knows a room is nobody's business who is not in it.
                raise Forbidden("You are not in this room.")
        elif isinstance(missing, MissingState):
            await self._fetch_state(missing.room, missing.keys)
        elif isinstance(missing, MissingEvents):
            found = await self._events.by_ids(missing.event_ids)
            return frozenset(missing.event_ids) - found.keys()
        elif isinstance(missing, MissingPositions):
            await self._events.by_positions(missing.positions)
        elif isinstance(missing, MissingNodes):
            self._state.remember(await self._database.read(node_table.read, missing.room, missing.nodes))
        elif isinstance(missing, MissingPolicyUsers):
            await self._fetch_policy_users(missing.room, missing.server)
        elif isinstance(missing, MissingResolution):
            room = missing.room
            changes = await self._resolver.changes(room.number, room.rules, missing.roots, missing.overlay)
            self._inputs.resolutions.put(missing.after, changes)
        return frozenset()

    async def _fetch_state(self, room: Room, keys: Iterable[StateKey]) -> None:
        wanted = list(keys)
        root = room.state_root
        slots = [self._state.slot(*key) for key in wanted]

        def read(tx: Cursor) -> tuple[list[int | None], list[EventRow], dict[bytes, bytes]]:
            reader = self._state.loader_for(tx, room.number)
            positions = reader.positions(root, slots)
            absent = [each for each in positions if each is not None and not self._events.holds(each)]
            return positions, event_table.by_positions(tx, absent) if absent else [], reader.found

        positions, read_rows, nodes = await self._database.read(read)
        self._state.remember(nodes)
        rows = {row.position: row for row in self._events.remember_all(read_rows)}
        if room.state_root == root:
            for key, position in zip(wanted, positions, strict=True):
                row = None if position is None else rows.get(position) or self._events.cached(position)
                if row is not None or position is None:
                    room.known[key] = row

    async def _fetch_policy_users(self, room: Room, server: str) -> None:
        root, waiting = room.state_root, list(room.uncommitted.values())
        users = PolicyUsers(server, set(await self._database.read(memberships.joined_of_server, room.number, server)))
        if room.partial is not None and await self._database.read(partial_rooms.has_server, room.number, server):
            users.joined.add(f"somebody:{server}")
        if room.state_root == root:
            # What was not committed yet may have been read, or not.
            for row in waiting:
                users.follow(row.members)
            room.policy_users = users

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, EventRow):
                if entry.changes is not None and entry.changes.nodes:
                    self._state.committed(entry.changes.nodes)
                entry.changes = None
                room = self._heads.cached_by_number(entry.room)
                if room is not None and room.queued and entry.position > room.loaded_at - 1:
                    room.queued -= 1
                    room.uncommitted.pop(entry.event.event_id, None)
                    room.trim(entry.position)

    def _settled(self, _: None, rows: Sequence[EventRow], forgets_members: bool) -> None:
        """History is committed; the ring does not tell of it."""
        for row in rows:
            if row.changes is not None and row.changes.nodes:
                self._state.committed(row.changes.nodes)
            if row.event.membership is None or not forgets_members:
                self._events.settled(row)
            row.changes = None
            room = self._heads.cached_by_number(row.room)
            if room is not None:
                room.uncommitted.pop(row.event.event_id, None)

    def _failed(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, EventRow):
                room = self._heads.cached_by_number(entry.room)
                if room is not None:
                    room.uncommitted.pop(entry.event.event_id, None)
                self._heads.drop(entry.room, entry.position)
                if entry.changes is not None and entry.changes.nodes:
                    self._state.abandon(entry.changes.nodes)
            elif isinstance(entry, StateRow):
                self._heads.drop(entry.room, entry.position)


def refused(refusal: Exception) -> MatrixError:
    """The refusal as clients get it. Specification: client-server API, "Standard error response" and "Size limits"."""
    if isinstance(refusal, Rejected):
        return Forbidden(sentence(refusal.reason))
    if isinstance(refusal, EventTooLarge):
        return MatrixError(413, "M_TOO_LARGE", sentence(refusal.reason))
    return BadJson(sentence(str(refusal)))


def sentence(reason: str) -> str:
    """A reason with a capital and a full stop. What starts with a user id or an event type stays as it is."""
    start = reason[:1].upper() + reason[1:] if reason[:1].islower() and "." not in reason.split(" ", 1)[0] else reason
    return start if start.endswith((".", "!", "?")) else start + "."
