"""The parts that have to do with keys for end-to-end encryption, made in order."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core import signature_sums
from homeserver.encryption.backups import Backups
from homeserver.encryption.claims import KeyClaims
from homeserver.encryption.cross_signing import CrossSigning
from homeserver.encryption.dehydrated import DehydratedDevices
from homeserver.encryption.for_servers import KeysForServers
from homeserver.encryption.key_counts import KeyCounts
from homeserver.encryption.keys import Keys
from homeserver.encryption.published import PublishedKeysCache
from homeserver.encryption.queries import KeyQueries
from homeserver.encryption.remote import RemoteKeys
from homeserver.encryption.remote_lists import RemoteLists
from homeserver.encryption.rendezvous import MAX_BYTES, Rendezvous
from homeserver.encryption.signatures import SignatureUploads
from homeserver.encryption.stock import OneTimeKeyStock
from homeserver.encryption.uploads import KeyUploads
from homeserver.parts.accounting import Accounting
from homeserver.parts.foundations import Foundations
from homeserver.runtime.side_thread import SideThread
from homeserver.users.to_device_received import ReceivedMessages
from homeserver.users.to_device_upkeep import ToDeviceUpkeep


@dataclass(frozen=True, slots=True)
class Encryption:
    """Keys and their services."""

    keys: Keys
    cross_signing: CrossSigning
    signatures: SignatureUploads
    backups: Backups
    dehydrated: DehydratedDevices
    rendezvous: Rendezvous
    rendezvous_json: Rendezvous
    to_device_upkeep: ToDeviceUpkeep
    key_counts: KeyCounts
    remote_lists: RemoteLists
    for_servers: KeysForServers
    received_messages: ReceivedMessages


def make_encryption(base: Foundations, users: Accounting, remote: RemoteKeys) -> Encryption:
    """Publishing keys, looking them up, giving them out."""
    database, writer = base.database, base.writer
    lists = RemoteLists(database, writer, base.ring, remote, base.tasks, base.clock, base.server_name)
    queries = KeyQueries(database, PublishedKeysCache(database, base.ring), remote, lists, base.server_name)
    # After its login a client uploads keys. A server that nobody logs in to can do without what checks them quickly.
    side = SideThread(base.reactor, "verification")
    users.new_devices.on_first(lambda: side.do(signature_sums.get_ready))
    stock = OneTimeKeyStock(database, writer, base.ring)
    claims = KeyClaims(database, writer, stock, users.device_numbers, remote, base.server_name)
    return Encryption(
        keys=Keys(
            KeyUploads(database, writer, stock, users.new_devices, side),
            queries,
            claims,
        ),
        for_servers=KeysForServers(database, queries, claims, base.server_name),
        received_messages=ReceivedMessages(database, writer, base.ring, base.clock),
        cross_signing=CrossSigning(database, writer, users.credentials, base.clock),
        signatures=SignatureUploads(database, writer, queries, base.server_name),
        backups=Backups(database),
        dehydrated=DehydratedDevices(database, writer, base.ring, base.clock),
        rendezvous=Rendezvous(base.clock, base.settings.public_baseurl),
        rendezvous_json=Rendezvous(base.clock, base.settings.public_baseurl, max_bytes=4 * MAX_BYTES),
        to_device_upkeep=ToDeviceUpkeep(database, base.ring, base.tasks, base.clock, base.settings.to_device),
        key_counts=KeyCounts(database, base.ring),
        remote_lists=lists,
    )
