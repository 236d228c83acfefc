"""What other servers hear of users rather than rooms: their devices, their presence.

The services that know these things make the EDUs; here stands how the sender asks them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from homeserver.core.canonical_json import JsonObject


@dataclass(frozen=True, slots=True)
class UserNotice:
    """An EDU about a local user, for all servers that share a room with them. It replaces one with the same key."""

    user_id: str
    key: str
    edu: bytes


class PresenceNotice(Protocol):
    """A local user came or went."""

    @property
    def user_id(self) -> str:
        """Who."""
        ...

    @property
    def rooms(self) -> frozenset[int]:
        """The rooms that the user is in."""
        ...

    @property
    def content(self) -> JsonObject:
        """The item of `push` in m.presence."""
        ...


NewsSource = Callable[[Any], Awaitable[Sequence[UserNotice]]]
"""Makes the notices for an entry of the log of one class."""


Introduction = Callable[[str], Awaitable[Sequence[bytes]]]
"""EDUs that tell a server what it does not know yet of a local user."""


class MissedNews(Protocol):
    """What a server has to hear that was away."""

    async def __call__(self, server: str, after: int, upto: int) -> Sequence[bytes]:
        """EDUs about what came in (after, upto]."""
        ...
