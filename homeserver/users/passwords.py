"""Passwords: hashing and checking them (argon2id), in a few threads of their own, so that no other work waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import argon2
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from config.settings import Passwords as PasswordSettings
from homeserver.web.errors import BadRequest, Unavailable

THREADS: Final = 2
MAX_WAITING: Final = 200
"""Checks that may wait; who comes after that is told to try later."""
MAX_BYTES: Final = 1024

T = TypeVar("T")


class Passwords:
    """Hashes and checks passwords."""

    def __init__(self, settings: PasswordSettings, reactor: Any) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=settings.iterations,
            memory_cost=settings.memory // 1024,
            parallelism=settings.parallelism,
        )
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=THREADS, name="passwords")
        self._waiting = 0
        # What is checked where there is no account or no password, so that it takes as long as with one.
        self._decoy = self._hasher.hash("decoy")

    def start(self) -> None:
        """Begin to take work."""
        self._pool.start()

    def stop(self) -> None:
        """End the threads, after what they are at."""
        if self._pool.started:
            self._pool.stop()

    async def hash(self, password: str) -> str:
        """What to keep of a new password. Raises BadRequest (M_WEAK_PASSWORD) for one that cannot be taken."""
        if not password:
            raise BadRequest("The password is empty.", "M_WEAK_PASSWORD")
        if len(_bytes(password)) > MAX_BYTES:
            raise BadRequest(f"A password may have at most {MAX_BYTES} bytes.", "M_INVALID_PARAM")
        return await self._in_thread(self._hasher.hash, _bytes(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether this is the password. Takes as long where there is none to compare with."""
        given = _bytes(password)[: MAX_BYTES + 1]
        matches = await self._in_thread(self._matches, password_hash or self._decoy, given)
        return matches and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than those in the config."""
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, password_hash: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many passwords wait to be checked: try again soon.")
        self._waiting += 1
        try:
            return cast(T, await deferToThreadPool(self._reactor, self._pool, function, *arguments))
        finally:
            self._waiting -= 1


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
