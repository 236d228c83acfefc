"""Which service stands behind which door for other servers."""

from __future__ import annotations

from collections.abc import Iterator

from federation.inbound import (
    arrivals,
    backfill,
    directory,
    events,
    hierarchy,
    invite,
    keys,
    missing_events,
    openid,
    profile,
    public_rooms,
    state,
    third_party_invites,
    transactions,
    user_keys,
    version,
)
from federation.inbound.events import EventDoor
from federation.inbound.keys import Keys
from federation.inbound.version import Version
from homeserver import __version__
from homeserver.parts.accounting import Accounting
from homeserver.parts.federation import Answering, Federating
from homeserver.parts.foundations import Foundations
from homeserver.parts.room_services import RoomServices
from homeserver.web.plan import BoundEndpoint, bind


def federation_doors(
    base: Foundations, users: Accounting, services: RoomServices, federating: Federating, answering: Answering
) -> Iterator[BoundEndpoint]:
    """All endpoints that other servers call."""
    transport = federating.transport
    yield from bind(keys.ENDPOINTS, Keys(transport.own_keys, transport.notary))
    yield from bind(version.ENDPOINTS, Version("Myelin", __version__))
    yield from bind(arrivals.ENDPOINTS, answering.arrivals)
    yield from bind(invite.ENDPOINTS, answering.invites)
    yield from bind(third_party_invites.ENDPOINTS, answering.third_party_invites)
    yield from bind(profile.ENDPOINTS, users.profiles)
    yield from bind(directory.ENDPOINTS, services.directory)
    yield from bind(public_rooms.ENDPOINTS, services.public_list)
    yield from bind(hierarchy.ENDPOINTS, answering.previews)
    yield from bind(user_keys.ENDPOINTS, answering.keys)
    yield from bind(openid.ENDPOINTS, users.openid)
    receiving = federating.receiving
    yield from bind(transactions.ENDPOINTS, receiving.transactions)
    event_door = EventDoor(receiving.reads, base.server_name, base.clock)
    yield from bind(events.ENDPOINTS, event_door)
    yield from bind(backfill.ENDPOINTS, event_door)
    yield from bind(missing_events.ENDPOINTS, receiving.reads)
    yield from bind(state.ENDPOINTS, receiving.reads)
