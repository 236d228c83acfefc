"""Remembers which member events each device already has, so that lazy loading leaves redundant ones out.

What went out with an answer counts as received only when the device comes back with that answer's token; with any other
token the memory of the device starts anew, which at worst sends a member twice and never once too few.
Specification: client-server API, "Lazy-loading room members".
"""

from __future__ import annotations

from collections import OrderedDict

MOST_DEVICES = 5_000
MOST_MEMBERS = 20_000
"""Members remembered for one device; past that its memory starts anew."""


class DeviceMemory:
    """The members that one device has, by room."""

    __slots__ = ("count", "known", "pending", "token")

    def __init__(self) -> None:
        self.token: int | None = None
        self.known: dict[int, set[str]] = {}
        self.pending: list[tuple[int, str]] = []
        self.count = 0

    def has(self, room: int, user_id: str) -> bool:
        """Whether the device has this member's event."""
        known = self.known.get(room)
        return known is not None and user_id in known

    def sends(self, room: int, user_id: str) -> None:
        """The answer that is being made holds this member's event."""
        self.pending.append((room, user_id))

    def forget_room(self, room: int) -> None:
        """The device starts with this room from nothing."""
        gone = self.known.pop(room, None)
        if gone is not None:
            self.count -= len(gone)

    def _confirm(self) -> None:
        for room, user_id in self.pending:
            self.known.setdefault(room, set()).add(user_id)
        self.count += len(self.pending)
        self.pending.clear()


class LazyMembers:
    """The memories of all devices, bounded; the least recently used goes first."""

    def __init__(self) -> None:
        self._devices: OrderedDict[int, DeviceMemory] = OrderedDict()

    def of(self, device: int, since: int | None) -> DeviceMemory:
        """The memory of a device that asks with the token `since`."""
        memory = self._devices.get(device)
        if memory is None or since is None or memory.token != since or memory.count > MOST_MEMBERS:
            memory = self._devices[device] = DeviceMemory()
            while len(self._devices) > MOST_DEVICES:
                self._devices.popitem(last=False)
        else:
            memory._confirm()
        self._devices.move_to_end(device)
        return memory

    @staticmethod
    def answered(memory: DeviceMemory, token: int) -> None:
        """The answer went out with this token as `next_batch`."""
        memory.token = token
