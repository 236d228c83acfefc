"""What clients hear of: the followers of the ring that answer readers.

The order matters where they build on each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.encryption.key_counts import KeyCounts
from homeserver.parts.accounting import Accounting
from homeserver.parts.foundations import Foundations
from homeserver.parts.room_core import RoomCore
from homeserver.parts.room_services import RoomServices
from homeserver.sync.account_data_part import AccountDataPart
from homeserver.sync.asking import Asking
from homeserver.sync.changes import ChangeReader
from homeserver.sync.device_lists_part import DeviceListsPart
from homeserver.sync.engine import Parts, SyncEngine
from homeserver.sync.ephemeral_part import EphemeralPart
from homeserver.sync.feeds import Feeds
from homeserver.sync.invite_part import InvitePart
from homeserver.sync.key_changes import KeyChanges
from homeserver.sync.measures import SyncMeasures
from homeserver.sync.presence_part import PresencePart
from homeserver.sync.room_part import Extras, RoomPart
from homeserver.sync.room_receipts import RoomReceipts
from homeserver.sync.state_part import StatePart
from homeserver.sync.stream import Streams
from homeserver.sync.stream_requests import Conversations, StreamServices
from homeserver.sync.summary import Summaries
from homeserver.sync.timeline_gaps import TimelineGaps
from homeserver.sync.timeline_part import TimelinePart
from homeserver.sync.timelines import Timelines
from homeserver.sync.to_device import ToDeviceQueue
from homeserver.sync.unread import Unread
from homeserver.users.presence import Presence
from homeserver.users.presence_news import PresenceNews
from homeserver.users.presence_records import Records
from homeserver.web.limits import Limiter


@dataclass(frozen=True, slots=True)
class Syncing:
    """What clients hear of."""

    engine: SyncEngine
    feeds: Feeds
    asking: Asking
    key_changes: KeyChanges
    presence: Presence
    conversations: Conversations


def make_syncing(
    base: Foundations,
    rooms: RoomCore,
    users: Accounting,
    services: RoomServices,
    account_data: AccountDataPart,
    key_counts: KeyCounts,
    limiter: Limiter,
) -> Syncing:
    """The followers of the ring that answer readers."""
    database, ring = base.database, base.ring
    extras = Extras(
        Summaries(database, ring),
        Unread(database, ring, rooms.events, rooms.heads, rooms.state, users.push_rules),
        EphemeralPart(RoomReceipts(database, ring), rooms.typing),
    )
    room_part = RoomPart(
        rooms.heads,
        Timelines(database, ring, rooms.events),
        TimelineGaps(rooms.events),
        TimelinePart(rooms.client_events, rooms.visible, ring),
        StatePart(rooms.state, rooms.events, rooms.client_events, ring),
        extras,
        rooms.visible,
        services.relations,
    )
    queue = ToDeviceQueue(database, ring)
    invites = InvitePart(rooms.memberships, rooms.events, services.stripped)
    feeds = Feeds(ring, rooms.memberships, base.clock)
    changes = ChangeReader(database, ring, rooms.typing)
    device_lists = DeviceListsPart(database, rooms.memberships, rooms.heads, rooms.state, rooms.events)
    records = Records(database, base.clock)
    news = PresenceNews(records, rooms.memberships, base.writer, feeds.connected, base.clock)
    presence = Presence(
        records, news, rooms.memberships, base.clock, base.server_name, enabled=base.settings.presence.enabled
    )
    presence_part = PresencePart(presence, records, rooms.memberships, base.clock)
    engine = SyncEngine(
        ring,
        feeds,
        changes,
        rooms.memberships,
        rooms.heads,
        Parts(room_part, invites, account_data, queue, device_lists, key_counts, presence_part),
        base.clock,
    )
    asking = Asking(engine, users.filters, ring, presence)
    streams = Streams(engine, feeds, queue)
    base.metrics.collect(SyncMeasures(feeds, streams, rooms.heads))
    stream_services = StreamServices(
        streams=streams,
        asking=asking,
        sending=services.sending,
        typing=rooms.typing,
        receipts=rooms.receipts,
        presence=presence,
        tokens=users.tokens,
        limiter=limiter,
        clock=base.clock,
    )
    return Syncing(
        engine=engine,
        feeds=feeds,
        asking=asking,
        key_changes=KeyChanges(ring, asking, changes, rooms.memberships, device_lists),
        presence=presence,
        conversations=Conversations(stream_services),
    )
