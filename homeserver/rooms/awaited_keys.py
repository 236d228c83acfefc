"""Which events of a room wait for the keys of servers that signed them.

What stands on such an event waits with it while the keys are asked for, which takes seconds. If that was in vain, the
room goes on without the event, as far as it can; the keys are asked for again later (homeserver.rooms.put_off).
Specification: server-server API, "Validating hashes and signatures on received events".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AwaitedKeys:
    """The events of one room whose keys are being asked for, and those whose keys were asked for just now in vain."""

    asking: set[str] = field(default_factory=set)
    in_vain: set[str] = field(default_factory=set)
    is_put_off: Callable[[str], bool] = lambda event_id: False
    """Whether an event of the room is tried another time, for whatever it waits."""

    def held_up_by(self, unsure: Iterable[str]) -> set[str]:
        """What others wait for. `unsure`: what is at hand, and is signed with keys that are not."""
        return self.asking | (set(unsure) - self.in_vain)

    def asks(self, event_ids: Iterable[str]) -> None:
        """The keys of these are asked for."""
        self.asking.update(event_ids)

    def has_asked(self, event_ids: Iterable[str]) -> None:
        """They have been asked for. What came of it shows when the events are judged."""
        ids = set(event_ids)
        self.asking.difference_update(ids)
        self.in_vain.update(ids)

    def is_judged(self, event_id: str) -> bool:
        """An event is being judged: whether its keys had been asked for. Another time they are to be asked for anew."""
        was_asked = event_id in self.in_vain
        self.in_vain.discard(event_id)
        return was_asked

    def forget(self, event_ids: Iterable[str]) -> None:
        """These have been dealt with."""
        self.in_vain.difference_update(event_ids)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is awaited."""
        return not self.asking and not self.in_vain
