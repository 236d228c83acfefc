"""Signatures on keys: devices sign their user's master key, users their devices and each other.

Specification: client-server API, POST /keys/signatures/upload; "Key and signature security".
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from homeserver.core import canonical_json
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.device_keys import (
    ED25519,
    MASTER,
    SELF_SIGNING,
    USER_SIGNING,
    BadKeys,
    signatures_by,
    without_signatures,
)
from homeserver.core.ids import ServerName
from homeserver.core.signatures import BadSignature, verify_json
from homeserver.encryption.queries import KeyQueries
from homeserver.encryption.servers import by_server
from homeserver.runtime.log import Writer
from homeserver.web.errors import BadJson
from storage import cross_signing as cross_signing_table
from storage import device_keys as device_key_table
from storage.cross_signing import CrossSigningKey, KeySignature
from storage.database import Cursor, Database
from storage.rows import DeviceListRow, Entry, SignedOthersRow

TIMEOUT_MS = 10_000

Uploaded = Mapping[str, Mapping[str, JsonValue]]
"""User id → id of a device, or public key → the key with signatures."""


def uploaded_signatures(content: JsonObject) -> Uploaded:
    """The body of a request, as far as its outer form goes."""
    found: dict[str, Mapping[str, JsonValue]] = {}
    for user_id, keys in content.items():
        if not isinstance(keys, dict):
            raise BadJson(f"{user_id[:80]} must be an object: keys by their ids.")
        found[user_id] = keys
    return found


class Unusable(Exception):
    """A signature that is not kept, with its error code."""

    def __init__(self, errcode: str, message: str) -> None:
        super().__init__(message)
        self.errcode = errcode


@dataclass(slots=True)
class Verified:
    """What became of an upload."""

    signatures: list[KeySignature] = field(default_factory=list)
    failures: dict[str, JsonObject] = field(default_factory=dict)

    def fail(self, user_id: str, key_id: str, error: Unusable) -> None:
        """Note why a signature is not kept."""
        self.failures.setdefault(user_id, {})[key_id] = {"errcode": error.errcode, "error": str(error)}


class SignatureUploads:
    """Takes signatures of users on their own keys and on the master keys of others."""

    def __init__(self, database: Database, writer: Writer, queries: KeyQueries, server_name: ServerName) -> None:
        self._database = database
        self._writer = writer
        self._queries = queries
        self._server_name = server_name

    async def upload(self, user_id: str, uploaded: Uploaded) -> dict[str, JsonObject]:
        """Keep the signatures that hold; why the others do not, by user and key."""
        _, elsewhere = by_server(uploaded, self._server_name)
        remote = {each: keys for users in elsewhere.values() for each, keys in users.items()}
        masters: JsonObject = {}
        if remote:
            found = await self._queries.query(user_id, dict.fromkeys(remote, ()), TIMEOUT_MS)
            answer = found["master_keys"]
            masters = answer if isinstance(answer, dict) else {}
        # In a database thread, where checking signatures holds nobody up.
        verified, devices = await self._database.read(_verify, user_id, uploaded, masters)
        signatures = verified.signatures
        if signatures:
            # All others may see signatures on own keys; those on keys of others are for the signer alone.
            others = frozenset(each.user_id for each in signatures) - {user_id}
            entries: list[Entry] = [SignedOthersRow(user_id, others)] if others else []
            own = {each.key_id for each in signatures if each.user_id == user_id}
            entries += [DeviceListRow(user_id, key_id if key_id in devices else None) for key_id in sorted(own)]
            await self._writer.append(
                entries, also=[lambda tx: cross_signing_table.put_signatures(tx, signatures, entries[0].position)]
            )
        return verified.failures


def _verify(tx: Cursor, user_id: str, uploaded: Uploaded, masters: JsonObject) -> tuple[Verified, Container[str]]:
    """Check each signature against the key as we have it, and against the key that made it; the user's device ids."""
    verified = Verified()
    own = {key.usage: key for key in cross_signing_table.keys_of(tx, [user_id])}
    devices = {
        device.device_id: canonical_json.decode_object(device.json)
        for device in device_key_table.of_users(tx, [user_id])
    }
    others = [each for each in uploaded if each != user_id]
    known_masters: JsonObject = {
        key.user_id: canonical_json.decode_object(key.json)
        for key in cross_signing_table.keys_of(tx, others)
        if key.usage == MASTER
    }
    # What another server has answered just now goes before what is left of it here.
    known_masters = {**known_masters, **masters}
    for target, keys in uploaded.items():
        for key_id, value in keys.items():
            try:
                if not isinstance(value, dict):
                    raise Unusable("M_BAD_JSON", "This must be the key with its signatures.")
                if target == user_id:
                    verified.signatures += _on_own(user_id, key_id, value, own, devices)
                else:
                    verified.signatures += _on_master(user_id, target, key_id, value, own, known_masters)
            except Unusable as error:
                verified.fail(target, key_id, error)
    return verified, devices.keys()


def _on_own(
    user_id: str,
    key_id: str,
    value: JsonObject,
    own: Mapping[str, CrossSigningKey],
    devices: Mapping[str, JsonObject],
) -> list[KeySignature]:
    """Signatures on a device of the user by the self-signing key, or on the master key by devices."""
    master = own.get(MASTER)
    if master is not None and key_id == master.public_key:
        _must_be_same(value, canonical_json.decode_object(master.json))
        signers = {f"{ED25519}:{device_id}": _key_of(keys, device_id) for device_id, keys in devices.items()}
    elif key_id in devices:
        _must_be_same(value, devices[key_id])
        signer = own.get(SELF_SIGNING)
        if signer is None:
            raise Unusable("M_INVALID_SIGNATURE", "You have no self-signing key to sign devices with.")
        signers = {f"{ED25519}:{signer.public_key}": signer.public_key}
        # The signature of the device itself came with its keys, and comes along here.
        signers[f"{ED25519}:{key_id}"] = _key_of(devices[key_id], key_id)
    else:
        raise Unusable("M_NOT_FOUND", "You have no such device or master key.")
    return _signatures(user_id, user_id, key_id, value, signers)


def _on_master(
    user_id: str,
    target: str,
    key_id: str,
    value: JsonObject,
    own: Mapping[str, CrossSigningKey],
    masters: JsonObject,
) -> list[KeySignature]:
    """Signatures on the master key of another user by the user-signing key."""
    master = masters.get(target)
    keys = master.get("keys") if isinstance(master, dict) else None
    if not isinstance(master, dict) or not isinstance(keys, dict) or f"{ED25519}:{key_id}" not in keys:
        raise Unusable("M_NOT_FOUND", f"{target} has no such master key; of others, only that can be signed.")
    _must_be_same(value, master)
    signer = own.get(USER_SIGNING)
    if signer is None:
        raise Unusable("M_INVALID_SIGNATURE", "You have no user-signing key to sign others' keys with.")
    signers = {f"{ED25519}:{signer.public_key}": signer.public_key}
    return _signatures(user_id, target, key_id, value, signers)


def _must_be_same(value: JsonObject, known: JsonObject) -> None:
    try:
        is_same = without_signatures(value) == without_signatures(known)
    except BadKeys as error:
        raise Unusable("M_BAD_JSON", str(error)) from None
    if not is_same:
        raise Unusable("M_INVALID_SIGNATURE", "This is not the key as it was published.")


def _key_of(keys: JsonObject, device_id: str) -> str:
    identity = keys.get("keys")
    key = identity.get(f"{ED25519}:{device_id}") if isinstance(identity, dict) else None
    return key if isinstance(key, str) else ""


def _signatures(
    user_id: str, target: str, key_id: str, value: JsonObject, signers: Mapping[str, str]
) -> list[KeySignature]:
    """The signatures of the user on a key, each checked. Others' signatures are theirs to upload."""
    found = []
    for signer_key, signature in signatures_by(value, user_id).items():
        if signer_key not in signers:
            raise Unusable("M_INVALID_SIGNATURE", f"{signer_key} is none of your keys that may sign this.")
        try:
            verify_json(value, user_id, signer_key, signers[signer_key])
        except BadSignature as error:
            raise Unusable("M_INVALID_SIGNATURE", f"The signature does not hold: {error}.") from None
        found.append(KeySignature(target, key_id, user_id, signer_key, signature))
    if not found:
        raise Unusable("M_INVALID_SIGNATURE", "There is no signature of yours on this.")
    return found
