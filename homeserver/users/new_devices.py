"""Devices that were made lately, and have uploaded nothing since: what is known to be empty need not be read.

Nearly all first uploads of keys come right after the login.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from homeserver.runtime.lru import Lru

MOST_DEVICES: Final = 10_000


class NewDevices:
    """Their numbers."""

    def __init__(self) -> None:
        self._made: Lru[int, bool] = Lru(MOST_DEVICES)
        self._on_first: Callable[[], object] | None = None

    def on_first(self, listener: Callable[[], object]) -> None:
        """Tell a listener when the first device is made."""
        self._on_first = listener

    def made(self, device: int) -> None:
        """A device was made, and its maker is about to hear of it."""
        self._made.put(device, True)
        if self._on_first is not None:
            on_first, self._on_first = self._on_first, None
            on_first()

    def take(self, device: int) -> bool:
        """Whether the device is new. This can be asked once: whoever asks is about to upload something."""
        return self._made.discard(device) is not None
