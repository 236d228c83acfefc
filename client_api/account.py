"""One's own account. Specification: client-server API, "Account registration and management"."""

from __future__ import annotations

import msgspec

from homeserver.core.rate import LOGIN_BY_ADDRESS, OTHER
from homeserver.users.accounts import Accounts, WhoAmI
from homeserver.web.decode import ObjectField
from homeserver.web.endpoint import USER, USER_OR_GUEST, Requester, endpoint, endpoints


class PasswordBody(msgspec.Struct, frozen=True):
    """The new password."""

    new_password: str
    auth: ObjectField | None = None
    logout_devices: bool = True


class DeactivateBody(msgspec.Struct, frozen=True):
    """Whether what the user told goes too."""

    auth: ObjectField | None = None
    erase: bool = False


@endpoint("GET", "/_matrix/client/v3/account/whoami", access=USER_OR_GUEST, limit=OTHER)
async def whoami(accounts: Accounts, who: Requester) -> WhoAmI:
    """Whose access token this is."""
    return WhoAmI(who.user_id, who.device_id, who.is_guest)


@endpoint("POST", "/_matrix/client/v3/account/password", access=USER, limit=LOGIN_BY_ADDRESS)
async def change_password(accounts: Accounts, who: Requester, body: PasswordBody) -> None:
    """Set another password."""
    await accounts.change_password(who, body.new_password, body.auth, logout_devices=body.logout_devices)


@endpoint("POST", "/_matrix/client/v3/account/deactivate", access=USER, limit=LOGIN_BY_ADDRESS)
async def deactivate(accounts: Accounts, who: Requester, body: DeactivateBody) -> dict[str, str]:
    """Close the account. No third-party identifier is bound to it, so there is none left to unbind."""
    await accounts.deactivate(who, body.auth, erase=body.erase)
    return {"id_server_unbind_result": "success"}


@endpoint("GET", "/_matrix/client/v3/account/3pid", access=USER)
async def third_party_identifiers(accounts: Accounts, who: Requester) -> dict[str, list[str]]:
    """None: as m.3pid_changes in the capabilities says, this server binds none."""
    return {"threepids": []}


ENDPOINTS = endpoints(__name__)
