"""Registration. Specification: client-server API, "Account registration and management"."""

from __future__ import annotations

from typing import Literal

import msgspec

from homeserver.core.rate import LOGIN_BY_ADDRESS, REGISTRATION
from homeserver.users.registration import RegisterBody, Registration
from homeserver.users.sessions import SessionAnswer
from homeserver.web.endpoint import NONE, endpoint, endpoints


class KindQuery(msgspec.Struct, frozen=True):
    """The kind of account."""

    kind: Literal["user", "guest"] = "user"


class UsernameQuery(msgspec.Struct, frozen=True):
    """The name that somebody would like to have."""

    username: str


class TokenQuery(msgspec.Struct, frozen=True):
    """A registration token."""

    token: str


@endpoint("POST", "/_matrix/client/v3/register", access=NONE, limit=REGISTRATION)
async def register(registration: Registration, query: KindQuery, body: RegisterBody) -> SessionAnswer:
    """Make an account."""
    if query.kind == "guest":
        return await registration.register_guest(body)
    return await registration.register(body)


@endpoint("GET", "/_matrix/client/v3/register/available", access=NONE, limit=LOGIN_BY_ADDRESS)
async def is_available(registration: Registration, query: UsernameQuery) -> dict[str, bool]:
    """Whether a name can be had."""
    await registration.check_available(query.username)
    return {"available": True}


@endpoint(
    "GET",
    "/_matrix/client/v1/register/m.login.registration_token/validity",
    access=NONE,
    limit=LOGIN_BY_ADDRESS,
    also=("/_matrix/client/unstable/org.matrix.msc3231/register/org.matrix.msc3231.login.registration_token/validity",),
)
async def is_token_valid(registration: Registration, query: TokenQuery) -> dict[str, bool]:
    """Whether a registration token is good."""
    return {"valid": await registration.is_token_valid(query.token)}


ENDPOINTS = endpoints(__name__)
