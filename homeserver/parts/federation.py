"""The parts that make this server part of the federation: what it takes from other servers, and what it tells them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from federation.outbound.catching_up import CatchingUp
from federation.outbound.lagging import Lagging
from federation.outbound.memberships import MembershipRequests
from federation.outbound.room_servers import RoomServers
from federation.outbound.sender import Sender
from federation.outbound.transactions import Transactions
from homeserver.encryption.for_servers import DEVICE_LIST_UPDATE, SIGNING_KEY_UPDATE, KeysForServers
from homeserver.encryption.news import DeviceNews
from homeserver.parts.encryption import Encryption
from homeserver.parts.foundations import Foundations
from homeserver.parts.receiving import Receiving, make_receiving
from homeserver.parts.room_core import RoomCore
from homeserver.parts.room_services import RoomServices
from homeserver.parts.transport import Transport
from homeserver.rooms.accept import Accepter
from homeserver.rooms.arrivals import Arrivals, Reading
from homeserver.rooms.backfill import Backfill
from homeserver.rooms.completion import Completion, Settlement
from homeserver.rooms.imports import Imports
from homeserver.rooms.join_answers import JoinAnswers
from homeserver.rooms.neighbours import Neighbours
from homeserver.rooms.other_servers import Asking, OtherServers
from homeserver.rooms.outside import OutsideMemberships
from homeserver.rooms.peers import RemotePeers
from homeserver.rooms.previews_for_servers import PreviewsForServers
from homeserver.rooms.received_invites import ReceivedInvites
from homeserver.rooms.remote_joins import RemoteJoins
from homeserver.rooms.restricted import Admissions
from homeserver.rooms.server_acl import ServerAcls
from homeserver.rooms.state_intake import Intakes
from homeserver.rooms.stripped import StrippedStates
from homeserver.rooms.third_party_invites import Exchanges, ThirdPartyInvites
from homeserver.rooms.unfinished_states import UnfinishedStates
from homeserver.rooms.whole_states import WholeStates
from homeserver.rooms.withdrawals import Withdrawals
from homeserver.runtime.turns import Turns
from homeserver.users.presence import Presence
from storage.rows import DeviceListRow


@dataclass(frozen=True, slots=True)
class Federating:
    """What runs between this server and others."""

    transport: Transport
    sender: Sender
    catching_up: CatchingUp
    acls: ServerAcls
    accepter: Accepter
    imports: Imports
    outside: OutsideMemberships
    turns: Turns[str]
    stripped: StrippedStates
    exchanges: Exchanges
    elsewhere: OtherServers
    backfill: Backfill
    receiving: Receiving
    completion: Completion
    unfinished: UnfinishedStates

    async def start(self, base: Foundations) -> None:
        """Go on where it was left."""
        await self.transport.start(base)
        await self.sender.start()
        await self.receiving.start(base)
        await self.completion.start()
        await self.unfinished.start()

    def last_saves(self) -> dict[str, Callable[[], Coroutine[Deferred[Any], Any, None]]]:
        """What is to be written down at a stop, by what it is."""
        return {
            "how far other servers were told": self.sender.save,
            "answers to transactions": self.receiving.transactions.save,
            "which servers answer": self.transport.destinations.save,
        }


def make_federating(base: Foundations, rooms: RoomCore, transport: Transport) -> Federating:
    """Below the services of rooms, which ask `elsewhere`."""
    database, clock, writer, server_name = base.database, base.clock, base.writer, base.server_name
    ring = transport.ring
    peers = RemotePeers(transport.client, ring, clock)
    neighbours = Neighbours(database, server_name)
    accepter = Accepter(rooms.appender, rooms.heads, rooms.state, rooms.events, peers, neighbours, ring, writer, clock)
    intakes = Intakes(rooms.appender, ring, clock)
    imports = Imports(database, rooms.appender, rooms.heads, rooms.state, intakes, server_name, clock)
    acls = ServerAcls(rooms.appender)
    transactions = Transactions(transport.client, clock, server_name)
    catching_up = CatchingUp(database, transactions, server_name)
    lagging = Lagging(catching_up, transport.destinations, clock)
    servers = RoomServers(database, server_name)
    sender = Sender(database, base.ring, servers, transactions, lagging, base.tasks, clock, server_name)
    requests = MembershipRequests(transport.client)
    outside = OutsideMemberships(database, writer, rooms.heads, rooms.events, server_name)
    stripped = StrippedStates(database, rooms.state, rooms.events)
    turns: Turns[str] = Turns()
    states = WholeStates(transport.client, peers, intakes, rooms.state, database)
    completion, unfinished = _make_completion(base, rooms, transport, accepter, neighbours, states)
    joins = RemoteJoins(
        requests, imports, accepter, rooms.heads, ring, sender.leave_out, completion.begin, unfinished.begin
    )
    exchanges = Exchanges(requests, rooms.appender, rooms.heads, writer)
    elsewhere = OtherServers(
        Asking(requests, transport.queries),
        rooms.appender,
        accepter,
        joins,
        outside,
        stripped,
        rooms.heads,
        exchanges,
        turns,
        base.signer,
        clock,
    )
    receiving = make_receiving(base, rooms, accepter, acls, transport.destinations)
    receiving.transactions.withdraw_by(Withdrawals(outside, ring, turns, server_name).take)
    return Federating(
        transport=transport,
        sender=sender,
        catching_up=catching_up,
        acls=acls,
        accepter=accepter,
        imports=imports,
        outside=outside,
        turns=turns,
        stripped=stripped,
        exchanges=exchanges,
        elsewhere=elsewhere,
        backfill=Backfill(database, accepter, peers, rooms.wholeness, neighbours, server_name, clock),
        receiving=receiving,
        completion=completion,
        unfinished=unfinished,
    )


@dataclass(frozen=True, slots=True)
class Answering:
    """What other servers ask for."""

    arrivals: Arrivals
    invites: ReceivedInvites
    third_party_invites: ThirdPartyInvites
    previews: PreviewsForServers
    keys: KeysForServers


def _make_completion(
    base: Foundations,
    rooms: RoomCore,
    transport: Transport,
    accepter: Accepter,
    neighbours: Neighbours,
    states: WholeStates,
) -> tuple[Completion, UnfinishedStates]:
    """What fetches the rest of states, and what is lacking then."""
    database, clock, writer, server_name = base.database, base.clock, base.writer, base.server_name
    settlement = Settlement(
        rooms.appender,
        rooms.heads,
        rooms.state,
        rooms.events,
        accepter.turns,
        writer,
        database,
        clock,
        server_name,
    )
    unfinished = UnfinishedStates(
        database, rooms.heads, rooms.events, states, settlement, neighbours, base.tasks, clock
    )
    transport.destinations.on_recovery(unfinished.is_back)
    completion = Completion(database, rooms.heads, states, settlement, base.tasks, clock, neighbours, unfinished.begin)
    return completion, unfinished


def make_answering(
    base: Foundations, rooms: RoomCore, services: RoomServices, encryption: Encryption, federating: Federating
) -> Answering:
    """Above the services of rooms and of keys, which also say and hear what is no event."""
    _connect_keys(base, encryption, federating)
    reading = Reading(
        rooms.heads,
        Admissions(rooms.heads, rooms.memberships),
        federating.acls,
        JoinAnswers(base.database, rooms.state, base.server_name),
        federating.stripped,
        rooms.wholeness,
    )
    ring = federating.transport.ring
    return Answering(
        arrivals=Arrivals(rooms.appender, federating.accepter, reading, ring, base.writer, base.signer),
        invites=ReceivedInvites(
            rooms.heads,
            federating.outside,
            services.changes,
            federating.acls,
            ring,
            base.signer,
            federating.turns,
            base.database,
        ),
        third_party_invites=ThirdPartyInvites(
            federating.exchanges,
            rooms.appender,
            rooms.heads,
            federating.acls,
            federating.elsewhere,
            services.changes,
            base.database,
            base.server_name,
        ),
        previews=PreviewsForServers(services.previews, rooms.heads, base.database),
        keys=encryption.for_servers,
    )


def connect_presence(presence: Presence, federating: Federating) -> None:
    """Who came and went is told to other servers, and heard from them."""
    presence.listen(federating.sender.presence)
    federating.receiving.transactions.handle("m.presence", presence.received)


def _connect_keys(base: Foundations, encryption: Encryption, federating: Federating) -> None:
    news = DeviceNews(encryption.for_servers, base.database, base.server_name)
    federating.sender.tell(DeviceListRow, news.changed)
    federating.sender.introduce_by(news.introduction)
    federating.catching_up.tell(news.missed)
    federating.transport.destinations.on_recovery(encryption.remote_lists.is_back)
    transactions = federating.receiving.transactions
    transactions.handle("m.direct_to_device", encryption.received_messages)
    transactions.handle(DEVICE_LIST_UPDATE, encryption.remote_lists.device_changed)
    transactions.handle(SIGNING_KEY_UPDATE, encryption.remote_lists.user_keys_changed)
