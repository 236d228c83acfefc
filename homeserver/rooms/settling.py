"""What happened in a room while its members were unknown, gone through again with the whole state.

Every event that came after our join gets the state that it would have had, and is judged by that; the room goes on from
where it would be. Nothing of it counts until all of it does: see homeserver.rooms.completion. Works on plans, so it
never waits. Specification: server-server API, "Checks performed on receipt of a PDU".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from homeserver.core import state_trie
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.policy import POLICY, policy_server_of
from homeserver.core.state_trie import EMPTY_ROOT, NodeId
from homeserver.rooms import summaries
from homeserver.rooms.heads import ALWAYS_KNOWN
from homeserver.rooms.judge_remote import Verdict
from homeserver.rooms.placed import GivenState
from homeserver.rooms.placing import Placer
from homeserver.rooms.plan import RoomPlan
from homeserver.rooms.room import Partial, Room
from homeserver.rooms.state import StateKey
from storage.rows import EventRow, MemberChange, RoomChanges, RoomHead, RoomSummary, StateRow, Status


@dataclass(frozen=True, slots=True)
class WholeState:
    """The state before a join, as another server tells it: its root, the nodes of it, and who is a member in it."""

    root: NodeId
    nodes: Mapping[NodeId, bytes]
    members: Mapping[int, tuple[str, str]]
    """Position of the member event → user and membership."""
    server: str = ""
    """Who told it."""
    awaits: Mapping[EventId, str] = field(default_factory=dict)
    """What it lacks since the keys that sign it are not to be had now: event → its sender's server."""


@dataclass(slots=True)
class Settling:
    """How far it has come."""

    partial: Partial
    whole: WholeState
    nodes: dict[NodeId, bytes]
    given: dict[int, GivenState] = field(default_factory=dict)
    """By position: the events that have another state now, or the same one for certain."""
    extremities: tuple[EventRow, ...] = ()
    before: NodeId = EMPTY_ROOT
    """Root of the whole state before the join."""
    now: NodeId = EMPTY_ROOT
    """Root of the room's current state."""
    seen: set[int] = field(default_factory=set)
    """Positions of what was gone through."""
    changed: list[tuple[EventRow, Verdict]] = field(default_factory=list)
    """What is judged otherwise than before."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A room as it is with its whole state. `row` is what goes into the log."""

    row: StateRow
    extremities: tuple[EventRow, ...]
    known: dict[StateKey, EventRow | None]

    def apply(self, room: Room) -> None:
        """It is queued: the head of the room goes on from it."""
        head, summary = self.row.changes.head, self.row.changes.summary
        assert head is not None and summary is not None, "both are always made"
        room.partial = None
        room.extremities, room.depth, room.summary = self.extremities, head.depth, summary
        room.position = self.row.position
        room.changed_state(self.row.position, self.row.room_root)
        room.known, room.auth_sets, room.policy_users = dict(self.known), {}, None
        policy = self.known.get(POLICY)
        room.policy = None if policy is None else policy_server_of(policy.event)
        for change in self.row.members:
            if change.is_local:
                (room.local_joined.add if change.membership == "join" else room.local_joined.discard)(change.user_id)


class Settler(Placer):
    """Goes through the events, some at a time; `settling` carries on from one plan to the next."""

    def __init__(self, room: RoomPlan, settling: Settling) -> None:
        super().__init__(room)
        self._settling = settling
        self._salt = frozenset()
        self.given = settling.given
        room.nodes = settling.nodes

    def begin(self) -> None:
        """Judge the join by the state before it, and begin with it."""
        settling, join = self._settling, self._settling.partial.join
        self._fresh = {}
        root, known = settling.whole.root, settling.partial.before
        if self._lacks_some_of(root, known):
            # What we were told first holds as far as the rules say: nobody can put it out of force by telling another.
            root = self._resolved(frozenset((join.event.event_id, root.hex(), known.hex())), (root, known))
        found = self.find((*join.event.prev_events, *join.event.auth_events))
        auth = [row for event_id in join.event.auth_events if (row := found[event_id]) is not None]
        verdict = self._judged(join.event, auth, (), root, None)
        settling.before = root
        self._settle(join, root, verdict)
        settling.extremities = (join,)
        settling.now = self.root_after(join)
        self._is_done(join, verdict)

    def go_on(self, shown: Sequence[EventRow], hidden: Sequence[EventRow]) -> None:
        """Go through events: those of the log in their order, those that are not shown when one follows them.

        With none of the log: through what is left of the others.
        """
        waiting = {row.event.event_id: row for row in hidden if row.position not in self._settling.seen}
        self.prefetch(row.event for row in (*shown, *waiting.values()))
        for row in shown or tuple(waiting.values()):
            for each in _behind(row, waiting):
                self._go_through(each)

    def finish(self, server_name: str) -> Settled:
        """The room as it is now."""
        settling, room = self._settling, self.room
        self._fresh = {}
        old, now = room.state_root, settling.now
        differences = self._ask(
            lambda load: state_trie.missing_in_diff(load, old, now),
            lambda load: list(state_trie.diff(load, old, now)),
        )
        position = room.plan.next_position
        members, summary = self._changes([(before, after) for _, before, after in differences], position, server_name)
        slots = [room.plan.inputs.state.slot(*key) for key in ALWAYS_KNOWN]
        positions = self._positions_at(now, slots)
        rows = self._rows_at([each for each in positions if each is not None])
        known = {key: None if at is None else rows[at] for key, at in zip(ALWAYS_KNOWN, positions, strict=True)}
        depth = max(row.event.depth for row in settling.extremities)
        head = RoomHead(tuple(row.position for row in settling.extremities), now, depth, position)
        row = StateRow(room.room.number, now, tuple(members), RoomChanges(head, summary=summary))
        return Settled(row, settling.extremities, known)

    # One event.

    def _go_through(self, row: EventRow) -> None:
        settling = self._settling
        if row.position in settling.seen or row.position == settling.partial.join.position:
            return
        self._fresh = {}
        found = self.find((*row.event.prev_events, *row.event.auth_events))
        prev = {event_id: found[event_id] for event_id in row.event.prev_events}
        verdict = Verdict(row.status)
        if self._is_concerned(prev.values(), row):
            auth = [each for event_id in row.event.auth_events if (each := found[event_id]) is not None]
            rows = [each for each in prev.values() if each is not None]
            root = self._root_before_anew(row, prev)
            verdict = self._judged(row.event, auth, rows, root, settling.now)
            self._settle(row, root, verdict)
        # What was accepted without being shown is history.
        is_live = row.position > 0 or row.status is not Status.ACCEPTED
        if verdict.is_accepted and is_live:
            following = set(row.event.prev_events)
            others = (each for each in settling.extremities if each.event.event_id not in following)
            extremities = (row, *others)
            settling.now = self.merged(extremities)
            settling.extremities = extremities
        self._is_done(row, verdict)

    def _is_concerned(self, prev: Iterable[EventRow | None], row: EventRow) -> bool:
        """Whether the state before the event came from that before the join."""
        if any(each is not None and each.position in self.given for each in prev):
            return True
        return row.event.prev_events == (self._settling.partial.followed,)

    def _root_before_anew(self, row: EventRow, prev: Mapping[EventId, EventRow | None]) -> NodeId:
        known = [each for each in prev.values() if each is not None and self.root_before(each) is not None]
        lacking = [event_id for event_id, each in prev.items() if each is None or self.root_before(each) is None]
        if not lacking:
            return self.merged(known)
        if lacking == [self._settling.partial.followed]:
            return self.merged(known, self._settling.before)
        # It was told by another server.
        return self.merged(known, row.state_root)

    def _settle(self, row: EventRow, root: NodeId, verdict: Verdict) -> None:
        self.given[row.position] = GivenState(row, root, verdict.status)
        # A state that was made here is stored with the first event that has it before or after it.
        self.root_after(row)

    def _is_done(self, row: EventRow, verdict: Verdict) -> None:
        """Nothing was missing for this event: what was found out about it stays."""
        settling = self._settling
        settling.nodes.update(self._fresh)
        settling.seen.add(row.position)
        if verdict.status is not row.status:
            settling.changed.append((row, verdict))

    # The whole.

    def _lacks_some_of(self, whole: NodeId, known: NodeId) -> bool:
        """Whether a state has not all that another one has."""
        differences = self._ask(
            lambda load: state_trie.missing_in_diff(load, known, whole),
            lambda load: list(state_trie.diff(load, known, whole)),
        )
        return any(before is not None for _, before, _ in differences)

    def _changes(
        self, differences: Sequence[tuple[int | None, int | None]], position: int, server_name: str
    ) -> tuple[list[MemberChange], RoomSummary]:
        """What the step from what was known to the whole means for the members and the summary."""
        told = self._settling.whole.members
        others = {each for pair in differences for each in pair if each is not None and each not in told}
        rows = self._rows_at(others)
        summary, members = self.room.summary, []
        for before, after in differences:
            user_id, was, now = None, "leave", "leave"
            for at, is_after in ((before, False), (after, True)):
                member = None if at is None else told.get(at) or _member(rows[at].event)
                if member is not None:
                    user_id = member[0]
                    was, now = (was, member[1]) if is_after else (member[1], now)
            if user_id is not None:
                is_local = user_id.partition(":")[2] == server_name
                members.append(MemberChange(user_id, now, position if after is None else after, is_local))
                summary = summaries.with_membership(summary, was, now)
            elif after is not None:
                summary = summaries.with_event(summary, rows[after].event)
            elif before is not None:
                summary = summaries.without(summary, rows[before].event)
        return members, summary

    def _members_lacking(self, root: NodeId, auth: Sequence[EventRow]) -> list[EventRow]:
        """None: all members are known."""
        return []


def _member(event: Event) -> tuple[str, str] | None:
    if event.type != "m.room.member" or event.state_key is None:
        return None
    return event.state_key, event.membership or "leave"


def _behind(row: EventRow, waiting: dict[EventId, EventRow]) -> list[EventRow]:
    """The events that wait and that this one follows, the first ones first, and then itself. They wait no longer."""
    waiting.pop(row.event.event_id, None)
    found: list[EventRow] = []
    stack = [(row, False)]
    while stack:
        each, is_next = stack.pop()
        if is_next:
            found.append(each)
        elif each is row or waiting.pop(each.event.event_id, None) is not None:
            stack.append((each, True))
            stack += [(waiting[event_id], False) for event_id in each.event.prev_events if event_id in waiting]
    return found
