"""Which local users type where, as other servers were told: they want to hear of each user, and again while it lasts.

Specification: server-server API, "Typing Notifications".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from homeserver.core.ids import ServerName
from homeserver.runtime.clock import Clock

SAY_AGAIN_S: Final = 20.0
"""Servers let typing end by itself, most of them after 30 seconds."""


class TypingNotices:
    """Turns the lists of who types in a room into notices about single users."""

    def __init__(self, server_name: ServerName, clock: Clock) -> None:
        self._suffix = ":" + server_name
        self._clock = clock
        self._rooms: dict[int, tuple[frozenset[str], float]] = {}

    def changes(self, room: int, user_ids: Sequence[str]) -> list[tuple[str, bool]]:
        """What is new about local users, now that these type."""
        now = frozenset(user_id for user_id in user_ids if user_id.endswith(self._suffix))
        before = self._rooms[room][0] if room in self._rooms else frozenset()
        if now:
            self._rooms[room] = (now, self._clock.monotonic_s() + SAY_AGAIN_S)
        else:
            self._rooms.pop(room, None)
        return [*((user_id, True) for user_id in now - before), *((user_id, False) for user_id in before - now)]

    def is_due(self) -> bool:
        """Whether there is a room to be told again."""
        now_s = self._clock.monotonic_s()
        return any(again_s <= now_s for _, again_s in self._rooms.values())

    def due(self) -> list[tuple[int, frozenset[str]]]:
        """Rooms whose typing users are to be told again."""
        now_s = self._clock.monotonic_s()
        found = [(room, users) for room, (users, again_s) in self._rooms.items() if again_s <= now_s]
        for room, users in found:
            self._rooms[room] = (users, now_s + SAY_AGAIN_S)
        return found
