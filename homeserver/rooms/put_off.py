"""Events that wait for their past or for keys, which servers did not answer about: when to try again.

They hold up no others. Only in memory: after a restart all that waits is tried at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from homeserver.core import backoff
from homeserver.runtime.clock import Clock

MOST_TRIES: Final = 12
"""Which takes some hours. What comes later in the room leads to the event once more, if others have it."""
MOST_IN_ROOM: Final = 1_000
MOST_OF_ALL: Final = 10_000


@dataclass(slots=True)
class _Later:
    servers: frozenset[str]
    """Where it came from, and who signed it."""
    tries: int = 0
    due_ms: int = 0
    is_held: bool = False

    def waits(self, now_ms: int) -> bool:
        """Whether it is not to be tried now."""
        return self.is_held or self.due_ms > now_ms


class PutOff:
    """What is tried another time, room by room."""

    def __init__(self, clock: Clock, chance: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._chance = chance
        self._rooms: dict[str, dict[str, _Later]] = {}
        self._count = 0

    def put_off(self, room_id: str, event_id: str, *servers: str) -> bool:
        """Try an event another time; False if that was done often enough, or for too many events.

        It is tried at once when one of the servers is heard from.
        """
        later = self._later(room_id, event_id, servers)
        if later is None:
            return False
        later.is_held = False
        later.tries += 1
        if later.tries >= MOST_TRIES:
            return False
        later.due_ms = self._clock.now_ms() + backoff.delay_ms(backoff.PAST_OF_EVENTS, later.tries, self._chance())
        return True

    def hold(self, room_id: str, event_id: str, *servers: str) -> bool:
        """Do not try an event until it is released; False if there are too many events."""
        later = self._later(room_id, event_id, servers)
        if later is None:
            return False
        later.is_held = True
        return True

    def has(self, room_id: str, event_id: str) -> bool:
        """Whether an event is tried another time."""
        return event_id in self._rooms.get(room_id, {})

    def release(self, room_id: str, but: Collection[str]) -> None:
        """What is held in a room is due now, but for these events."""
        for event_id, later in self._rooms.get(room_id, {}).items():
            if later.is_held and event_id not in but:
                later.is_held, later.due_ms = False, 0

    def _later(self, room_id: str, event_id: str, servers: Collection[str]) -> _Later | None:
        room = self._rooms.get(room_id, {})
        later = room.get(event_id)
        if later is None:
            if len(room) >= MOST_IN_ROOM or self._count >= MOST_OF_ALL:
                return None
            later = room[event_id] = _Later(frozenset(servers))
            self._rooms[room_id] = room
            self._count += 1
        return later

    def forget(self, room_id: str, event_ids: Iterable[str]) -> None:
        """These have been dealt with."""
        room = self._rooms.get(room_id)
        if room is not None:
            for event_id in event_ids:
                self._count -= room.pop(event_id, None) is not None
            if not room:
                del self._rooms[room_id]

    def is_back(self, server: str) -> None:
        """A server is heard from: what it sent or signed is due now."""
        for room in self._rooms.values():
            for later in room.values():
                if server in later.servers:
                    later.due_ms = 0

    def not_due(self, room_id: str) -> list[str]:
        """The events of a room that are not to be tried now."""
        now_ms = self._clock.now_ms()
        return [event_id for event_id, later in self._rooms.get(room_id, {}).items() if later.waits(now_ms)]

    def due_rooms(self) -> list[str]:
        """The rooms in which something is to be tried now."""
        now_ms = self._clock.now_ms()
        return [
            room_id for room_id, room in self._rooms.items() if any(not later.waits(now_ms) for later in room.values())
        ]
