"""Who holds an access token: the answer to that from memory, and the news that a token holds no more.

Implements `homeserver.web.access.TokenResolver`. Tokens are known here by their SHA-256 only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import structlog

from homeserver.core.ids import DeviceId, UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru
from homeserver.web.access import Requester
from homeserver.web.errors import Forbidden, UnknownToken
from storage import tokens as token_table
from storage.database import Cursor, Database

MAX_CACHED: Final = 50_000

log: Final = structlog.get_logger("homeserver.users")

OnRevoked = Callable[[int], object]
"""Gets the number of a device that has no valid token any more."""


class Tokens:
    """Resolves access tokens."""

    def __init__(self, database: Database, clock: Clock, max_cached: int = MAX_CACHED) -> None:
        self._database = database
        self._clock = clock
        self._cache: Lru[bytes, Requester] = Lru(max_cached, dropped=self._dropped)
        self._by_device: dict[int, set[bytes]] = {}
        self._listeners: list[OnRevoked] = []
        self._revocations = 0
        """Counts what was taken back, so that an answer that was under way meanwhile is not believed."""

    def cached(self, token_hash: bytes) -> Requester | None:
        """The requester, if it is known without waiting."""
        known = self._cache.get(token_hash)
        if known is None:
            return None
        if known.expires_ms is not None and known.expires_ms <= self._clock.now_ms():
            self.forget([token_hash])
            return None
        return known

    async def resolve(self, token_hash: bytes) -> Requester:
        """The requester, from the database. Raises UnknownToken."""
        while True:
            revocations = self._revocations
            owner = await self._database.read(token_table.owner, token_hash)
            if revocations != self._revocations:
                continue
            if owner is None or owner.is_deactivated:
                raise UnknownToken()
            if owner.expires_ts is not None:
                if owner.expires_ts <= self._clock.now_ms():
                    raise UnknownToken("This access token has expired: refresh it, or log in again.", soft_logout=True)
                # The first use of a refreshed token: the one before it holds no more.
                await self._end_predecessor(owner.device, token_hash)
                if revocations != self._revocations:
                    continue
            requester = Requester(
                UserId(owner.user_id),
                DeviceId(owner.device_id),
                owner.device,
                token_hash,
                is_guest=owner.is_guest,
                is_admin=owner.is_admin,
                appservice_id=owner.appservice_id,
                expires_ms=owner.expires_ts,
            )
            self._cache.put(token_hash, requester)
            self._by_device.setdefault(owner.device, set()).add(token_hash)
            return requester

    async def masquerade(self, requester: Requester, user_id: str, device_id: str | None) -> Requester:
        """There are no application services behind these tokens, so nobody may act for another."""
        raise Forbidden("This access token may not act for other users.")

    def on_revoked(self, listener: OnRevoked) -> None:
        """Tell a listener about each device whose tokens are taken back."""
        self._listeners.append(listener)

    def revoked(self, devices: Iterable[int]) -> None:
        """The tokens of these devices were taken back, in a transaction that is committed."""
        self._revocations += 1
        for device in devices:
            for token_hash in self._by_device.pop(device, ()):
                self._cache.discard(token_hash)
            for listener in self._listeners:
                try:
                    listener(device)
                except Exception:  # the others must hear of it
                    log.exception("a listener to revoked tokens failed")

    def forget(self, token_hashes: Iterable[bytes]) -> None:
        """Single tokens are not valid any more, or say something else now; their devices have others."""
        self._revocations += 1
        for token_hash in token_hashes:
            known = self._cache.discard(token_hash)
            if known is not None:
                self._unlist(token_hash, known)

    def forget_user(self, user_id: str) -> None:
        """What the tokens of a user allow has changed, such as when the user becomes an admin."""
        self.forget([each for each in self._cache if self._holder(each) == user_id])

    async def _end_predecessor(self, device: int, token_hash: bytes) -> None:
        """Client-server API, "Refreshing access tokens": the old refresh token holds until the new token is used."""
        ended = await self._database.write(_delete_before, device, token_hash)
        for each in ended:
            known = self._cache.discard(each)
            if known is not None:
                self._unlist(each, known)

    def _holder(self, token_hash: bytes) -> str | None:
        known = self._cache.peek(token_hash)
        return None if known is None else known.user_id

    def _dropped(self, token_hash: bytes, known: Requester) -> None:
        self._unlist(token_hash, known)

    def _unlist(self, token_hash: bytes, known: Requester) -> None:
        hashes = self._by_device.get(known.device_number)
        if hashes is not None:
            hashes.discard(token_hash)
            if not hashes:
                del self._by_device[known.device_number]


def _delete_before(tx: Cursor, device: int, token_hash: bytes) -> list[bytes]:
    return token_table.delete_before(tx, device, token_hash)
