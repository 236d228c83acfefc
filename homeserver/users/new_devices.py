"""Devices that were made lately, and have uploaded nothing since: what is known to be empty need not be read.

Nearly all first uploads of keys come right after the login.
"""

from __future__ import annotations

from typing import Final

from homeserver.runtime.lru import Lru

MOST_DEVICES: Final = 10_000


class NewDevices:
    """Their numbers."""

    def __init__(self) -> None:
        self._made: Lru[int, bool] = Lru(MOST_DEVICES)

    def made(self, device: int) -> None:
        """A device was made, and its maker is about to hear of it."""
        self._made.put(device, True)

    def take(self, device: int) -> bool:
        """Whether the device is new. This can be asked once: whoever asks is about to upload something."""
        return self._made.discard(device) is not None
