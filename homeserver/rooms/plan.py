"""What a request wants to add to rooms, worked out on what is in memory: built, judged, signed, but not yet queued.

A plan never waits and changes nothing. What it needs and cannot find it names by raising `Missing`; the appender
fetches it and has the same work done again on a new plan. So a decision and the events that follow from it always stand
on one
state.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from homeserver.core import hashes, state_trie
from homeserver.core.auth import PowerLevels, check, needed_auth_keys
from homeserver.core.auth.state import CREATE, POWER_LEVELS
from homeserver.core.draft import Draft, build
from homeserver.core.event import Event
from homeserver.core.ids import EventId, RoomId
from homeserver.core.policy import POLICY, policy_server_of
from homeserver.core.redaction import redacted, takes_effect
from homeserver.core.relations import THREAD, relation_of
from homeserver.core.room_rules import RoomRules
from homeserver.core.signatures import Signer
from homeserver.core.state_res.questions import rank_above
from homeserver.core.state_trie import MissingNode, NodeId
from homeserver.core.unpadded_base64 import encode_base64
from homeserver.rooms import summaries
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.missing import MissingEvents, MissingRoom, MissingState
from homeserver.rooms.resolutions import Resolutions, no_resolutions
from homeserver.rooms.room import MOST_WAITING_REDACTIONS, AuthSet, Room
from homeserver.rooms.state import StateKey, StateStore
from storage.rows import AppliedRedaction, EventRow, MemberChange, NewRoom, RoomChanges, RoomHead, RoomSummary

MOST_PREV_EVENTS: Final = 10
MOST_ALLOWED_TYPES: Final = 50
MOST_REDACTIONS_OF_ONE: Final = 10
_JUDGED_ONE_BY_ONE: Final = frozenset(
    ("m.room.redaction", "m.room.aliases", "m.room.member", "m.room.third_party_invite")
)


class Recommending(Protocol):
    """What policy servers say to events; see homeserver.rooms.recommended."""

    def row_of(self, room: RoomPlan, draft: Draft, event: Event) -> EventRow | None:
        """The place of what the room's policy server signed for this draft; None where nobody need be asked.

        Raises MissingSignatures.
        """
        ...

    def judge(self, room: RoomPlan, event: Event) -> tuple[Event, str | None]:
        """An event of another server, with the signature, and what the policy server has against it.

        Raises MissingSignatures; or Unplaceable where nobody is to be asked now.
        """
        ...

    def want(self, room: RoomPlan, events: Sequence[Event]) -> None:
        """Have the policy server asked for all of these events at once. Raises MissingSignatures."""
        ...

    def asking_nobody(self) -> Recommending:
        """The same, where no other server is to be waited for."""
        ...


@dataclass(slots=True)
class Inputs:
    """What plans work with."""

    signer: Signer
    state: StateStore
    events: EventCache
    head_of: Callable[[str], Room | None]
    resolutions: Resolutions = field(default_factory=no_resolutions)


@dataclass(slots=True)
class Plan:
    """Events for one room or for several, to be committed together. `next_position` is where the log stands."""

    inputs: Inputs
    next_position: int
    now_ms: int
    absent: frozenset[str] = frozenset()
    """Ids of events that we looked for and do not have."""
    rows: list[EventRow] = field(default_factory=list)
    rooms: dict[str, RoomPlan] = field(default_factory=dict)
    next_history_position: int = -1
    forgets_members: bool = False
    """Whether the members among what is history stay in memory no longer than until they are committed."""
    recommending: Recommending | None = None
    """What policy servers said; None for what is only looked at, for which they are not asked."""

    def room(self, room_id: str) -> RoomPlan:
        """A room with the events that this plan has added so far."""
        planned = self.rooms.get(room_id)
        if planned is None:
            room = self.inputs.head_of(room_id)
            if room is None:
                raise MissingRoom(room_id)
            planned = self.rooms[room_id] = RoomPlan(self, room)
        return planned

    def new_room(
        self,
        number: int,
        rules: RoomRules,
        create: Draft,
        *,
        is_published: bool = False,
        alias: str | None = None,
    ) -> RoomPlan:
        """A room that begins with this m.room.create event."""
        event = build(create, rules, (), (), 1, self.now_ms, self.inputs.signer, self.new_id(rules))
        while self.inputs.head_of(event.room_id) is not None:
            # Where the room's id is the hash of this event, the same request in the same millisecond has the same id.
            self.now_ms += 1
            event = build(create, rules, (), (), 1, self.now_ms, self.inputs.signer, self.new_id(rules))
        check(event, {})
        planned = self.rooms[event.room_id] = RoomPlan(self, Room(number, event.room_id, rules), is_new=True)
        row = planned.place(event, AuthSet((), {}))
        assert row.changes is not None
        row.changes.new_room = NewRoom(event.room_id, rules.version, is_published, alias)
        return planned

    def new_id(self, rules: RoomRules) -> EventId | None:
        """An id for an event, in room versions where it is not a hash."""
        if not rules.event_id_in_pdu:
            return None
        return EventId(f"${secrets.token_urlsafe(18)}:{self.inputs.signer.server}")

    def event(self, event_id: str) -> EventRow | None:
        """An event by its id; None if we do not have it."""
        row = self.inputs.events.cached_by_id(event_id)
        if row is None and event_id not in self.absent:
            row = next((row for row in self.rows if row.event.event_id == event_id), None)
            if row is None:
                raise MissingEvents((event_id,))
        return row

    def finish(self) -> None:
        """Give the last event of each room the head that it leaves behind."""
        for planned in self.rooms.values():
            planned.finish()


class RoomPlan:
    """A room as it will be with the events of a plan."""

    __slots__ = (
        "changed",
        "depth",
        "extremities",
        "is_new",
        "nodes",
        "plan",
        "policy",
        "room",
        "rows",
        "state_root",
        "summary",
        "waiting_redactions",
    )

    def __init__(self, plan: Plan, room: Room, *, is_new: bool = False) -> None:
        self.plan = plan
        self.room = room
        self.is_new = is_new
        self.extremities = room.extremities
        self.depth = room.depth
        self.state_root = room.state_root
        self.summary: RoomSummary = room.summary
        self.changed: dict[StateKey, EventRow | None] = {}
        """What the plan has changed in the current state: the events that are there now, None for no event."""
        self.nodes: dict[NodeId, bytes] = {}
        self.rows: list[EventRow] = []
        self.waiting_redactions = room.waiting_redactions
        self.policy = room.policy

    def state(self, type: str, state_key: str = "") -> EventRow | None:
        """The current state event at a key; None if there is none."""
        key = (type, state_key)
        if key in self.changed:
            return self.changed[key]
        try:
            return self.room.known[key]
        except KeyError:
            self.want((key,))
            return self.room.known[key]

    def want(self, keys: Iterable[StateKey]) -> None:
        """Make sure that these state events are known; raises MissingState for all that have to be fetched, at once."""
        room, inputs = self.room, self.plan.inputs
        missing: list[StateKey] = []
        for key in keys:
            if key in room.known or key in self.changed:
                continue
            try:
                position = inputs.state.peek(room.state_root, *key)
            except MissingNode:
                missing.append(key)
                continue
            row = None if position is None else inputs.events.cached(position)
            if position is not None and row is None:
                missing.append(key)
            else:
                room.known[key] = row
        if missing:
            raise MissingState(room, missing)

    def membership(self, user_id: str) -> str | None:
        """The current membership of a user, None if they never had one."""
        row = self.state("m.room.member", user_id)
        return None if row is None else row.event.membership

    def power_levels(self) -> PowerLevels:
        """Who may do what now."""
        create, levels = self.state(*CREATE), self.state(*POWER_LEVELS)
        return PowerLevels.of(
            None if create is None else create.event, None if levels is None else levels.event, self.room.rules
        )

    def add(self, draft: Draft, *, device: int | None = None, txn_path: str | None = None) -> EventRow:
        """Build an event on what is there, judge it, sign it. Raises Rejected, BadEvent or NotCanonical."""
        room, plan = self.room, self.plan
        auth = self._auth_set(draft)
        prev = self.extremities[:MOST_PREV_EVENTS]
        event = build(
            draft,
            room.rules,
            [row.event.event_id for row in prev],
            auth.event_ids,
            self.depth + 1,
            plan.now_ms,
            plan.inputs.signer,
            plan.new_id(room.rules) if room.rules.event_id_in_pdu else None,
            _reference_hashes((*prev, *auth.rows)) if room.rules.references_have_hashes else {},
        )
        if event.is_state:
            check(event, auth.state)
        elif event.type not in auth.allowed_types:
            check(event, auth.state)
            if event.type not in _JUDGED_ONE_BY_ONE and len(auth.allowed_types) < MOST_ALLOWED_TYPES:
                auth.allowed_types.add(event.type)
        if self.policy is not None and plan.recommending is not None:
            row = plan.recommending.row_of(self, draft, event)
            if row is not None:
                row.device, row.txn_path = device, txn_path
                return row
        return self.place(event, auth, device, txn_path)

    def place(self, event: Event, auth: AuthSet, device: int | None = None, txn_path: str | None = None) -> EventRow:
        """Take an event that was judged: what it changes is worked out, and the room goes on from it."""
        plan = self.plan
        row = EventRow(self.room.number, event, self.state_root, device=device, txn_path=txn_path)
        row.position = plan.next_position
        changes = row.changes = RoomChanges(None)
        self.note_relation(row, changes)
        self.note_redaction(row, changes)
        if event.state_key is not None:
            self._change_state(row, changes, auth)
        plan.next_position += 1
        self.depth = event.depth
        self.extremities = (row, *self.extremities[MOST_PREV_EVENTS:])
        self.rows.append(row)
        plan.rows.append(row)
        return row

    def finish(self) -> None:
        """Write down the head that the last event leaves behind. History leaves none."""
        for row in reversed(self.rows):
            if not row.is_history:
                break
        else:
            return
        assert row.changes is not None
        positions = tuple([extremity.position for extremity in self.extremities])
        row.changes.head = RoomHead(positions, self.state_root, self.depth, row.position)
        if self.summary is not self.room.summary or self.is_new:
            row.changes.summary = self.summary

    def apply(self) -> None:
        """The events are queued: the head of the room goes on from them."""
        room = self.room
        room.extremities, room.depth, room.summary = self.extremities, self.depth, self.summary
        room.waiting_redactions = self.waiting_redactions
        room.policy = self.policy
        for row in self.rows:
            room.uncommitted[row.event.event_id] = row
            if not row.is_history:
                room.position = row.position
                room.queued += 1
        for key, now in self.changed.items():
            room.known[key] = now
            if key in (POWER_LEVELS, CREATE):
                room.auth_sets.clear()
            elif key[0] == "m.room.member":
                room.auth_sets.pop(key[1], None)
        for row in self.rows:
            if row.room_root is not None:
                room.changed_state(row.position, row.room_root)
            if row.members and room.policy_users is not None:
                room.policy_users.follow(row.members)
            for change in row.members:
                if change.is_local:
                    if change.membership == "join":
                        room.local_joined.add(change.user_id)
                    else:
                        room.local_joined.discard(change.user_id)

    def _auth_set(self, draft: Draft) -> AuthSet:
        """The state that decides about a draft. For messages it is remembered until it changes."""
        is_plain = draft.state_key is None and not self.changed
        if is_plain:
            known = self.room.auth_sets.get(draft.sender)
            if known is not None:
                return known
        rules = self.room.rules
        keys = needed_auth_keys(draft.type, draft.sender, draft.state_key, draft.content, rules)
        self.want(keys)
        rows = tuple(row for key in keys if (row := self.state(*key)) is not None)
        # The rules ask for the create event in every room version, also where auth_events leaves it out.
        create = self.state(*CREATE)
        state = {row.event.key: row.event for row in (rows if create is None else (create, *rows))}
        found = AuthSet(rows, state)
        if is_plain and draft.type != "m.room.member":
            self.room.auth_sets[draft.sender] = found
        return found

    def _change_state(self, row: EventRow, changes: RoomChanges, auth: AuthSet) -> None:
        event = row.event
        before = self.state(*event.key) if event.type == "m.room.member" else None
        self._update_root(row, changes)
        ranks = [other.rank or 0 for other in auth.rows]
        # From room version 12 on every event stands on the create event without naming it.
        if event.type != "m.room.create" and not ranks:
            ranks = [0]
        row.rank = rank_above(ranks)
        changes.auth = tuple(other.position for other in auth.rows)
        self.changed[event.key] = row
        self.summary = summaries.with_event(self.summary, event)
        if event.type == "m.room.member" and event.state_key is not None:
            membership = event.membership or "leave"
            is_local = event.state_key.partition(":")[2] == self.plan.inputs.signer.server
            row.members = (MemberChange(event.state_key, membership, row.position, is_local),)
            was = (before and before.event.membership) or "leave"
            self.summary = summaries.with_membership(self.summary, was, membership)
        elif event.key == POLICY:
            self.policy = policy_server_of(event)

    def _update_root(self, row: EventRow, changes: RoomChanges) -> None:
        state = self.plan.inputs.state
        key = row.event.key
        try:
            root, nodes = state_trie.update(self._load, self.state_root, {state.slot(*key): row.position})
        except MissingNode:
            raise MissingState(self.room, (key,)) from None
        self.nodes.update(nodes)
        changes.nodes = nodes
        self.state_root = row.room_root = root

    def _load(self, node_id: NodeId) -> bytes:
        node = self.nodes.get(node_id)
        return self.plan.inputs.state.load(node_id) if node is None else node

    def note_relation(self, row: EventRow, changes: RoomChanges) -> None:
        """Note what the event relates to, and the thread that it thereby belongs to."""
        if "m.relates_to" not in row.event.content:
            return
        relation = relation_of(row.event.content)
        if relation is None:
            return
        changes.relates_to = (relation.event_id, relation.rel_type)
        if relation.rel_type == THREAD:
            row.thread = relation.event_id
        else:
            target = self.plan.event(relation.event_id)
            if target is not None and target.room == row.room:
                row.thread = target.thread

    def _await_target(self, redaction: Event, target: EventId, changes: RoomChanges) -> None:
        if len(self.waiting_redactions) < MOST_WAITING_REDACTIONS:
            others = self.waiting_redactions.get(target, ())
            if len(others) < MOST_REDACTIONS_OF_ONE:
                self.waiting_redactions = {**self.waiting_redactions, target: (*others, redaction.event_id)}
                changes.awaits = target

    def note_redaction(self, row: EventRow, changes: RoomChanges, power: PowerLevels | None = None) -> None:
        """Apply a redaction if we have the event that it is for, and its sender may; else it waits for the event.

        `power`: who might do what at the redaction, where that is not now.
        """
        redaction = row.event
        if redaction.redacts is None:
            return
        target = self.plan.event(redaction.redacts)
        if target is None:
            self._await_target(redaction, redaction.redacts, changes)
            return
        if target.room != row.room or target.redacted_by is not None:
            return
        if row.is_history and target.position > 0:
            # What is shown already is redacted by what comes after it.
            return
        if not takes_effect(redaction, target.event, power or self.power_levels()):
            return
        relation = relation_of(target.event.content)
        left = redacted(target.event)
        changes.redaction = AppliedRedaction(target.position, left, None if relation is None else relation.event_id)
        if summaries.is_shown(left) and self.state(*left.key) is target:
            self.summary = summaries.with_event(self.summary, left)
        if left.key == POLICY and self.state(*POLICY) is target:
            self.policy = policy_server_of(left)


def _reference_hashes(rows: Iterable[EventRow]) -> dict[EventId, str]:
    """For room versions 1 and 2, whose events name others together with their hashes."""
    return {
        row.event.event_id: encode_base64(hashes.reference_hash(row.event.to_pdu(), row.event.rules)) for row in rows
    }


def random_room_id(server: str) -> RoomId:
    """A new id for a room of a version whose ids are not hashes."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return RoomId("!" + "".join(secrets.choice(letters) for _ in range(18)) + ":" + server)
