"""Keys of devices. Specification: client-server API, "Key management API" of end-to-end encryption."""

from __future__ import annotations

import msgspec

from homeserver.core.rate import KEYS
from homeserver.encryption.keys import Keys
from homeserver.encryption.uploads import Upload
from homeserver.web.decode import decode_object
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints

DEFAULT_TIMEOUT_MS = 10_000
LONGEST_TIMEOUT_MS = 60_000
MAX_QUERY_BYTES = 8 * 1024 * 1024


class UploadBody(msgspec.Struct, frozen=True):
    """What a device uploads."""

    device_keys: msgspec.Raw = msgspec.Raw(b"null")
    one_time_keys: dict[str, msgspec.Raw] | None = None
    fallback_keys: dict[str, msgspec.Raw] | None = None


class QueryBody(msgspec.Struct, frozen=True):
    """Whose keys, and of which devices."""

    device_keys: dict[str, list[str]]
    timeout: int = DEFAULT_TIMEOUT_MS


class ClaimBody(msgspec.Struct, frozen=True):
    """Which keys are wanted: user, device, algorithm."""

    one_time_keys: dict[str, dict[str, str]]
    timeout: int = DEFAULT_TIMEOUT_MS


@endpoint("POST", "/_matrix/client/v3/keys/upload", access=USER_OR_GUEST, limit=KEYS)
async def upload_keys(keys: Keys, who: Requester, body: UploadBody) -> dict[str, dict[str, int]]:
    """Publish keys of the device."""
    device_keys = None if bytes(body.device_keys) == b"null" else decode_object(bytes(body.device_keys))
    upload = Upload(device_keys, body.one_time_keys or {}, body.fallback_keys or {})
    return {"one_time_key_counts": await keys.uploads.upload(who, upload)}


@endpoint("POST", "/_matrix/client/v3/keys/query", access=USER_OR_GUEST, limit=KEYS, body_limit_bytes=MAX_QUERY_BYTES)
async def query_keys(keys: Keys, who: Requester, body: QueryBody) -> dict[str, object]:
    """Look up the keys of users and their devices."""
    return await keys.queries.query(who.user_id, body.device_keys, _timeout_ms(body.timeout))


@endpoint("POST", "/_matrix/client/v3/keys/claim", access=USER_OR_GUEST, limit=KEYS, body_limit_bytes=MAX_QUERY_BYTES)
async def claim_keys(keys: Keys, who: Requester, body: ClaimBody) -> dict[str, object]:
    """Take one-time keys."""
    return await keys.claims.claim(body.one_time_keys, _timeout_ms(body.timeout))


def _timeout_ms(asked_ms: int) -> int:
    return max(1, min(asked_ms, LONGEST_TIMEOUT_MS))


ENDPOINTS = endpoints(__name__)
