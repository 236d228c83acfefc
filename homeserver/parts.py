"""The parts of a server, made in order: each group takes what stands above it.

Only homeserver.app and this module know all parts. The order matters where followers of the ring build on each other:
the event cache first, then memberships, then those who wake and answer readers.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.settings import Settings
from federation.outbound.device_messages import DeviceMessages
from federation.outbound.queries import Queries
from homeserver.core.ids import ServerName
from homeserver.core.signatures import Signer, SigningKey
from homeserver.core.state_trie import SlotHasher
from homeserver.encryption.key_counts import KeyCounts
from homeserver.rooms.append import Appender
from homeserver.rooms.backfill import OlderHistory
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.create import RoomCreation
from homeserver.rooms.directory import Directory
from homeserver.rooms.elsewhere import Elsewhere
from homeserver.rooms.entering import Entering
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.event_reads import EventReads
from homeserver.rooms.guests import GuestRemoval
from homeserver.rooms.heads import Heads
from homeserver.rooms.history import History, Showing
from homeserver.rooms.member_lists import MemberLists
from homeserver.rooms.members import Members
from homeserver.rooms.membership import MembershipChanges
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.pages import Pages
from homeserver.rooms.previews import Previews
from homeserver.rooms.public_list import PublicList
from homeserver.rooms.reading import Readings
from homeserver.rooms.receipts import Receipts
from homeserver.rooms.related import Related
from homeserver.rooms.relations import Relations
from homeserver.rooms.remote_lists import FederatedLists
from homeserver.rooms.remote_spaces import FederatedSpaces
from homeserver.rooms.reports import Reports
from homeserver.rooms.send import Sending
from homeserver.rooms.state import StateStore
from homeserver.rooms.state_reads import StateReads
from homeserver.rooms.stripped import StrippedStates
from homeserver.rooms.transactions import Transactions
from homeserver.rooms.typing import Typing
from homeserver.rooms.upgrade import Upgrades
from homeserver.rooms.visible import Visible
from homeserver.runtime.clock import Clock, ReactorClock
from homeserver.runtime.log import Ring, Writer
from homeserver.runtime.measures import LogMeasures
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.tasks import Tasks
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
from homeserver.sync.timeline_part import TimelinePart
from homeserver.sync.timelines import Timelines
from homeserver.sync.to_device import ToDeviceQueue
from homeserver.sync.unread import Unread
from homeserver.users.account_data import AccountData
from homeserver.users.accounts import Accounts
from homeserver.users.capabilities import Capabilities
from homeserver.users.credentials import Credentials
from homeserver.users.devices import Devices
from homeserver.users.filters import Filters
from homeserver.users.invite_permission import InvitePermission
from homeserver.users.jobs import UserJobs
from homeserver.users.login import Login
from homeserver.users.new_accounts import NewAccounts
from homeserver.users.openid import OpenId
from homeserver.users.passwords import Passwords
from homeserver.users.presence import Presence
from homeserver.users.presence_news import PresenceNews
from homeserver.users.presence_records import Records
from homeserver.users.profiles import Profiles, RemoteProfiles
from homeserver.users.push_rules import PushRules
from homeserver.users.registration import Registration
from homeserver.users.registration_tokens import RegistrationTokens
from homeserver.users.sessions import Sessions
from homeserver.users.shared_secret import SharedSecretRegistration
from homeserver.users.sightings import Sightings
from homeserver.users.tags import Tags
from homeserver.users.to_device import ToDevice
from homeserver.users.tokens import Tokens
from homeserver.users.uia_sessions import UiaSessions
from homeserver.web.limits import Limiter
from storage import secrets as secret_table
from storage.database import Database
from storage.persist import PERSIST

SLOT_SECRET = "state_slots"


@dataclass(frozen=True, slots=True)
class Foundations:
    """What everything stands on: time, the database, the log."""

    settings: Settings
    folder: Path
    reactor: Any
    clock: Clock
    metrics: Metrics
    tasks: Tasks
    database: Database
    ring: Ring
    writer: Writer
    signer: Signer
    slots: SlotHasher
    local_secret: str
    """What `synctl` on this machine shows to make accounts."""

    @property
    def server_name(self) -> ServerName:
        """The name of this server."""
        return self.signer.server


async def lay_foundations(settings: Settings, folder: Path, dsn: str, reactor: Any) -> Foundations:
    """Open the database and become the writer of its log."""
    clock = ReactorClock(reactor)
    server_name = ServerName(settings.server_name)
    database = Database(dsn, reactor, pool_size=settings.database.pool_size, server_name=server_name)
    await database.start()
    ring = Ring()
    writer = Writer(database, ring, PERSIST, reactor)
    await writer.start()
    metrics = Metrics()
    metrics.collect(LogMeasures(database, ring, writer))
    slot_secret = await database.write(secret_table.keep, SLOT_SECRET, secrets.token_bytes(32))
    return Foundations(
        settings=settings,
        folder=folder,
        reactor=reactor,
        clock=clock,
        metrics=metrics,
        tasks=Tasks(clock),
        database=database,
        ring=ring,
        writer=writer,
        signer=Signer(server_name, SigningKey.load(settings.signing_key.read_text())),
        slots=SlotHasher(slot_secret),
        local_secret=(folder / "admin.secret").read_text().strip(),
    )


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


def make_room_core(base: Foundations) -> RoomCore:
    """The actors and what they keep."""
    state = StateStore(base.database, base.slots)
    events = EventCache(base.database, base.ring)
    heads = Heads(base.database, state, events, base.writer, base.server_name)
    appender = Appender(base.database, heads, state, events, base.writer, base.ring, base.signer, base.clock)
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
    )


@dataclass(frozen=True, slots=True)
class Accounting:
    """Users, their sessions and what belongs to them."""

    passwords: Passwords
    credentials: Credentials
    tokens: Tokens
    sightings: Sightings
    jobs: UserJobs
    profiles: Profiles
    push_rules: PushRules
    account_data: AccountData
    tags: Tags
    filters: Filters
    accounts: Accounts
    devices: Devices
    login: Login
    registration: Registration
    shared_secret: SharedSecretRegistration
    capabilities: Capabilities
    openid: OpenId
    to_device: ToDevice


def make_accounting(base: Foundations, limiter: Limiter, remote: RemoteProfiles | None = None) -> Accounting:
    """Accounts, and the ways into them."""
    settings, database, clock = base.settings, base.database, base.clock
    passwords = Passwords(settings.passwords, base.reactor)
    tokens = Tokens(database, clock)
    sightings = Sightings(database, clock)
    sessions = Sessions(database, base.writer, base.ring, tokens, clock)
    uia_sessions = UiaSessions(clock)
    credentials = Credentials(database, passwords, uia_sessions, limiter, base.server_name)
    new_accounts = NewAccounts(database, sessions, clock, base.server_name)
    jobs = UserJobs(database, base.tasks, clock)
    profiles = Profiles(database, jobs, base.server_name, remote)
    push_rules = PushRules(database, base.writer, base.ring)
    return Accounting(
        passwords=passwords,
        credentials=credentials,
        tokens=tokens,
        sightings=sightings,
        jobs=jobs,
        profiles=profiles,
        push_rules=push_rules,
        account_data=AccountData(database, base.writer, push_rules),
        tags=Tags(database, base.writer),
        filters=Filters(database),
        accounts=Accounts(database, credentials, passwords, sessions, profiles, jobs),
        devices=Devices(database, base.writer, sessions, sightings, credentials, clock),
        login=Login(database, credentials, sessions, limiter, base.server_name),
        registration=Registration(
            settings.registration, new_accounts, passwords, uia_sessions, RegistrationTokens(database, clock)
        ),
        shared_secret=SharedSecretRegistration(
            settings.registration.shared_secret, base.local_secret, new_accounts, passwords, limiter, clock
        ),
        capabilities=Capabilities(settings),
        openid=OpenId(database, clock, base.server_name),
        to_device=ToDevice(
            database,
            base.writer,
            base.ring,
            clock,
            base.server_name,
            DeviceMessages(base.writer) if settings.federation.enabled else None,
        ),
    )


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
    changes = MembershipChanges(
        rooms.appender, rooms.heads, rooms.memberships, users.profiles, invitees, elsewhere, database, server_name
    )
    relations = Relations(database, ring, rooms.events, rooms.client_events, rooms.visible, ignored, clock)
    showing = Showing(rooms.visible, relations, rooms.client_events, ignored, clock)
    readings = Readings(rooms.heads, rooms.memberships)
    member_lists = MemberLists(ring, rooms.state, rooms.events)
    directory = Directory(database, rooms.heads, readings, rooms.appender, elsewhere, server_name, clock)
    event_reads = EventReads(database, ring, readings, rooms.events, showing)
    pages = Pages(database, rooms.state, rooms.events, relations)
    return RoomServices(
        creation=RoomCreation(
            rooms.appender,
            rooms.heads,
            changes,
            elsewhere,
            database,
            server_name,
            base.settings.rooms.default_version,
        ),
        changes=changes,
        sending=Sending(rooms.appender, rooms.transactions, changes, elsewhere, database),
        upgrades=Upgrades(rooms.appender, rooms.heads, changes, database, server_name),
        directory=directory,
        public_list=PublicList(database, server_name, lists),
        previews=Previews(rooms.heads, rooms.memberships, directory, rooms.state, rooms.events, spaces),
        entering=Entering(directory, changes),
        members=Members(database, rooms.heads, rooms.memberships, rooms.visible, readings, member_lists),
        state_reads=StateReads(readings, rooms.state, rooms.events, rooms.client_events, member_lists, clock),
        event_reads=event_reads,
        reports=Reports(database, rooms.heads, event_reads, clock),
        history=History(database, ring, readings, pages, rooms.events, rooms.state, showing, older),
        related=Related(database, ring, readings, event_reads, rooms.events, showing),
        relations=relations,
        stripped=StrippedStates(database, rooms.state, rooms.events),
        guest_removal=GuestRemoval(database, ring, rooms.heads, changes, base.reactor),
    )


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
