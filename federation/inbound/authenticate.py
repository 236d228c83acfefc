"""Who a request of another server is from: checks its X-Matrix signature. It is the `ServerVerifier` of web.access.

Specification: server-server API, "Request Authentication".
"""

from __future__ import annotations

from collections.abc import Iterator

from federation.outbound import x_matrix
from federation.outbound.destinations import Destinations
from federation.outbound.keyring import KeyRing
from federation.outbound.x_matrix import BadXMatrix, XMatrix
from homeserver.core import canonical_json
from homeserver.core.canonical_json import MAX_FEDERATION_NESTING, BadJson, NotCanonical
from homeserver.core.ids import InvalidId, ServerName, parse_server_name
from homeserver.core.signatures import BadSignature
from homeserver.web.errors import NotJson, Unauthorized
from homeserver.web.request import RequestInfo


class SignedRequests:
    """Lets signed requests through, and tells who signed them."""

    def __init__(self, server_name: ServerName, ring: KeyRing, destinations: Destinations) -> None:
        self._server_name = server_name
        self._ring = ring
        self._destinations = destinations

    async def __call__(self, request: RequestInfo) -> ServerName:
        """The server that signed the request. Raises Unauthorized."""
        credentials = self._credentials(request.header("authorization"))
        origin, destination = credentials[0].origin, credentials[0].destination
        signed_with = {each.key_id: each.signature for each in credentials if each.key_id.startswith("ed25519:")}
        if not signed_with:
            raise Unauthorized("The request is not signed with an ed25519 key.")
        try:
            for message in _forms(request, origin, destination):
                if await self._ring.holds(origin, signed_with, message):
                    break
            else:
                raise BadSignature(f"the signature of {origin} does not match")
        except BadSignature as error:
            raise Unauthorized(f"The signature of this request cannot be accepted: {error}.") from None
        self._destinations.heard_from(origin)
        return ServerName(origin)

    def _credentials(self, header: str | None) -> tuple[XMatrix, ...]:
        """The signatures in the header, all by one server and meant for this one."""
        if header is None:
            raise Unauthorized("The request is not signed: it needs a header Authorization: X-Matrix …")
        try:
            credentials = x_matrix.parse(header)
        except BadXMatrix as error:
            raise Unauthorized(str(error)) from None
        origin, destination = credentials[0].origin, credentials[0].destination
        if any((each.origin, each.destination) != (origin, destination) for each in credentials):
            raise Unauthorized("The signatures of this request are of different servers, or for different ones.")
        if destination is not None and destination != self._server_name:
            raise Unauthorized(f"The request is for {destination[:255]}, and this server is {self._server_name}.")
        try:
            parse_server_name(origin)
        except InvalidId as error:
            raise Unauthorized(f"{error}.") from None
        if origin == self._server_name:
            raise Unauthorized("The request says that it is from this server, which does not ask itself.")
        return credentials


def _forms(request: RequestInfo, origin: str, destination: str | None) -> Iterator[bytes]:
    """What the signature may cover: the body as it came, as servers send what they have signed; its canonical form."""

    def signed(body: bytes | None) -> bytes:
        return x_matrix.signed_bytes(request.method, request.target, origin, destination, body)

    if not request.body:
        yield signed(None)
        return
    # One whole value of JSON, or the signature might be one over a message that is put together differently.
    if canonical_json.is_json(request.body):
        yield signed(request.body)
    canonical = _canonical(request.body)
    if canonical != request.body:
        yield signed(canonical)


def _canonical(body: bytes) -> bytes:
    try:
        return canonical_json.encode_lenient(canonical_json.decode(body, MAX_FEDERATION_NESTING))
    except (BadJson, NotCanonical) as error:
        raise NotJson(f"The request body has no canonical form, so its signature cannot be checked: {error}.") from None
