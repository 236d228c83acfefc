"""Who types where. Lives in memory only: a typing notice is an entry of the ring, and is over when its time is.

Specification: client-server API, "Typing Notifications", PUT /rooms/{roomId}/typing/{userId}.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from homeserver.rooms.heads import Heads
from homeserver.runtime.clock import Clock, Timer
from homeserver.runtime.log import Writer
from homeserver.web.errors import Forbidden
from storage.rows import TypingRow

LONGEST_S: Final = 120.0
SHORTEST_S: Final = 1.0


class Typing:
    """The typing users of all rooms."""

    def __init__(self, writer: Writer, heads: Heads, clock: Clock) -> None:
        self._writer = writer
        self._heads = heads
        self._clock = clock
        self._rooms: dict[int, dict[str, Timer]] = {}
        self._changed: dict[int, int] = {}
        """Room → position of its last change; for clients that come back after a while."""

    async def set(self, user_id: str, room_id: str, *, typing: bool, timeout_ms: int) -> None:
        """A local user begins, goes on, or stops to type. Forbidden for those who are not in the room."""
        room = await self._heads.get(room_id)
        if user_id not in room.local_joined:
            raise Forbidden("You are not in this room, so you cannot type in it.")
        self.note(room.number, user_id, typing=typing, timeout_s=timeout_ms / 1000)

    def note(self, room: int, user_id: str, *, typing: bool, timeout_s: float) -> None:
        """A user, of this or another server, types for so long, or stops."""
        users = self._rooms.setdefault(room, {})
        timer = users.pop(user_id, None)
        if timer is not None:
            timer.cancel()
        if typing:
            lasting_s = max(SHORTEST_S, min(timeout_s, LONGEST_S))
            users[user_id] = self._clock.call_later(lasting_s, lambda: self._over(room, user_id))
        if not users:
            del self._rooms[room]
        # Who goes on typing is no news.
        if typing == (timer is None):
            self._publish(room)

    def typing_in(self, room: int) -> tuple[str, ...]:
        """The users who type in a room now."""
        return tuple(self._rooms.get(room, ()))

    def rooms_changed_after(self, position: int) -> Iterable[int]:
        """Rooms in which that changed after a position of the log."""
        return [room for room, changed in self._changed.items() if changed > position]

    def _over(self, room: int, user_id: str) -> None:
        users = self._rooms.get(room, {})
        if users.pop(user_id, None) is not None:
            if not users:
                del self._rooms[room]
            self._publish(room)

    def _publish(self, room: int) -> None:
        row = TypingRow(room, self.typing_in(room))
        # Nobody waits for a typing notice: if the log takes none now, it is lost, as typing may be.
        self._writer.append([row]).addErrback(lambda _failure: None)
        self._changed.pop(room, None)
        self._changed[room] = row.position
        while len(self._changed) > 10_000:
            del self._changed[next(iter(self._changed))]
