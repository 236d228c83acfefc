"""A timer wheel: one look every few seconds in place of a timer for each of many things."""

from __future__ import annotations

import math


class Wheel:
    """Names that want to be looked at at some time, kept in slots of `step_s` seconds.

    Of several times for one name the earliest holds; whoever is called looks whether it is time and sets the next.
    So putting a time off, as happens most, costs nothing.
    """

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self._slots: dict[int, list[str]] = {}
        self._slot_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def at(self, name: str, when_s: float) -> None:
        """Look at this one then, a step later at most; infinity: never."""
        if when_s == math.inf:
            return
        slot = math.ceil(when_s / self.step_s)
        held = self._slot_of.get(name)
        if held is None or slot < held:
            self._slot_of[name] = slot
            self._slots.setdefault(slot, []).append(name)

    def due(self, now_s: float) -> list[str]:
        """Whose time has come; they are not in the wheel any more."""
        due: list[str] = []
        for slot in sorted(slot for slot in self._slots if slot * self.step_s <= now_s):
            for name in self._slots.pop(slot):
                # It may have been put to an earlier slot after it came into this one.
                if self._slot_of.get(name) == slot:
                    del self._slot_of[name]
                    due.append(name)
        return due
