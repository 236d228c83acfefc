"""Rooms, their states and events."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.parts.foundations import Foundations
from homeserver.rooms.append import Appender
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.policy_servers import PolicyServers
from homeserver.rooms.receipts import Receipts
from homeserver.rooms.state import StateStore
from homeserver.rooms.transactions import Transactions
from homeserver.rooms.typing import Typing
from homeserver.rooms.visible import Visible
from homeserver.rooms.wholeness import Wholeness


@dataclass(frozen=True, slots=True)
class RoomCore:
    """Rooms, their states and events."""

    state: StateStore
    events: EventCache
    heads: Heads
    appender: Appender
    memberships: Memberships
    transactions: Transactions
    client_events: ClientEvents
    visible: Visible
    typing: Typing
    receipts: Receipts
    wholeness: Wholeness


def make_room_core(base: Foundations, policies: PolicyServers) -> RoomCore:
    """The actors and what they keep."""
    state = StateStore(base.database, base.slots)
    events = EventCache(base.database, base.ring)
    heads = Heads(base.database, state, events, base.writer, base.server_name)
    appender = Appender(base.database, heads, state, events, base.writer, base.ring, base.signer, base.clock, policies)
    memberships = Memberships(base.database, base.ring)
    return RoomCore(
        state=state,
        events=events,
        heads=heads,
        appender=appender,
        memberships=memberships,
        transactions=Transactions(base.database, base.ring, base.writer),
        client_events=ClientEvents(events, state),
        visible=Visible(state, events, memberships),
        typing=Typing(base.writer, heads, base.clock),
        receipts=Receipts(base.database, base.writer, heads, events, base.clock),
        wholeness=Wholeness(base.ring, base.clock),
    )
