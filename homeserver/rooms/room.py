"""The head of a room: where its next event goes and what decides about it.

Not a cache but the truth, held by `Heads`: it is ahead of the database by the events that wait for the commit. Only the
appender changes it, by taking over a finished `RoomPlan`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from homeserver.core.auth import PowerLevels
from homeserver.core.auth.state import CREATE, POWER_LEVELS
from homeserver.core.event import Event
from homeserver.core.ids import EventId, RoomId, ServerName
from homeserver.core.policy import PolicyServer
from homeserver.core.room_rules import RoomRules
from homeserver.core.state_trie import EMPTY_ROOT, NodeId
from homeserver.rooms.state import StateKey
from storage.rows import EventRow, MemberChange, RoomSummary

MOST_KNOWN = 5_000
"""State events remembered beside those that every decision needs."""
MOST_SENDERS = 2_000
MOST_RECENT_ROOTS = 64
MOST_WAITING_REDACTIONS = 1_000
"""Redactions of events that never come must not fill the memory."""


class AuthSet:
    """What stands behind the messages of one sender, as long as none of it changes."""

    __slots__ = ("allowed_types", "event_ids", "rows", "state")

    def __init__(self, rows: tuple[EventRow, ...], state: dict[StateKey, Event]) -> None:
        self.rows = rows
        self.event_ids: tuple[EventId, ...] = tuple([row.event.event_id for row in rows])
        self.state = state
        self.allowed_types: set[str] = set()
        """Types of message events that the rules let this sender send."""


@dataclass(slots=True)
class PolicyUsers:
    """The users of a policy server who are in the room."""

    server: str
    joined: set[str]

    def follow(self, changes: Iterable[MemberChange]) -> None:
        """Take account of changes in the room."""
        for change in changes:
            if change.user_id.partition(":")[2] == self.server:
                if change.membership == "join":
                    self.joined.add(change.user_id)
                else:
                    self.joined.discard(change.user_id)


@dataclass(slots=True, eq=False)
class Partial:
    """What a room lacks that was joined without its members: the rest of the state before our join."""

    join: EventRow
    placed: int = 0
    """How many events got their place since the head was loaded."""

    @property
    def followed(self) -> EventId | None:
        """The one event that the join follows, if it is one: the state after it is the state before the join."""
        followed = self.join.event.prev_events
        return followed[0] if len(followed) == 1 else None

    @property
    def before(self) -> NodeId:
        """Root of the state before the join, as far as it is known."""
        assert self.join.state_root is not None, "the join has its place"
        return self.join.state_root


class Room:
    """One room that somebody uses.

    `state_root` is the root of the current state, `number` stands for the room in all tables.
    """

    __slots__ = (
        "__weakref__",
        "auth_sets",
        "depth",
        "extremities",
        "known",
        "loaded_at",
        "local_joined",
        "number",
        "partial",
        "policy",
        "policy_users",
        "position",
        "power_now",
        "queued",
        "recent_roots",
        "room_id",
        "rules",
        "state_root",
        "summary",
        "uncommitted",
        "waiting_redactions",
    )

    def __init__(self, number: int, room_id: RoomId, rules: RoomRules) -> None:
        self.number = number
        self.room_id = room_id
        self.rules = rules
        self.extremities: tuple[EventRow, ...] = ()
        """The forward extremities, newest first."""
        self.depth = 0
        self.position = 0
        """Of the newest event."""
        self.state_root: NodeId = EMPTY_ROOT
        self.recent_roots: list[tuple[int, NodeId]] = [(0, EMPTY_ROOT)]
        """Positions at which the current state last changed, and its roots from there on, oldest first."""
        self.summary = RoomSummary()
        self.local_joined: set[str] = set()
        """The users of this server who are in the room."""
        self.known: dict[StateKey, EventRow | None] = {}
        """Current state events that were looked at; None where the state is known to have none."""
        self.power_now: tuple[Event, Event | None, PowerLevels] | None = None
        """What `power` gave last, and of which events."""
        self.policy: PolicyServer | None = None
        """What m.room.policy names. It counts only where somebody of that server is in the room."""
        self.policy_users: PolicyUsers | None = None
        """None until somebody asks."""
        self.auth_sets: dict[str, AuthSet] = {}
        self.loaded_at = 0
        """Where the log stood when the head was loaded."""
        self.queued = 0
        """Events that wait for their commit."""
        self.uncommitted: dict[str, EventRow] = {}
        """All that waits for its commit, by event id, also what is history."""
        self.waiting_redactions: Mapping[str, tuple[str, ...]] = {}
        """Ids of events that we do not have → ids of the redactions that came before them."""
        self.partial: Partial | None = None
        """There where the state lacks members that we do not know yet."""

    @property
    def create(self) -> Event:
        """The event that made the room. Always known."""
        row = self.known[CREATE]
        assert row is not None, "a head is never made without the create event"
        return row.event

    @property
    def power(self) -> PowerLevels:
        """Who may do what."""
        create, row = self.create, self.known.get(POWER_LEVELS)
        levels = None if row is None else row.event
        made = self.power_now
        if made is None or made[0] is not create or made[1] is not levels:
            made = self.power_now = (create, levels, PowerLevels.of(create, levels, self.rules))
        return made[2]

    @property
    def joined_members(self) -> int:
        """How many are in the room."""
        return self.summary.joined_members

    @property
    def invited_members(self) -> int:
        """How many are invited."""
        return self.summary.invited_members

    @property
    def has_name(self) -> bool:
        """Whether clients need no members to name the room.

        Specification: client-server API, "Calculating the display name".
        """
        return self.summary.name is not None or self.summary.canonical_alias is not None

    @property
    def join_rule(self) -> str:
        """How one gets into the room."""
        return self.summary.join_rule or "invite"

    @property
    def history_visibility(self) -> str:
        """Who may see what is sent now. Specification: client-server API, "Room history visibility"."""
        return self.summary.history_visibility or "shared"

    @property
    def extremity_ids(self) -> list[EventId]:
        """Event ids of the forward extremities."""
        return [row.event.event_id for row in self.extremities]

    @property
    def committed_root(self) -> NodeId:
        """Root of the current state without what waits for its commit: that is for nobody to read yet."""
        waiting = next((row.position for row in self.uncommitted.values() if row.position > 0), None)
        if waiting is None:
            return self.state_root
        known = self.recent_roots
        return next((root for changed, root in reversed(known) if changed < waiting), known[0][1])

    def is_ours_alone(self, server_name: ServerName) -> bool:
        """Whether nobody of another server is in the room."""
        return self.partial is None and self.summary.joined_members == len(self.local_joined)

    def learn(self, keys: Iterable[StateKey], rows: dict[StateKey, EventRow]) -> None:
        """Remember what the current state has at these keys."""
        for key in keys:
            self.known[key] = rows.get(key)

    def changed_state(self, position: int, root: NodeId) -> None:
        """The current state has this root from this position on."""
        self.state_root = root
        self.recent_roots.append((position, root))
        if len(self.recent_roots) > MOST_RECENT_ROOTS:
            del self.recent_roots[: MOST_RECENT_ROOTS // 2]

    def trim(self, committed: int) -> None:
        """Forget state events that were looked at long ago, if there are too many. Those not committed yet stay."""
        if len(self.known) > MOST_KNOWN:
            for key, row in list(self.known.items())[: MOST_KNOWN // 2]:
                if key[1] and (row is None or row.position <= committed):
                    del self.known[key]
        if len(self.auth_sets) > MOST_SENDERS:
            self.auth_sets.clear()
