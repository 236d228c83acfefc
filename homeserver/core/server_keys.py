"""What servers publish about their signing keys, and for what a key may be used.

Specification: server-server API, "Publishing Keys" and GET /_matrix/key/v2/server; rooms/v5, "Signing key validity
period".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from homeserver.core import signatures
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.room_rules import RoomRules
from homeserver.core.signatures import BadSignature
from homeserver.core.unpadded_base64 import decode_base64

LONGEST_VALIDITY_MS: Final = 7 * 24 * 3_600_000
MAX_KEYS: Final = 200
MAX_KEY_ID_LENGTH: Final = 128
MAX_TS: Final = 2**63 - 1
KEY_BYTES: Final = 32


class BadServerKeys(ValueError):
    """What is said to be a server's keys cannot be taken; the text says why."""


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A key of a server as we know it. A key that is no longer used has `expired_ts`, one in use None."""

    key_id: str
    key_base64: str
    valid_until_ts: int
    """Up to when the key is known to be in use: what the server said, at most 7 days after it was heard."""
    expired_ts: int | None = None


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """One response of /_matrix/key/v2/server, checked."""

    server: str
    keys: tuple[VerifyKey, ...]
    valid_until_ts: int
    published: JsonObject
    """The response as it came, with the signatures."""


def parse_server_keys(value: JsonObject, server: str, now_ms: int) -> ServerKeys:
    """A response about a server's keys that the server signed itself; BadServerKeys otherwise."""
    if value.get("server_name") != server:
        raise BadServerKeys(f"the keys are not those of {server}, but of {str(value.get('server_name'))[:255]!r}")
    valid_until_ts = value.get("valid_until_ts")
    if not _is_timestamp(valid_until_ts):
        raise BadServerKeys("valid_until_ts must be an integer")
    valid_until_ts = cast(int, valid_until_ts)
    held_until_ts = min(valid_until_ts, now_ms + LONGEST_VALIDITY_MS)
    current = _read_keys(value.get("verify_keys"), held_until_ts, old=False)
    old = _read_keys(value.get("old_verify_keys", {}), held_until_ts, old=True)
    _check_own_signatures(value, server, {key.key_id: key for key in current})
    known = {key.key_id: key for key in (*old, *current)}  # a key that is in both is in use
    return ServerKeys(server, tuple(known.values()), valid_until_ts, value)


def merged(known: VerifyKey | None, heard: VerifyKey, *, from_owner: bool) -> VerifyKey:
    """What we know of a key once we have heard of it again, from the server that it belongs to or from a notary.

    The owner's word replaces what was known; a notary, whose word may be older, can only prolong.
    """
    if known is None:
        return heard
    if from_owner:
        if heard.key_base64 == known.key_base64 and heard.expired_ts is None and known.expired_ts is None:
            return max(known, heard, key=lambda key: key.valid_until_ts)
        return heard
    if heard.key_base64 != known.key_base64 or known.expired_ts is not None:
        return known
    return heard if heard.expired_ts is not None or heard.valid_until_ts > known.valid_until_ts else known


def may_sign_event(key: VerifyKey, origin_server_ts: int, rules: RoomRules) -> bool:
    """Whether a signature with this key counts on an event of that time."""
    if key.expired_ts is not None:
        # Server-server API, "Validating hashes and signatures on received events": keys that are known to have expired
        # before the event's origin_server_ts are ignored. In every room version.
        return key.expired_ts >= origin_server_ts
    return not rules.key_validity_enforced or key.valid_until_ts >= origin_server_ts


def may_sign_at(key: VerifyKey, minimum_valid_until_ts: int) -> bool:
    """Whether a signature with this key counts on a request, or on anything else that is no event."""
    return key.expired_ts is None and key.valid_until_ts >= minimum_valid_until_ts


def _read_keys(value: JsonValue, valid_until_ts: int, *, old: bool) -> list[VerifyKey]:
    name = "old_verify_keys" if old else "verify_keys"
    if not isinstance(value, dict) or len(value) > MAX_KEYS:
        raise BadServerKeys(f"{name} must be an object of at most {MAX_KEYS} keys")
    found = []
    for key_id, entry in value.items():
        if not key_id.startswith("ed25519:") or len(key_id) > MAX_KEY_ID_LENGTH or "\0" in key_id:
            continue  # algorithms that we do not know are no mistake
        key = entry.get("key") if isinstance(entry, dict) else None
        expired_ts = entry.get("expired_ts") if old and isinstance(entry, dict) else None
        if not isinstance(key, str) or not _is_key(key) or (old and not _is_timestamp(expired_ts)):
            raise BadServerKeys(f"{name} holds a malformed key {key_id}")
        found.append(VerifyKey(key_id, key, valid_until_ts, cast("int | None", expired_ts)))
    return found


def _check_own_signatures(value: JsonObject, server: str, keys: dict[str, VerifyKey]) -> None:
    """At least one of the keys in use must have signed, and none wrongly."""
    signed_with = [key_id for key_id in signatures.key_ids_of(value, server) if key_id in keys]
    if not signed_with:
        raise BadServerKeys(f"{server} did not sign its keys with one of them")
    for key_id in signed_with:
        try:
            signatures.verify_json(value, server, key_id, keys[key_id].key_base64)
        except BadSignature as error:
            raise BadServerKeys(str(error)) from None


def _is_key(text: str) -> bool:
    try:
        return len(decode_base64(text)) == KEY_BYTES
    except ValueError:
        return False


def _is_timestamp(value: JsonValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TS
