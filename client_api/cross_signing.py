"""Keys of users. Specification: client-server API, "Cross-signing"; and what an admin may allow, outside of it."""

from __future__ import annotations

import msgspec

from homeserver.core.device_keys import MASTER, SELF_SIGNING, USER_SIGNING
from homeserver.core.ids import UserId
from homeserver.core.rate import KEYS, OTHER
from homeserver.encryption.cross_signing import CrossSigning
from homeserver.web.decode import ObjectField
from homeserver.web.endpoint import ADMIN, USER, Requester, endpoint, endpoints


class UserKeysBody(msgspec.Struct, frozen=True):
    """Keys, and the user's confirmation where they replace others."""

    master_key: ObjectField | None = None
    self_signing_key: ObjectField | None = None
    user_signing_key: ObjectField | None = None
    auth: ObjectField | None = None


@endpoint(
    "POST",
    "/_matrix/client/v3/keys/device_signing/upload",
    access=USER,
    limit=KEYS,
    also=("/_matrix/client/unstable/keys/device_signing/upload",),
)
async def upload_user_keys(cross_signing: CrossSigning, who: Requester, body: UserKeysBody) -> None:
    """Publish cross-signing keys."""
    keys = {MASTER: body.master_key, SELF_SIGNING: body.self_signing_key, USER_SIGNING: body.user_signing_key}
    await cross_signing.upload(who, keys, body.auth)


@endpoint(
    "POST",
    "/_synapse/admin/v1/users/{user_id}/_allow_cross_signing_replacement_without_uia",
    access=ADMIN,
    limit=OTHER,
)
async def allow_replacement(cross_signing: CrossSigning, who: Requester, user_id: UserId) -> dict[str, int]:
    """Let a user who cannot confirm it take other keys, within some minutes."""
    return {"updatable_without_uia_before_ms": await cross_signing.allow_replacement(user_id)}


ENDPOINTS = endpoints(__name__)
