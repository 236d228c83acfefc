"""The parts that make this server part of the federation: what it takes from other servers, and what it tells them."""

from __future__ import annotations

from dataclasses import dataclass

from federation.outbound.catching_up import CatchingUp
from federation.outbound.lagging import Lagging
from federation.outbound.memberships import MembershipRequests
from federation.outbound.sender import Sender
from federation.outbound.transactions import Transactions
from homeserver.parts import Foundations, RoomCore, RoomServices
from homeserver.receiving_parts import Receiving, make_receiving
from homeserver.rooms.accept import Accepter
from homeserver.rooms.arrivals import Arrivals, Reading
from homeserver.rooms.backfill import Backfill
from homeserver.rooms.imports import Imports
from homeserver.rooms.join_answers import JoinAnswers
from homeserver.rooms.other_servers import Asking, OtherServers
from homeserver.rooms.outside import OutsideMemberships
from homeserver.rooms.peers import RemotePeers
from homeserver.rooms.previews_for_servers import PreviewsForServers
from homeserver.rooms.received_invites import ReceivedInvites
from homeserver.rooms.remote_joins import RemoteJoins
from homeserver.rooms.restricted import Admissions
from homeserver.rooms.server_acl import ServerAcls
from homeserver.rooms.stripped import StrippedStates
from homeserver.runtime.turns import Turns
from homeserver.transport_parts import Transport


@dataclass(frozen=True, slots=True)
class Federating:
    """What runs between this server and others."""

    transport: Transport
    sender: Sender
    acls: ServerAcls
    accepter: Accepter
    imports: Imports
    outside: OutsideMemberships
    turns: Turns[str]
    stripped: StrippedStates
    elsewhere: OtherServers
    backfill: Backfill
    receiving: Receiving

    async def start(self, base: Foundations) -> None:
        """Go on where it was left."""
        await self.transport.start(base)
        await self.sender.start()
        await self.receiving.start(base)

    async def stop(self) -> None:
        """Write down how far it came."""
        await self.sender.save()
        await self.transport.stop()


def make_federating(base: Foundations, rooms: RoomCore, transport: Transport) -> Federating:
    """Below the services of rooms, which ask `elsewhere`."""
    database, clock, writer, server_name = base.database, base.clock, base.writer, base.server_name
    ring = transport.ring
    peers = RemotePeers(transport.client, ring)
    accepter = Accepter(rooms.appender, rooms.heads, rooms.state, rooms.events, peers, ring, writer, clock)
    imports = Imports(database, rooms.appender, rooms.heads, rooms.state, ring, server_name)
    acls = ServerAcls(rooms.appender)
    sender = _sender(base, transport)
    requests = MembershipRequests(transport.client)
    outside = OutsideMemberships(database, writer, rooms.heads, rooms.events, server_name)
    stripped = StrippedStates(database, rooms.state, rooms.events)
    turns: Turns[str] = Turns()
    joins = RemoteJoins(requests, imports, accepter, rooms.heads, ring, clock, sender.leave_out)
    elsewhere = OtherServers(
        Asking(requests, transport.queries),
        rooms.appender,
        accepter,
        joins,
        outside,
        stripped,
        rooms.heads,
        turns,
        database,
        base.signer,
        clock,
    )
    return Federating(
        transport=transport,
        sender=sender,
        acls=acls,
        accepter=accepter,
        imports=imports,
        outside=outside,
        turns=turns,
        stripped=stripped,
        elsewhere=elsewhere,
        backfill=Backfill(database, accepter, server_name, clock),
        receiving=make_receiving(base, rooms, accepter, acls),
    )


def _sender(base: Foundations, transport: Transport) -> Sender:
    database, clock, server_name = base.database, base.clock, base.server_name
    transactions = Transactions(transport.client, clock, server_name)
    lagging = Lagging(CatchingUp(database, transactions, server_name), transport.destinations, clock)
    return Sender(database, base.ring, transactions, lagging, base.tasks, clock, server_name)


@dataclass(frozen=True, slots=True)
class Answering:
    """What other servers ask for."""

    arrivals: Arrivals
    invites: ReceivedInvites
    previews: PreviewsForServers


def make_answering(base: Foundations, rooms: RoomCore, services: RoomServices, federating: Federating) -> Answering:
    """Above the services of rooms."""
    reading = Reading(
        rooms.heads,
        Admissions(rooms.heads, rooms.memberships),
        federating.acls,
        JoinAnswers(base.database, rooms.state, base.server_name),
        federating.stripped,
    )
    ring = federating.transport.ring
    return Answering(
        arrivals=Arrivals(rooms.appender, federating.accepter, reading, ring, base.writer, base.signer),
        invites=ReceivedInvites(
            rooms.heads, federating.outside, services.changes, ring, base.signer, federating.turns, base.database
        ),
        previews=PreviewsForServers(services.previews, rooms.heads, base.database),
    )
