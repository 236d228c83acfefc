"""What a plan cannot go on without: raised as `Missing`, it is fetched, and the work is done again.

What this server does not have at all is `Unplaceable`: only other servers could help.
"""

from __future__ import annotations

from collections.abc import Sequence

from homeserver.core.draft import Draft
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.policy import PolicyServer
from homeserver.core.state_trie import NodeId
from homeserver.rooms.resolutions import Overlay
from homeserver.rooms.room import Room
from homeserver.rooms.state import StateKey


class Missing(Exception):
    """Something that a plan needs is not in memory."""


class MissingRoom(Missing):
    """The head of a room."""

    def __init__(self, room_id: str) -> None:
        super().__init__(f"the head of {room_id} is not loaded")
        self.room_id = room_id


class MissingState(Missing):
    """State events of a room, or the ways to them."""

    def __init__(self, room: Room, keys: Sequence[StateKey]) -> None:
        super().__init__(f"state of {room.room_id} is not loaded")
        self.room = room
        self.keys = keys


class MissingEvents(Missing):
    """Events, by their ids. Those that we do not have are then in `Inputs.absent`."""

    def __init__(self, event_ids: Sequence[str]) -> None:
        super().__init__("events are not loaded")
        self.event_ids = event_ids


class MissingPositions(Missing):
    """Events, by their positions. We have all of them."""

    def __init__(self, positions: Sequence[int]) -> None:
        super().__init__("events are not loaded")
        self.positions = positions


class MissingNodes(Missing):
    """Nodes of state tries."""

    def __init__(self, room: int, nodes: set[NodeId]) -> None:
        super().__init__("nodes of the state are not loaded")
        self.room = room
        self.nodes = nodes


class MissingResolution(Missing):
    """The state after several events that follow different pasts.

    `overlay` has what is not in the database yet.
    """

    def __init__(self, room: Room, after: frozenset[str], roots: Sequence[NodeId], overlay: Overlay) -> None:
        super().__init__(f"the state of {room.room_id} is not resolved")
        self.room = room
        self.after = after
        self.roots = roots
        self.overlay = overlay


class MissingPolicyUsers(Missing):
    """Who of a room's policy server is in the room."""

    def __init__(self, room: Room, server: str) -> None:
        super().__init__(f"who of {server} is in {room.room_id} is not loaded")
        self.room = room
        self.server = server


class MissingSignatures(Missing):
    """What the room's policy server says to events. `draft`: what a local user wants to send as the one event.

    Not `asks`: only the signatures that they have are to be checked.
    """

    def __init__(
        self, policy: PolicyServer, events: Sequence[Event], draft: Draft | None = None, *, asks: bool = True
    ) -> None:
        super().__init__(f"{policy.server} was not asked for its signature")
        self.policy = policy
        self.events = events
        self.draft = draft
        self.asks = asks


class Unplaceable(Exception):
    """What the event follows or leans on is not here. `prev`: also events whose state we do not know."""

    def __init__(self, event: Event, prev: Sequence[EventId], auth: Sequence[EventId]) -> None:
        super().__init__(f"{event.event_id} follows {len(prev)} and leans on {len(auth)} events that are not here")
        self.event = event
        self.prev = prev
        self.auth = auth
