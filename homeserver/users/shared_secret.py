"""Accounts for those who know a secret: scripts, bridges, test suites, and the admin's `./synctl register-user`.

The protocol is the de-facto standard of `/_synapse/admin/v1/register`: a nonce that is good for one minute and one use,
and an HMAC-SHA1 with the secret over nonce, name, password and "admin" or "notadmin", with zero bytes between them.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from typing import Final

import msgspec

from homeserver.core import rate
from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru
from homeserver.users.new_accounts import FirstSession, NewAccounts
from homeserver.users.passwords import Passwords
from homeserver.users.sessions import SessionAnswer
from homeserver.web.errors import BadRequest, Forbidden
from homeserver.web.limits import Limiter, address_key

NONCE_LIFETIME_S: Final = 60.0
MAX_NONCES: Final = 10_000


class SharedSecretBody(msgspec.Struct, frozen=True):
    """The account that is wanted, and the proof of knowing the secret."""

    nonce: str
    username: str
    password: str
    mac: str
    admin: bool = False
    displayname: str | None = None
    user_type: str | None = None
    inhibit_login: bool = False
    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool = False


class SharedSecretRegistration:
    """Makes accounts for those who know the secret.

    `shared_secret` is the one in the config, good from everywhere; None: there is none. `local_secret` is the one in
    the data folder, good for those on this machine who can read it.
    """

    def __init__(
        self,
        shared_secret: str | None,
        local_secret: str,
        accounts: NewAccounts,
        passwords: Passwords,
        limiter: Limiter,
        clock: Clock,
    ) -> None:
        self._shared_secret = shared_secret
        self._local_secret = local_secret
        self._accounts = accounts
        self._passwords = passwords
        self._limiter = limiter
        self._clock = clock
        self._nonces: Lru[str, float] = Lru(MAX_NONCES)

    def nonce(self, ip: str) -> str:
        """A nonce for one registration."""
        self._secrets(ip)
        nonce = secrets.token_hex(32)
        self._nonces.put(nonce, self._clock.monotonic_s() + NONCE_LIFETIME_S)
        return nonce

    async def register(self, body: SharedSecretBody, ip: str) -> SessionAnswer:
        """Make an account, if the proof is right."""
        good = self._secrets(ip)
        until_s = self._nonces.discard(body.nonce)
        if until_s is None or until_s < self._clock.monotonic_s():
            raise BadRequest("This nonce is not known (any more): ask for another one.", "M_UNKNOWN")
        if "\0" in body.username or "\0" in body.password:
            raise BadRequest("User names and passwords have no NUL characters.", "M_UNKNOWN")
        if not any(hmac.compare_digest(_mac(secret, body).encode(), body.mac.lower().encode()) for secret in good):
            self._limiter.spend(rate.FAILED_LOGIN, f"shared secret from {address_key(ip)}")
            raise Forbidden("HMAC incorrect: the secret is another one, or the parts were put together in another way.")
        user_id = self._accounts.user_id_of(body.username)
        await self._accounts.check_available(user_id)
        return await self._accounts.make(
            user_id,
            await self._passwords.hash(body.password),
            None
            if body.inhibit_login
            else FirstSession(body.device_id, body.initial_device_display_name, body.refresh_token),
            is_admin=body.admin,
            displayname=body.displayname,
        )

    def _secrets(self, ip: str) -> list[str]:
        """The secrets that are good from there."""
        good = [] if self._shared_secret is None else [self._shared_secret]
        if _is_loopback(ip):
            good.append(self._local_secret)
        if not good:
            raise BadRequest("Shared secret registration is not enabled.", "M_UNKNOWN")
        return good


def _mac(secret: str, body: SharedSecretBody) -> str:
    parts = [body.nonce, body.username, body.password, "admin" if body.admin else "notadmin"]
    if body.user_type is not None:
        parts.append(body.user_type)
    return hmac.new(secret.encode(), "\0".join(parts).encode("utf-8", "surrogatepass"), hashlib.sha1).hexdigest()


def _is_loopback(ip: str) -> bool:
    if not ip:
        return True  # a Unix socket
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
