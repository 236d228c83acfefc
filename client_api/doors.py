"""Which service stands behind which door."""

from __future__ import annotations

from collections.abc import Iterator

from client_api import (
    account,
    account_data,
    cross_signing,
    dehydrated,
    devices,
    directory,
    explain,
    filters,
    key_backup,
    key_changes,
    key_signatures,
    keys,
    login,
    openid,
    presence,
    profile,
    public_rooms,
    push_rules,
    receipts,
    registration,
    relations,
    rendezvous,
    rendezvous_json,
    reporting,
    rooms_create,
    rooms_events,
    rooms_history,
    rooms_join,
    rooms_members,
    rooms_membership,
    rooms_send,
    rooms_state,
    rooms_upgrade,
    send_to_device,
    shared_secret,
    spaces,
    stream,
    sync,
    tags,
    typing,
    versions,
)
from homeserver.parts.accounting import Accounting
from homeserver.parts.encryption import Encryption
from homeserver.parts.foundations import Foundations
from homeserver.parts.room_core import RoomCore
from homeserver.parts.room_services import RoomServices
from homeserver.parts.syncing import Syncing
from homeserver.rooms.explain import Explanations
from homeserver.web import operations
from homeserver.web.operations import Operations
from homeserver.web.plan import BoundEndpoint, bind


def all_doors(
    base: Foundations,
    rooms: RoomCore,
    users: Accounting,
    services: RoomServices,
    encryption: Encryption,
    syncing: Syncing,
) -> Iterator[BoundEndpoint]:
    """All endpoints of the server, each with the service that it calls."""

    yield from bind(operations.ENDPOINTS, Operations(base.metrics, base.clock, base.database.answers))
    yield from bind(explain.ENDPOINTS, Explanations(base.database, base.local_secret))
    yield from _user_doors(users)
    yield from _room_doors(rooms, services)
    yield from _key_doors(encryption)
    yield from bind(key_changes.ENDPOINTS, syncing.key_changes)
    yield from bind(presence.ENDPOINTS, syncing.presence)
    yield from bind(sync.ENDPOINTS, syncing.asking)
    yield from bind(stream.ENDPOINTS, syncing.conversations)


def _user_doors(users: Accounting) -> Iterator[BoundEndpoint]:
    yield from bind(account.ENDPOINTS, users.accounts)
    yield from bind(account_data.ENDPOINTS, users.account_data)
    yield from bind(devices.ENDPOINTS, users.devices)
    yield from bind(filters.ENDPOINTS, users.filters)
    yield from bind(login.ENDPOINTS, users.login)
    yield from bind(openid.ENDPOINTS, users.openid)
    yield from bind(profile.ENDPOINTS, users.profiles)
    yield from bind(push_rules.ENDPOINTS, users.push_rules)
    yield from bind(registration.ENDPOINTS, users.registration)
    yield from bind(send_to_device.ENDPOINTS, users.to_device)
    yield from bind(shared_secret.ENDPOINTS, users.shared_secret)
    yield from bind(tags.ENDPOINTS, users.tags)
    yield from bind(versions.ENDPOINTS, users.capabilities)


def _key_doors(encryption: Encryption) -> Iterator[BoundEndpoint]:
    yield from bind(cross_signing.ENDPOINTS, encryption.cross_signing)
    yield from bind(key_backup.ENDPOINTS, encryption.backups)
    yield from bind(dehydrated.ENDPOINTS, encryption.dehydrated)
    yield from bind(rendezvous.ENDPOINTS, encryption.rendezvous)
    yield from bind(rendezvous_json.ENDPOINTS, encryption.rendezvous_json)
    yield from bind(key_signatures.ENDPOINTS, encryption.signatures)
    yield from bind(keys.ENDPOINTS, encryption.keys)


def _room_doors(rooms: RoomCore, services: RoomServices) -> Iterator[BoundEndpoint]:
    yield from bind(directory.ENDPOINTS, services.directory)
    yield from bind(public_rooms.ENDPOINTS, services.public_list)
    yield from bind(receipts.ENDPOINTS, rooms.receipts)
    yield from bind(relations.ENDPOINTS, services.related)
    yield from bind(rooms_create.ENDPOINTS, services.creation)
    yield from bind(rooms_events.ENDPOINTS, services.event_reads)
    yield from bind(rooms_history.ENDPOINTS, services.history)
    yield from bind(rooms_join.ENDPOINTS, services.entering)
    yield from bind(rooms_members.ENDPOINTS, services.members)
    yield from bind(rooms_membership.ENDPOINTS, services.changes)
    yield from bind(rooms_send.ENDPOINTS, services.sending)
    yield from bind(rooms_state.ENDPOINTS, services.state_reads)
    yield from bind(rooms_upgrade.ENDPOINTS, services.upgrades)
    yield from bind(reporting.ENDPOINTS, services.reports)
    yield from bind(spaces.ENDPOINTS, services.previews)
    yield from bind(typing.ENDPOINTS, rooms.typing)
