"""Login, refresh and logout. Specification: client-server API, "Login", "Refreshing access tokens"."""

from __future__ import annotations

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.rate import LOGIN_BY_ADDRESS
from homeserver.users.login import Login, LoginBody
from homeserver.users.sessions import RefreshAnswer, SessionAnswer
from homeserver.web.endpoint import NONE, USER_OR_GUEST, Requester, endpoint, endpoints


class RefreshBody(msgspec.Struct, frozen=True):
    """The refresh token."""

    refresh_token: str


@endpoint("GET", "/_matrix/client/v3/login", access=NONE)
async def login_flows(login: Login) -> dict[str, list[JsonObject]]:
    """The ways to log in."""
    return {"flows": login.flows}


@endpoint("POST", "/_matrix/client/v3/login", access=NONE, limit=LOGIN_BY_ADDRESS)
async def log_in(login: Login, body: LoginBody) -> SessionAnswer:
    """Log in."""
    return await login.log_in(body)


@endpoint("POST", "/_matrix/client/v3/refresh", access=NONE, limit=LOGIN_BY_ADDRESS)
async def refresh(login: Login, body: RefreshBody) -> RefreshAnswer:
    """New tokens for a refresh token."""
    return await login.refresh(body.refresh_token)


@endpoint("POST", "/_matrix/client/v3/logout", access=USER_OR_GUEST)
async def log_out(login: Login, who: Requester) -> None:
    """End this session."""
    await login.log_out(who)


@endpoint("POST", "/_matrix/client/v3/logout/all", access=USER_OR_GUEST)
async def log_out_everywhere(login: Login, who: Requester) -> None:
    """End all sessions of the user."""
    await login.log_out_everywhere(who)


ENDPOINTS = endpoints(__name__)
