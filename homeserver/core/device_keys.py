"""Keys that clients publish, as they must look: of devices and of users. Checked before anything is kept.

Specification: client-server API, "Device keys", "Cross-signing"; "Signing JSON" in the appendices. One-time keys are in
`one_time_keys`. All errors are sentences for the client; each kind is a class, so that the door can name its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from homeserver.core import canonical_json
from homeserver.core.canonical_json import JsonObject, JsonValue, NotCanonical
from homeserver.core.signatures import BadSignature, signature_on, signed_bytes, verify_bytes, verify_json
from homeserver.core.unpadded_base64 import decode_base64

ED25519: Final = "ed25519"
KEY_BYTES: Final = 32
MAX_DEVICE_KEYS_BYTES: Final = 65_536

MASTER: Final = "master"
SELF_SIGNING: Final = "self_signing"
USER_SIGNING: Final = "user_signing"


Signed = tuple[bytes, str]
"""A message and a signature that is said to be on it."""


class BadKeys(ValueError):
    """The object is not of the form that the specification asks for."""


class KeysOfAnother(BadKeys):
    """The keys name another user or another device than the one who uploads them."""


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """Identity keys of a device that are in order. `json`: canonical, without unsigned and signatures of others."""

    user_id: str
    device_id: str
    ed25519: str
    identity: Mapping[str, str]
    json: bytes
    key_id: str = field(init=False)
    """Under which it signs."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_id", f"{ED25519}:{self.device_id}")


@dataclass(frozen=True, slots=True)
class UserKey:
    """A cross-signing key that is in order. `json` as that of DeviceKeys."""

    user_id: str
    usage: str
    public_key: str
    json: bytes
    value: JsonObject

    @property
    def key_id(self) -> str:
        """Under which it signs."""
        return f"{ED25519}:{self.public_key}"


def read_device_keys(value: JsonObject, user_id: str, device_id: str) -> tuple[DeviceKeys, Signed]:
    """The keys of this device, and what is still to be verified. Raises KeysOfAnother, BadKeys or BadSignature."""
    if value.get("user_id") != user_id:
        raise KeysOfAnother("device_keys.user_id must be the user of the access token.")
    if value.get("device_id") != device_id:
        raise KeysOfAnother("device_keys.device_id must be the device of the access token.")
    algorithms = value.get("algorithms")
    if not isinstance(algorithms, list) or not all(isinstance(each, str) for each in algorithms):
        raise BadKeys("device_keys.algorithms must be a list of strings.")
    identity = _strings(value.get("keys"), "device_keys.keys")
    for name in identity:
        if name.partition(":")[2] != device_id:
            raise KeysOfAnother(f"device_keys.keys may only hold keys named algorithm:{device_id}.")
    key_id = f"{ED25519}:{device_id}"
    if key_id not in identity:
        raise BadKeys(f"device_keys.keys must hold {key_id}.")
    _public_key(identity[key_id], key_id)
    check_form(value.get("signatures"), "device_keys.signatures")
    json = _canonical(of_own(value, user_id), "device_keys", MAX_DEVICE_KEYS_BYTES)
    signed = signed_bytes(value), signature_on(value, user_id, key_id)
    return DeviceKeys(user_id, device_id, identity[key_id], identity, json), signed


def verify_device_keys(keys: DeviceKeys, signed: Signed) -> None:
    """Raise BadSignature unless the device has signed its keys."""
    if not verify_bytes(*signed, keys.ed25519):
        raise BadSignature(
            f"the signature of {keys.user_id} with {keys.key_id} on the keys of the device does not match"
        )


def parse_stored(json: bytes) -> DeviceKeys:
    """Device keys that were checked when they were stored."""
    value = canonical_json.decode_object(json)
    user_id, device_id = str(value["user_id"]), str(value["device_id"])
    identity = _strings(value.get("keys"), "keys")
    return DeviceKeys(user_id, device_id, identity.get(f"{ED25519}:{device_id}", ""), identity, json)


def check_user_key(value: JsonObject, user_id: str, usage: str) -> UserKey:
    """A cross-signing key of this user. Raises BadKeys; the signatures are another matter (`verify_user_key`)."""
    where = f"{usage}_key"
    if value.get("user_id") != user_id:
        raise KeysOfAnother(f"{where}.user_id must be the user of the access token.")
    usages = value.get("usage")
    if not isinstance(usages, list) or usage not in usages:
        raise BadKeys(f"{where}.usage must be a list that holds {usage}.")
    keys = _strings(value.get("keys"), f"{where}.keys")
    if len(keys) != 1:
        raise BadKeys(f"{where}.keys must hold exactly one key.")
    name, public_key = next(iter(keys.items()))
    if name != f"{ED25519}:{public_key}":
        raise BadKeys(f"{where}.keys must hold one key that is named {ED25519}: and the key itself.")
    _public_key(public_key, where)
    if "signatures" in value:
        check_form(value["signatures"], f"{where}.signatures")
    return UserKey(user_id, usage, public_key, _canonical(of_own(value, user_id), where, MAX_DEVICE_KEYS_BYTES), value)


def verify_user_key(key: UserKey, master: str) -> None:
    """Raise BadSignature unless the user's master key has signed this key."""
    verify_json(key.value, key.user_id, f"{ED25519}:{master}", master)


def without_signatures(value: JsonObject) -> bytes:
    """What a signature covers, to compare two forms of the same key. Raises BadKeys."""
    return _canonical({k: v for k, v in value.items() if k != "signatures" and k != "unsigned"}, "the key", None)


def signatures_by(value: JsonObject, signer: str) -> dict[str, str]:
    """The Ed25519 signatures of a user on a key, by the id of the signing key."""
    signatures = value.get("signatures")
    by_key = signatures.get(signer) if isinstance(signatures, dict) else None
    if not isinstance(by_key, dict):
        return {}
    return {
        key_id: signature
        for key_id, signature in by_key.items()
        if key_id.startswith(f"{ED25519}:") and isinstance(signature, str)
    }


def of_own(value: JsonObject, user_id: str) -> JsonObject:
    """Without unsigned, and without signatures of others, who publish theirs themselves."""
    own = {key: inner for key, inner in value.items() if key != "unsigned"}
    signatures = value.get("signatures")
    if isinstance(signatures, dict):
        own["signatures"] = {signer: by_key for signer, by_key in signatures.items() if signer == user_id}
    return own


def with_signatures(value: JsonObject, signatures: Mapping[str, Mapping[str, str]]) -> JsonObject:
    """A key with more signatures, by signer and signing key."""
    held = value.get("signatures")
    merged: JsonObject = dict(held) if isinstance(held, dict) else {}
    for signer, by_key in signatures.items():
        known = merged.get(signer)
        merged[signer] = {**(known if isinstance(known, dict) else {}), **by_key}
    return {**value, "signatures": merged}


def check_form(signatures: JsonValue, what: str) -> None:
    """Raise BadKeys unless these are signatures: strings by signer and key."""
    if not isinstance(signatures, dict):
        raise BadKeys(f"{what} must be an object.")
    for signer, by_key in signatures.items():
        _strings(by_key, f"{what}: {signer[:80]}")


def _canonical(value: JsonValue, what: str, limit_bytes: int | None) -> bytes:
    try:
        json = canonical_json.encode(value)
    except NotCanonical as error:
        raise BadKeys(f"{what} has no canonical JSON form, so it cannot be signed: {error}.") from None
    if limit_bytes is not None and len(json) > limit_bytes:
        raise BadKeys(f"{what} may have at most {limit_bytes} bytes.")
    return json


def _strings(value: JsonValue, what: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise BadKeys(f"{what} must be an object.")
    found: dict[str, str] = {}
    for name, text in value.items():
        if not isinstance(text, str):
            raise BadKeys(f"{what}: {name[:80]} must be a string.")
        found[name] = text
    return found


def _public_key(text: str, what: str) -> None:
    try:
        key = decode_base64(text)
    except ValueError:
        raise BadKeys(f"{what} must be unpadded base64.") from None
    if len(key) != KEY_BYTES:
        raise BadKeys(f"{what} must have {KEY_BYTES} bytes.")
