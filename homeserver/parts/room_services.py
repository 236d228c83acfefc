"""What clients do with rooms."""

from __future__ import annotations

from dataclasses import dataclass

from federation.outbound.queries import Queries
from homeserver.parts.accounting import Accounting
from homeserver.parts.foundations import Foundations
from homeserver.parts.room_core import RoomCore
from homeserver.rooms.backfill import OlderHistory
from homeserver.rooms.create import RoomCreation
from homeserver.rooms.directory import Directory
from homeserver.rooms.elsewhere import Elsewhere
from homeserver.rooms.entering import Entering
from homeserver.rooms.event_reads import EventReads
from homeserver.rooms.guests import GuestRemoval
from homeserver.rooms.history import History, Showing
from homeserver.rooms.member_lists import MemberLists
from homeserver.rooms.members import Members
from homeserver.rooms.membership import MembershipChanges
from homeserver.rooms.pages import Pages
from homeserver.rooms.previews import Previews
from homeserver.rooms.public_list import PublicList
from homeserver.rooms.reading import Readings
from homeserver.rooms.related import Related
from homeserver.rooms.relations import Relations
from homeserver.rooms.remote_lists import FederatedLists
from homeserver.rooms.remote_spaces import FederatedSpaces
from homeserver.rooms.reports import Reports
from homeserver.rooms.send import Sending
from homeserver.rooms.state_reads import StateReads
from homeserver.rooms.stripped import StrippedStates
from homeserver.rooms.upgrade import Upgrades
from homeserver.sync.account_data_part import AccountDataPart
from homeserver.users.invite_permission import InvitePermission


@dataclass(frozen=True, slots=True)
class RoomServices:
    """What clients do with rooms."""

    creation: RoomCreation
    changes: MembershipChanges
    sending: Sending
    upgrades: Upgrades
    directory: Directory
    public_list: PublicList
    previews: Previews
    reports: Reports
    entering: Entering
    members: Members
    state_reads: StateReads
    event_reads: EventReads
    history: History
    related: Related
    relations: Relations
    stripped: StrippedStates
    guest_removal: GuestRemoval


def make_room_services(
    base: Foundations,
    rooms: RoomCore,
    users: Accounting,
    ignored: AccountDataPart,
    elsewhere: Elsewhere,
    older: OlderHistory,
    queries: Queries | None = None,
) -> RoomServices:
    """Writing to rooms and reading from them."""
    database, ring, clock, server_name = base.database, base.ring, base.clock, base.server_name
    lists = None if queries is None else FederatedLists(queries)
    spaces = None if queries is None else FederatedSpaces(queries, clock, server_name)
    invitees = InvitePermission(database, ring)
    whole = rooms.wholeness
    changes = MembershipChanges(
        rooms.appender,
        rooms.heads,
        rooms.memberships,
        users.profiles,
        invitees,
        elsewhere,
        database,
        whole,
        server_name,
    )
    relations = Relations(database, ring, rooms.events, rooms.client_events, rooms.visible, ignored, clock)
    showing = Showing(rooms.visible, relations, rooms.client_events, ignored, clock)
    readings = Readings(rooms.heads, rooms.memberships)
    member_lists = MemberLists(ring, rooms.state, rooms.events)
    directory = Directory(database, rooms.heads, readings, rooms.appender, elsewhere, server_name, clock)
    event_reads = EventReads(database, ring, readings, rooms.events, showing, older)
    pages = Pages(database, rooms.state, rooms.events, relations)
    return RoomServices(
        creation=RoomCreation(
            rooms.appender,
            rooms.heads,
            changes,
            elsewhere,
            database,
            server_name,
            base.settings.rooms,
        ),
        changes=changes,
        sending=Sending(rooms.appender, rooms.transactions, changes, elsewhere, database),
        upgrades=Upgrades(rooms.appender, rooms.heads, changes, database, server_name),
        directory=directory,
        public_list=PublicList(database, server_name, lists),
        previews=Previews(rooms.heads, rooms.memberships, directory, rooms.state, rooms.events, spaces),
        entering=Entering(directory, changes),
        members=Members(database, rooms.heads, rooms.memberships, rooms.visible, readings, member_lists, whole),
        state_reads=StateReads(readings, rooms.state, rooms.events, rooms.client_events, member_lists, whole, clock),
        event_reads=event_reads,
        reports=Reports(database, rooms.heads, event_reads, clock),
        history=History(database, ring, readings, pages, rooms.events, rooms.state, showing, older),
        related=Related(database, ring, readings, event_reads, rooms.events, showing),
        relations=relations,
        stripped=StrippedStates(database, rooms.state, rooms.events),
        guest_removal=GuestRemoval(database, ring, rooms.heads, changes, base.reactor),
    )
