"""Who asks. Access tokens become a `Requester`, signed requests of other servers become a `ServerName`.

Owns no table and no cache: the resolver handed to the constructor does (see `TokenResolver`). A token that the resolver
holds in memory is answered without a single await.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from homeserver.web.errors import Forbidden, GuestAccessForbidden, MissingToken, Unauthorized

if TYPE_CHECKING:
    from homeserver.core.ids import DeviceId, ServerName, UserId
    from homeserver.web.request import RequestInfo


class Access(enum.Enum):
    """Who may call an endpoint."""

    NONE = "none"  # anyone, nobody is asked who they are
    USER = "user"  # a registered account (also an appservice in a user's name)
    USER_OR_GUEST = "user_or_guest"
    OPTIONAL = "optional"  # with or without a token; a wrong token is still an error
    ADMIN = "admin"  # a server admin
    APPSERVICE = "appservice"  # an appservice, in its own name
    SERVER = "server"  # another homeserver, by X-Matrix signature


NONE = Access.NONE
USER = Access.USER
USER_OR_GUEST = Access.USER_OR_GUEST
OPTIONAL = Access.OPTIONAL
ADMIN = Access.ADMIN
APPSERVICE = Access.APPSERVICE
SERVER = Access.SERVER


@dataclass(frozen=True, slots=True)
class Requester:
    """The account and device in whose name a request acts.

    `device_number` is the database's number of the device; 0 where the token has no device (an appservice).
    `appservice_id` is set where an appservice acts, `user_id` is then the user in whose name it does.
    """

    user_id: UserId
    device_id: DeviceId | None
    device_number: int
    token_hash: bytes
    is_guest: bool = False
    is_admin: bool = False
    appservice_id: str | None = None
    expires_ms: int | None = None
    """When the token holds no more, if it does not hold until it is taken back."""


class TokenResolver(Protocol):
    """From the SHA-256 of an access token to the one who holds it."""

    def cached(self, token_hash: bytes) -> Requester | None:
        """The requester, if it is known without waiting."""
        ...

    async def resolve(self, token_hash: bytes) -> Requester:
        """The requester. Raises `errors.UnknownToken` for a token that is not valid (soft_logout: it expired)."""
        ...

    async def masquerade(self, requester: Requester, user_id: str, device_id: str | None) -> Requester:
        """The requester that an appservice's token stands for with ?user_id= (application service API, "Identity
        assertion"). Raises Forbidden where the user is outside its namespaces."""
        ...


class ServerVerifier(Protocol):
    """Checks the X-Matrix signature of another server's request (server-server API, "Request Authentication")."""

    async def __call__(self, request: RequestInfo) -> ServerName:
        """The server that signed the request. Raises `errors.Unauthorized`."""
        ...


def hash_token(token: str) -> bytes:
    """What we keep of an access token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class AccessControl:
    """Answers, for each kind of access, who the requester is, or raises the refusal that the specification asks for."""

    def __init__(
        self,
        tokens: TokenResolver,
        verify_server: ServerVerifier | None = None,
        sighted: Callable[[Requester, RequestInfo], object] | None = None,
    ) -> None:
        self._tokens = tokens
        self._verify_server = verify_server
        self._sighted = sighted
        """Hears of each request with a token that holds; on every request's way, so it must be quick."""

    def known(self, request: RequestInfo, access: Access) -> Requester | None:
        """The requester where that takes no waiting, else None (which says nothing: ask `requester` then)."""
        token = request.access_token
        if token is None:
            return None
        requester = self._tokens.cached(hash_token(token))
        if requester is None or requester.appservice_id is not None:
            return None
        _judge(requester, access)
        if self._sighted is not None:
            self._sighted(requester, request)
        return requester

    async def requester(self, request: RequestInfo, access: Access) -> Requester | None:
        """Who asks; None only for OPTIONAL access without a token. Raises MatrixError for those who may not."""
        token = request.access_token
        if token is None:
            if access is Access.OPTIONAL:
                return None
            raise MissingToken()
        token_hash = hash_token(token)
        requester = self._tokens.cached(token_hash)
        if requester is None:
            requester = await self._tokens.resolve(token_hash)
        if requester.appservice_id is not None:
            requester = await self._in_whose_name(requester, request)
        _judge(requester, access)
        if self._sighted is not None:
            self._sighted(requester, request)
        return requester

    async def server(self, request: RequestInfo) -> ServerName:
        """The server that signed the request."""
        if self._verify_server is None:
            raise Unauthorized("This server does not federate.")
        return await self._verify_server(request)

    async def _in_whose_name(self, requester: Requester, request: RequestInfo) -> Requester:
        user_id = request.query_value("user_id")
        # org.matrix.msc3202.device_id is the name before v1.17.
        device_id = request.query_value("device_id") or request.query_value("org.matrix.msc3202.device_id")
        if user_id is None and device_id is None:
            return requester
        return await self._tokens.masquerade(requester, user_id or requester.user_id, device_id)


def _judge(requester: Requester, access: Access) -> None:
    """Raise unless this requester may call an endpoint with this access."""
    if requester.is_guest and access is not Access.USER_OR_GUEST and access is not Access.OPTIONAL:
        raise GuestAccessForbidden()
    if access is Access.ADMIN and not requester.is_admin:
        raise Forbidden("Only an admin of this server may do this.")
    if access is Access.APPSERVICE and requester.appservice_id is None:
        raise Forbidden("Only an application service may do this.")
