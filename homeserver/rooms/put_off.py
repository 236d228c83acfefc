"""Events that wait for their past, and which the servers that should have it did not answer about: when to try again.

They hold up no others. Only in memory: after a restart all that waits is tried at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from homeserver.core import backoff
from homeserver.runtime.clock import Clock

MOST_TRIES: Final = 12
"""Which takes some hours. What comes later in the room leads to the event once more, if others have it."""
MOST_IN_ROOM: Final = 1_000


@dataclass(slots=True)
class _Later:
    origin: str
    tries: int
    due_ms: int


class PutOff:
    """What is tried another time, room by room."""

    def __init__(self, clock: Clock, chance: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._chance = chance
        self._rooms: dict[str, dict[str, _Later]] = {}

    def put_off(self, room_id: str, event_id: str, origin: str) -> bool:
        """Try an event another time; False if that was done often enough, or for too many events of the room."""
        room = self._rooms.setdefault(room_id, {})
        later = room.get(event_id)
        if later is None:
            if len(room) >= MOST_IN_ROOM:
                return False
            later = room[event_id] = _Later(origin, 0, 0)
        later.tries += 1
        if later.tries >= MOST_TRIES:
            return False
        later.due_ms = self._clock.now_ms() + backoff.delay_ms(backoff.PAST_OF_EVENTS, later.tries, self._chance())
        return True

    def forget(self, room_id: str, event_ids: Iterable[str]) -> None:
        """These have been dealt with."""
        room = self._rooms.get(room_id)
        if room is not None:
            for event_id in event_ids:
                room.pop(event_id, None)
            if not room:
                del self._rooms[room_id]

    def is_back(self, server: str) -> None:
        """A server is heard from: what it sent is due now."""
        for room in self._rooms.values():
            for later in room.values():
                if later.origin == server:
                    later.due_ms = 0

    def not_due(self, room_id: str) -> list[str]:
        """The events of a room that are not to be tried now."""
        now_ms = self._clock.now_ms()
        return [event_id for event_id, later in self._rooms.get(room_id, {}).items() if later.due_ms > now_ms]

    def due_rooms(self) -> list[str]:
        """The rooms in which something is to be tried now."""
        now_ms = self._clock.now_ms()
        return [
            room_id for room_id, room in self._rooms.items() if any(later.due_ms <= now_ms for later in room.values())
        ]
