"""What the log is made of: one class for each kind of entry.

An entry gets its position from the writer of the log, just before it is written; after that it does not change.
Followers get the same objects from the ring. Entries with `durable = False` live in the ring only.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Final

import msgspec

from homeserver.core.event import Event
from homeserver.core.relations import RELATES_TO


class Status(IntEnum):
    """What we decided about an event."""

    ACCEPTED = 0
    SOFT_FAILED = 1
    REJECTED = 2


@dataclass(slots=True, eq=False)
class Entry:
    """A place in the log. `position` is 0 until the writer has given one."""

    durable: ClassVar[bool] = True
    position: int = field(default=0, init=False)

    @property
    def kinds(self) -> frozenset[type]:
        """What it is to those who follow the log: its class, and for events what of the classes below holds for it."""
        return frozenset((type(self),))

    @property
    def weight_bytes(self) -> int:
        """About what the entry takes in memory."""
        return 300


class SentHere:
    """A kind of entry: an event that a device of this server has sent."""


class TakesBack:
    """A kind of entry: an event that redacts another one."""


class ChangesMembers:
    """A kind of entry: memberships of a room are others from it on."""


class ChangesState:
    """A kind of entry: a state event, or another state without an event."""


class Relates:
    """A kind of entry: an event with a relation to another one."""


@dataclass(frozen=True, slots=True)
class MemberChange:
    """The current membership of a user in the event's room changed. `position` is that of the member event."""

    user_id: str
    membership: str
    position: int
    is_local: bool


class RoomHead(msgspec.Struct, frozen=True):
    """Where the next event of a room goes. A row of room_heads."""

    extremities: tuple[int, ...]
    state_root: bytes
    depth: int
    position: int


@dataclass(frozen=True, slots=True)
class RoomSummary:
    """What lists of rooms show. A row of room_summaries."""

    name: str | None = None
    topic: str | None = None
    avatar_url: str | None = None
    canonical_alias: str | None = None
    join_rule: str | None = None
    history_visibility: str | None = None
    guest_access: str | None = None
    room_type: str | None = None
    encryption: str | None = None
    joined_members: int = 0
    invited_members: int = 0


@dataclass(frozen=True, slots=True)
class NewRoom:
    """A room that begins with this event. `alias` is written for it, by its creator, in the same transaction."""

    room_id: str
    version: str
    is_published: bool = False
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class AppliedRedaction:
    """An event that is replaced by its redacted form. `relates_to` is the event that it related to until now."""

    position: int
    event: Event
    relates_to: str | None


@dataclass(slots=True, eq=False)
class RoomChanges:
    """What is written together with an event beside its own row. Of heads and summaries the last of a batch counts."""

    head: RoomHead | None
    nodes: dict[bytes, bytes] | None = None
    """New nodes of the state trie, by id."""
    auth: tuple[int, ...] | None = None
    """Positions of the auth events; for state events only. Their `rank` goes with it."""
    relates_to: tuple[str, str] | None = None
    """Event id and rel_type."""
    redaction: AppliedRedaction | None = None
    summary: RoomSummary | None = None
    new_room: NewRoom | None = None
    missing: tuple[str, ...] = ()
    """Ids of events that this one follows and that we do not have: there our history ends."""
    found: tuple[str, ...] = ()
    """Ids of events at which our history does not end any more."""
    awaits: str | None = None
    """Id of the event that this one redacts, and that we do not have."""
    was_awaited: bool = False
    """Redactions of this event came before it."""

    @property
    def is_head_alone(self) -> bool:
        """Whether nothing but the head of the room, or not even that, is written."""
        return not (
            self.nodes
            or self.auth is not None
            or self.relates_to is not None
            or self.redaction is not None
            or self.summary is not None
            or self.new_room is not None
            or self.missing
            or self.found
            or self.awaits is not None
            or self.was_awaited
        )


@dataclass(slots=True, eq=False, weakref_slot=True)
class EventRow(Entry):
    """A room event and what we decided about it."""

    room: int
    event: Event
    state_root: bytes | None
    """Root of the state before the event; None where it is not known."""
    status: Status = Status.ACCEPTED
    thread: str | None = None
    device: int | None = None
    """The device that sent it, with `txn_path`, the end of the path it used (`send/m.room.message/txn1`)."""
    txn_path: str | None = None
    redacted_by: int | None = None
    rank: int | None = None
    """Of state events: the length of the longest way down their auth events, see homeserver.core.state_res."""
    room_root: bytes | None = None
    """Root of the room's current state from this event on, where the event changed it. Goes to state_history."""
    is_history: bool = False
    """Fetched as history or as part of a state: has a negative position and is not shown to live readers."""
    client_json: bytes | None = None
    """The event as clients get it, without `unsigned` and `room_id`; made at the first use: core.client_format."""
    unsigned_json: bytes | None = None
    """What of `unsigned` is the same for every reader; made at the first use: homeserver.rooms.client_events."""
    replaces: int | None = None
    """Position of the state event that this one replaced; known together with `unsigned_json`."""
    prev_content_json: bytes = b""
    """The content of that one, as a member of `unsigned` for those who may see it; made with `unsigned_json`."""
    members: tuple[MemberChange, ...] = ()
    """How it changed the memberships of its room. Filled for entries of the ring, not for what is read from tables."""
    changes: RoomChanges | None = None
    """What is written together with it; dropped once it is published."""

    @property
    def kinds(self) -> frozenset[type]:
        """What it is to those who follow the log."""
        event = self.event
        if event.redacts is None and event.state_key is None and RELATES_TO not in event.content and not self.members:
            return _MESSAGE if self.device is None else _MESSAGE_SENT_HERE
        holds = {
            SentHere: self.device is not None,
            TakesBack: event.redacts is not None,
            ChangesMembers: bool(self.members),
            ChangesState: event.state_key is not None,
            Relates: RELATES_TO in event.content,
        }
        return _MESSAGE.union(kind for kind, does in holds.items() if does)

    @property
    def txn_id(self) -> str | None:
        """The transaction id that the sending device chose."""
        return None if self.txn_path is None else self.txn_path.rsplit("/", 1)[1]

    @property
    def weight_bytes(self) -> int:
        """About what the entry takes in memory: as bytes, decoded, and as clients get it."""
        return 500 + 3 * len(self.event.json)


_MESSAGE: Final[frozenset[type]] = frozenset((EventRow,))
_MESSAGE_SENT_HERE: Final[frozenset[type]] = frozenset((EventRow, SentHere))


@dataclass(slots=True, eq=False)
class StateRow(Entry):
    """The current state of a room became another one without an event: the rest of its state came.

    `members`: whose membership it is that is another one now.
    """

    room: int
    room_root: bytes
    members: tuple[MemberChange, ...]
    changes: RoomChanges
    status: ClassVar[Status] = Status.ACCEPTED
    is_history: ClassVar[bool] = False

    @property
    def kinds(self) -> frozenset[type]:
        """What it is to those who follow the log."""
        return frozenset((StateRow, ChangesState, ChangesMembers))

    @property
    def weight_bytes(self) -> int:
        """About what the entry takes in memory."""
        return 500 + 200 * len(self.members)


@dataclass(slots=True, eq=False)
class ReceiptRow(Entry):
    """A read receipt. `thread` is '' (unthreaded), 'main', or the root of a thread."""

    room: int
    user_id: str
    type: str
    thread: str
    event_id: str
    event_position: int
    ts: int


@dataclass(slots=True, eq=False)
class AccountDataRow(Entry):
    """Account data of a user; `room_id` is '' for what belongs to no room. `json` is the content."""

    user_id: str
    room_id: str
    type: str
    json: bytes

    @property
    def weight_bytes(self) -> int:
        """About what the entry takes in memory."""
        return 300 + len(self.json)


@dataclass(slots=True, eq=False)
class ToDeviceRow(Entry):
    """A message for one device, as `{"content":…,"sender":…,"type":…}`."""

    user_id: str
    device: int
    json: bytes

    @property
    def weight_bytes(self) -> int:
        """About what the entry takes in memory."""
        return 300 + len(self.json)


@dataclass(slots=True, eq=False)
class RelayRow(Entry):
    """An event of another server, at an earlier position, that this one is to send on to the room's servers.

    Such as the join of a user who came in through us. Specification: server-server API, "Joining Rooms".
    """

    room: int
    event_position: int


@dataclass(slots=True, eq=False)
class OutboundMessageRow(Entry):
    """Messages to devices of another server's users. `json` is the EDU, as that server gets it."""

    server_name: str
    json: bytes


@dataclass(slots=True, eq=False)
class TypingRow(Entry):
    """Who types in a room now: the whole list, also when it became empty."""

    durable: ClassVar[bool] = False
    room: int
    user_ids: tuple[str, ...]


@dataclass(slots=True, eq=False)
class PresenceRow(Entry):
    """Some users came, went, or changed their status messages.

    `rooms`: the rooms that they are in, each with the only one of them who is in it, None where several are.
    `themselves`: those who are to hear it too, because it was said for them on one of their devices.
    """

    durable: ClassVar[bool] = False
    user_ids: tuple[str, ...]
    rooms: Mapping[int, str | None]
    themselves: frozenset[str] = frozenset()

    def concerns(self, user_id: str, joined: Set[int]) -> bool:
        """Whether one of them is in a room with this user, who has joined these."""
        if user_id in self.themselves:
            return True
        fewer, more = (joined, self.rooms) if len(joined) < len(self.rooms) else (self.rooms, joined)
        return any(room in more and self.rooms[room] != user_id for room in fewer)


@dataclass(slots=True, eq=False)
class DeviceListRow(Entry):
    """A device of a user changed, or was deleted; or (`device_id` None) the keys of the user. Local or remote.

    Written as one row for each user. Where a device changed is also the `stream_id` that other servers get.
    """

    user_id: str
    device_id: str | None = None


@dataclass(slots=True, eq=False)
class SignedOthersRow(Entry):
    """A user signed keys of others, which nobody else may see. Written with the signatures themselves."""

    durable: ClassVar[bool] = False
    user_id: str
    others: frozenset[str]


@dataclass(slots=True, eq=False)
class KeyCountsRow(Entry):
    """How many unclaimed one-time keys some devices have changed. `is_urgent`: they should hear of it at once."""

    durable: ClassVar[bool] = False
    devices: Mapping[int, str]
    """Device → its user."""
    is_urgent: bool = False

    @property
    def weight_bytes(self) -> int:
        """About what the entry takes in memory."""
        return 300 + 150 * len(self.devices)
