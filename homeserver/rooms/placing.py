"""Gives events of other servers their place in a room: the state before them, the verdict, and what they change.

Works on a plan, so it never waits: what is not in memory is named by raising `Missing`, what this server does not have
at all by raising `Unplaceable`. Specification: server-server API, "PDUs"; rooms/v2, "State resolution".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from homeserver.core import state_trie
from homeserver.core.auth import PowerLevels
from homeserver.core.auth.selection import needed_auth_keys_of
from homeserver.core.auth.state import CREATE, POWER_LEVELS
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.policy import POLICY, policy_server_of
from homeserver.core.redaction import redacted, takes_effect
from homeserver.core.state_res import rank_above
from homeserver.core.state_trie import EMPTY_ROOT, NodeId
from homeserver.rooms import judge_remote, state_changes
from homeserver.rooms.judge_remote import Verdict
from homeserver.rooms.looking_up import LookUps
from homeserver.rooms.missing import MissingResolution, Unplaceable
from homeserver.rooms.placed import GivenEdges, GivenState, Placed
from homeserver.rooms.plan import RoomPlan
from homeserver.rooms.room import AuthSet
from homeserver.rooms.state import StateKey
from storage.rows import EventRow, RoomChanges, Status


class Placer(LookUps):
    """Places events in one room of a plan."""

    def __init__(self, room: RoomPlan, *, look_up_all: bool = True) -> None:
        super().__init__(room, look_up_all=look_up_all)
        create = room.room.known.get(CREATE)
        self.create = None if create is None else create.event
        self.given: dict[int, GivenState] = {}
        """By position."""
        self.given_nodes: dict[NodeId, bytes] = {}
        self.given_found: list[str] = []
        self.given_edges: dict[int, GivenEdges] = {}
        """By position."""
        # What is resolved while members are unknown does not hold once they are known.
        self._salt = frozenset() if room.room.partial is None else frozenset((f"partial {room.room.number}",))

    def add(self, event: Event, *, is_history: bool = False, before: NodeId | None = None) -> Placed:
        """Place an event. `before`: root of the state before it, where it does not follow from what we have."""
        self._fresh = {}
        found = self.find((event.event_id, *event.prev_events, *event.auth_events))
        known = found[event.event_id]
        if known is not None and known.room != self.room.room.number:
            # Where senders choose the ids, one may choose that of an event of another room.
            raise Unplaceable(event, (), ())
        if known is not None and self.root_before(known) is not None:
            return Placed(known, Verdict(known.status), is_new=False)
        prev = {event_id: found[event_id] for event_id in event.prev_events}
        lacking = [each for each, row in prev.items() if row is None or self.root_before(row) is None]
        absent = [event_id for event_id in event.auth_events if found[event_id] is None]
        partial = None if is_history else self.room.room.partial
        if partial is not None and before is None and lacking == [partial.followed]:
            before = partial.before
        if absent or (lacking and before is None):
            raise Unplaceable(event, lacking, absent)
        auth = [row for event_id in event.auth_events if (row := found[event_id]) is not None]
        rows = [row for row in prev.values() if row is not None]
        root = self._state_before([row for row in rows if self.root_before(row) is not None], before)
        if partial is not None:
            root = self._with_members(root, auth)
        verdict = self._judged(event, auth, rows, root, None if is_history else self.room.state_root)
        if known is not None:
            self._give_edges(known, auth)
            return self._give_state(known, root, verdict)
        if self.room.policy is not None and verdict.is_accepted and not is_history:
            event, verdict = self._recommended(event)
        redaction = self._early_redaction(event)
        if redaction is not None:
            event = redacted(event)
        if verdict.is_accepted and not is_history and root == self.room.state_root and self._is_next(event):
            row = self._append(event, auth)
        else:
            row = self._place(event, auth, root, verdict, is_history=is_history)
        self._was_awaited(row, redaction)
        assert row.changes is not None
        row.changes.missing = tuple(lacking)
        if is_history or row.is_history:
            row.changes.found = (event.event_id,)
        return Placed(row, verdict)

    def add_outlier(self, event: Event) -> Placed:
        """Take an event without its place, as a part of some state or of an auth chain."""
        self._fresh = {}
        found = self.find((event.event_id, *event.auth_events))
        known = found[event.event_id]
        if known is not None and known.room != self.room.room.number:
            raise Unplaceable(event, (), ())
        absent = [event_id for event_id in event.auth_events if found[event_id] is None]
        auth = [row for event_id in event.auth_events if (row := found[event_id]) is not None]
        if known is not None:
            if not absent:
                self._give_edges(known, auth)
            return Placed(known, Verdict(known.status), is_new=False)
        if absent:
            raise Unplaceable(event, (), absent)
        if event.type == "m.room.create" and self.create is None:
            self.create = event
        verdict = self._judged_alone(event, auth)
        redaction = self._early_redaction(event)
        if redaction is not None:
            event = redacted(event)
        row = EventRow(self.room.room.number, event, None, verdict.status, is_history=True)
        self._enter(row, RoomChanges(None), auth)
        self._was_awaited(row, redaction)
        return Placed(row, verdict)

    def root_before(self, row: EventRow) -> NodeId | None:
        """Root of the state before an event; None if it is not known."""
        given = self.given.get(row.position)
        return row.state_root if given is None else given.root

    def root_after(self, row: EventRow) -> NodeId:
        """Root of the state after an event."""
        before, given = self.root_before(row), self.given.get(row.position)
        assert before is not None, "asked only for events that have a place"
        status = row.status if given is None else given.status
        if not row.event.is_state or status is Status.REJECTED:
            return before
        return self._updated(before, {row.event.key: row.position})

    # What stands before an event, and the judgement.

    def _state_before(self, prev: Sequence[EventRow], claimed: NodeId | None) -> NodeId:
        if claimed is not None:
            # What a server claims is resolved with what we know: nobody can put the known state out of force by it.
            return self.merged(prev, claimed)
        if not prev:
            return EMPTY_ROOT
        if (*prev,) == self.room.extremities or {row.position for row in prev} == {
            row.position for row in self.room.extremities
        }:
            return self.room.state_root
        return self.merged(prev)

    def merged(self, rows: Sequence[EventRow], claimed: NodeId | None = None) -> NodeId:
        """Root of the state after several events, and of one more state that is only claimed."""
        roots = {self.root_after(row) for row in rows}
        after = self._salt.union(row.event.event_id for row in rows)
        if claimed is not None:
            roots.add(claimed)
            after |= {claimed.hex()}
        return self._resolved(after, roots)

    def _resolved(self, after: frozenset[str], roots: Iterable[NodeId]) -> NodeId:
        distinct = tuple(sorted(roots))
        if len(distinct) == 1:
            return distinct[0]
        changes = self.room.plan.inputs.resolutions.get(after)
        if changes is None:
            raise MissingResolution(self.room.room, after, distinct, self._overlay())
        ids = [event_id for event_id in changes.values() if event_id is not None]
        found = self.find(ids)
        wanted: dict[StateKey, int | None] = {}
        for key, event_id in changes.items():
            row = None if event_id is None else found[event_id]
            wanted[key] = None if row is None else row.position
        return self._updated(distinct[0], wanted)

    def _judged(
        self, event: Event, auth: Sequence[EventRow], prev: Sequence[EventRow], root: NodeId, now: NodeId | None
    ) -> Verdict:
        number = self.room.room.number
        if any(row.room != number for row in prev):
            return Verdict(Status.REJECTED, judge_remote.FORMAT, "prev_events has an event of another room")
        if event.type == "m.room.create" and self.create is not None and self.create.event_id != event.event_id:
            return Verdict(Status.REJECTED, judge_remote.STATE_BEFORE, "the room has another m.room.create event")
        keys = [*needed_auth_keys_of(event), CREATE]
        before = self._events_at(root, keys)
        if now is None:
            current = None
        else:
            current = dict(before) if now == root else self._events_at(now, keys)
        if current is not None and now is not None and self.room.room.partial is not None:
            current.update((row.event.key, row.event) for row in self._members_lacking(now, auth))
        rejected = {row.event.event_id for row in auth if row.status is Status.REJECTED}
        return judge_remote.judge(event, [row.event for row in auth], rejected, self.create, before, current)

    def _with_members(self, root: NodeId, auth: Sequence[EventRow]) -> NodeId:
        """A state of which not all members are known, with those that an event leans on."""
        lacking = {row.event.key: row.position for row in self._members_lacking(root, auth)}
        return self._updated(root, lacking) if lacking else root

    def _members_lacking(self, root: NodeId, auth: Sequence[EventRow]) -> list[EventRow]:
        """The members that an event leans on, and of whom a state that lacks members has nothing."""
        members = [row for row in auth if row.event.type == "m.room.member" and row.status is Status.ACCEPTED]
        slots = [self.room.plan.inputs.state.slot(*row.event.key) for row in members]
        positions = self._positions_at(root, slots)
        return [row for row, position in zip(members, positions, strict=True) if position is None]

    def _judged_alone(self, event: Event, auth: Sequence[EventRow]) -> Verdict:
        if event.type == "m.room.create" and self.create is not None and self.create.event_id != event.event_id:
            return Verdict(Status.REJECTED, judge_remote.AUTH_EVENTS, "the room has another m.room.create event")
        rejected = {row.event.event_id for row in auth if row.status is Status.REJECTED}
        return judge_remote.judge_by_auth_events(event, [row.event for row in auth], rejected, self.create)

    def _recommended(self, event: Event) -> tuple[Event, Verdict]:
        recommending, objection = self.room.plan.recommending, None
        if recommending is not None:
            event, objection = recommending.judge(self.room, event)
        if objection is None:
            return event, judge_remote.ACCEPTED
        return event, Verdict(Status.SOFT_FAILED, judge_remote.POLICY_SERVER, objection)

    # Redactions that came before what they redact.

    def _early_redaction(self, event: Event) -> EventRow | None:
        """A redaction of the event that we have already, and that takes effect."""
        waiting = self.room.waiting_redactions.get(event.event_id)
        if waiting is None:
            return None
        for row in self.find(map(EventId, waiting)).values():
            root = None if row is None else self.root_before(row)
            if row is not None and root is not None and takes_effect(row.event, event, self._power_at(root)):
                return row
        return None

    def _power_at(self, root: NodeId) -> PowerLevels:
        state = self._events_at(root, (CREATE, POWER_LEVELS))
        return PowerLevels.of(state.get(CREATE), state.get(POWER_LEVELS), self.room.room.rules)

    def _was_awaited(self, row: EventRow, redaction: EventRow | None) -> None:
        room, event_id = self.room, row.event.event_id
        if event_id in room.waiting_redactions:
            assert row.changes is not None
            row.changes.was_awaited = True
            room.waiting_redactions = {key: ids for key, ids in room.waiting_redactions.items() if key != event_id}
        if redaction is not None:
            row.redacted_by = redaction.position

    # The place.

    def _is_next(self, event: Event) -> bool:
        """Whether the event follows all that is there, so that the room goes on from it alone."""
        following = set(event.prev_events)
        return following.issuperset([row.event.event_id for row in self.room.extremities])

    def _append(self, event: Event, auth: Sequence[EventRow]) -> EventRow:
        """The usual case: the event comes after everything, as one of our own would."""
        room = self.room
        row = room.place(event, AuthSet(tuple(auth), {}))
        room.extremities = (row,)
        self._know(row)
        return row

    def _place(
        self, event: Event, auth: Sequence[EventRow], root: NodeId, verdict: Verdict, *, is_history: bool
    ) -> EventRow:
        is_live = verdict.is_accepted and not is_history
        row = EventRow(self.room.room.number, event, root, verdict.status, is_history=not is_live)
        changes = RoomChanges(None)
        self._enter(row, changes, auth)
        if verdict.is_accepted:
            self.room.note_relation(row, changes)
        # A state that was made here is stored with the first event that has it before or after it.
        self.root_after(row)
        if is_live:
            self._go_on(row, changes)
        if verdict.is_accepted and event.redacts is not None:
            self.room.note_redaction(row, changes, self._power_at(root) if is_history else None)
        self.room.nodes.update(self._fresh)
        changes.nodes = {**self._fresh, **self.given_nodes}
        self.given_nodes = {}
        return row

    def _go_on(self, row: EventRow, changes: RoomChanges) -> None:
        """The event becomes a forward extremity in place of those that it follows."""
        room = self.room
        following = set(row.event.prev_events)
        extremities = (row, *(each for each in room.extremities if each.event.event_id not in following))
        now = self.merged(extremities)
        if now != room.state_root:
            old = room.state_root
            differences = self._ask(
                lambda load: state_trie.missing_in_diff(load, old, now),
                lambda load: list(state_trie.diff(load, old, now)),
            )
            positions = {each for _, before, after in differences for each in (before, after) if each is not None}
            rows = self._rows_at(positions)
            changed = [
                (None if before is None else rows[before], None if after is None else rows[after])
                for _, before, after in differences
            ]
            change = state_changes.of(changed, room.summary, room.plan.inputs.signer.server, row.position)
            row.members, row.room_root = change.members, now
            room.summary, room.state_root = change.summary, now
            room.changed.update(change.events)
            if POLICY in change.events:
                policy = change.events[POLICY]
                room.policy = None if policy is None else policy_server_of(policy.event)
        room.extremities = extremities
        room.depth = max(each.event.depth for each in extremities)

    def _give_state(self, row: EventRow, root: NodeId, verdict: Verdict) -> Placed:
        """An event that we have without its state gets it."""
        given = self.given[row.position] = GivenState(row, root, max(row.status, verdict.status))
        self.root_after(row)
        self.room.nodes.update(self._fresh)
        self.given_nodes.update(self._fresh)
        self.given_found.append(row.event.event_id)
        return Placed(row, Verdict(given.status, verdict.rule, verdict.reason))

    def _give_edges(self, row: EventRow, auth: Sequence[EventRow]) -> None:
        """A membership that came before its room gets its place in the graph of auth events, and is judged by them."""
        if row.event.is_state and row.rank is None and row.position not in self.given_edges:
            status = max(row.status, self._judged_alone(row.event, auth).status)
            positions = tuple(other.position for other in auth)
            self.given_edges[row.position] = GivenEdges(row, positions, self._rank_above(row.event, auth), status)

    def _rank_above(self, event: Event, auth: Sequence[EventRow]) -> int:
        given = self.given_edges
        ranks = [given[other.position].rank if other.position in given else other.rank or 0 for other in auth]
        # From room version 12 on every event stands on the create event without naming it.
        return rank_above(ranks or ([] if event.type == "m.room.create" else [0]))

    def _enter(self, row: EventRow, changes: RoomChanges, auth: Sequence[EventRow]) -> None:
        """The event takes its position, and its place in the graph of auth events."""
        plan = self.room.plan
        if row.is_history:
            row.position = plan.next_history_position
            plan.next_history_position -= 1
        else:
            row.position = plan.next_position
            plan.next_position += 1
        row.changes = changes
        if row.event.is_state:
            row.rank = self._rank_above(row.event, auth)
            changes.auth = tuple(other.position for other in auth)
        self.room.rows.append(row)
        plan.rows.append(row)
        self._know(row)
