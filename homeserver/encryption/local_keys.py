"""The public keys of local users, as one reader may see them: read and put together in a database thread.

Who reads decides which signatures are shown (client-server API, "Key and signature security"): those that the key's own
user made, and those that the reader made, so that nobody learns who has verified whom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from homeserver.core import canonical_json
from homeserver.core.canonical_json import JsonObject
from homeserver.core.device_keys import MASTER, SELF_SIGNING, USER_SIGNING, with_signatures
from storage import accounts as account_table
from storage import cross_signing as cross_signing_table
from storage import device_keys as device_key_table
from storage.database import Cursor

Signatures = Mapping[tuple[str, str], Mapping[str, Mapping[str, str]]]
"""User and key → signer → signing key → signature."""


@dataclass(slots=True)
class FoundKeys:
    """An answer of /keys/query in the making."""

    device_keys: JsonObject = field(default_factory=dict)
    master_keys: JsonObject = field(default_factory=dict)
    self_signing_keys: JsonObject = field(default_factory=dict)
    user_signing_keys: JsonObject = field(default_factory=dict)

    def add_user_key(self, user_id: str, usage: str, key: JsonObject) -> None:
        """Add a cross-signing key."""
        {MASTER: self.master_keys, SELF_SIGNING: self.self_signing_keys, USER_SIGNING: self.user_signing_keys}[usage][
            user_id
        ] = key


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """Keys of a user, encoded, with the signatures that everybody may see. `user_signing` is for the user alone."""

    devices: Mapping[str, msgspec.Raw]
    all_devices: msgspec.Raw
    master: msgspec.Raw | None
    self_signing: msgspec.Raw | None
    user_signing: msgspec.Raw | None

    @property
    def weight_bytes(self) -> int:
        """About what they take in memory."""
        return 1_000 + 200 * len(self.devices) + 2 * len(bytes(self.all_devices))


def read_local_keys(tx: Cursor, wanted: Mapping[str, Sequence[str]], reader: str | None) -> FoundKeys:
    """The keys of local users and of their devices (an empty list: all of them). `reader` None: another server."""
    user_ids = list(wanted)
    found = FoundKeys({user_id: {} for user_id in sorted(account_table.existing(tx, user_ids))})
    signatures = read_signatures(tx, user_ids, reader)
    for device in device_key_table.of_users(tx, user_ids):
        if wanted[device.user_id] and device.device_id not in wanted[device.user_id]:
            continue
        keys = signed(canonical_json.decode_object(device.json), signatures.get((device.user_id, device.device_id)))
        if device.display_name is not None:
            keys["unsigned"] = {"device_display_name": device.display_name}
        devices = found.device_keys.setdefault(device.user_id, {})
        if isinstance(devices, dict):
            devices[device.device_id] = keys
    add_user_keys(tx, found, user_ids, signatures, reader)
    return found


def read_published(tx: Cursor, user_ids: Sequence[str]) -> dict[str, PublishedKeys]:
    """The keys of those users that there are."""
    signatures = read_signatures(tx, user_ids, None)
    devices: dict[str, dict[str, msgspec.Raw]] = {}
    for user_id, device_id, name, json in device_key_table.beside_users(tx, user_ids):
        theirs = devices.setdefault(user_id, {})
        if device_id is not None and json is not None:
            theirs[device_id] = _encoded(json.encode(), signatures.get((user_id, device_id)), name)
    user_keys: dict[tuple[str, str], msgspec.Raw] = {}
    for key in cross_signing_table.keys_of(tx, user_ids):
        user_keys[key.user_id, key.usage] = _encoded(key.json, signatures.get((key.user_id, key.public_key)), None)
    return {
        user_id: PublishedKeys(
            theirs,
            msgspec.Raw(msgspec.json.encode(theirs)),
            *(user_keys.get((user_id, usage)) for usage in (MASTER, SELF_SIGNING, USER_SIGNING)),
        )
        for user_id, theirs in devices.items()
    }


def _encoded(json: bytes, signatures: Mapping[str, Mapping[str, str]] | None, name: str | None) -> msgspec.Raw:
    """A key as it is shown. What is stored is kept as it is where it is enough."""
    if signatures is not None:
        json = msgspec.json.encode(with_signatures(canonical_json.decode_object(json), signatures))
    if name is not None:
        # Every key has members, and none is called unsigned.
        json = b'%s,"unsigned":{"device_display_name":%s}}' % (json[:-1], msgspec.json.encode(name))
    return msgspec.Raw(json)


def add_user_keys(
    tx: Cursor, found: FoundKeys, user_ids: Sequence[str], signatures: Signatures, reader: str | None
) -> None:
    """Add the cross-signing keys of users; user-signing keys are for the user alone."""
    for key in cross_signing_table.keys_of(tx, user_ids):
        if key.usage != USER_SIGNING or key.user_id == reader:
            value = signed(canonical_json.decode_object(key.json), signatures.get((key.user_id, key.public_key)))
            found.add_user_key(key.user_id, key.usage, value)


def read_signatures(tx: Cursor, user_ids: Sequence[str], reader: str | None) -> Signatures:
    """The signatures that were uploaded by themselves, as far as the reader may see them."""
    found: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for each in cross_signing_table.signatures_on(tx, user_ids, reader):
        by_signer = found.setdefault((each.user_id, each.key_id), {})
        by_signer.setdefault(each.signer, {})[each.signer_key] = each.signature
    return found


def signed(value: JsonObject, signatures: Mapping[str, Mapping[str, str]] | None) -> JsonObject:
    """A key with further signatures, if there are any."""
    return value if signatures is None else with_signatures(value, signatures)
