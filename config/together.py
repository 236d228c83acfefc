"""Mistakes that show only where keys are seen together."""

from __future__ import annotations

from collections.abc import Iterator

from config.settings import Listener, Settings


def mistakes(settings: Settings) -> Iterator[tuple[str, str]]:
    """Keys and what is wrong with them beside others."""
    for place, listener in enumerate(settings.listeners):
        for earlier, other in enumerate(settings.listeners[:place]):
            if listener.port == other.port and _overlap(listener, other):
                yield (
                    f"listeners.{place}.port",
                    f"port {listener.port} of this address is taken by listeners.{earlier}",
                )
                break


def _overlap(one: Listener, other: Listener) -> bool:
    """Would the two addresses get in each other's way?"""
    if (":" in one.bind) != (":" in other.bind):
        return False
    return one.bind == other.bind or {one.bind, other.bind} & {"0.0.0.0", "::"} != set()
