"""Signatures on keys. Specification: client-server API, "Cross-signing"."""

from __future__ import annotations

from homeserver.core.canonical_json import JsonObject
from homeserver.core.rate import KEYS
from homeserver.encryption.signatures import SignatureUploads, uploaded_signatures
from homeserver.web.endpoint import USER, Requester, endpoint, endpoints


@endpoint(
    "POST",
    "/_matrix/client/v3/keys/signatures/upload",
    access=USER,
    limit=KEYS,
    also=("/_matrix/client/unstable/keys/signatures/upload",),
)
async def upload_signatures(
    signatures: SignatureUploads, who: Requester, content: JsonObject
) -> dict[str, dict[str, JsonObject]]:
    """Publish signatures; answers with those that are not kept, and why."""
    return {"failures": await signatures.upload(who.user_id, uploaded_signatures(content))}


ENDPOINTS = endpoints(__name__)
