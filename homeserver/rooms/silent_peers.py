"""How long another server is waited for when events of a room wait meanwhile: less and less often in vain.

Who lets us wait is not asked for a while; then it gets more time than before, for it may only be slow. Only in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru

FIRST_PATIENCE_S: Final = 5.0
LONGEST_PATIENCE_S: Final = 30.0
FIRST_PAUSE_S: Final = 60.0
LONGEST_PAUSE_S: Final = 600.0
MOST_SERVERS: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Silence:
    times: int
    until_s: float


class SilentPeers:
    """The servers that did not answer in time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._silences: Lru[str, _Silence] = Lru(MOST_SERVERS)

    def patience_s(self, server: str) -> float:
        """How long to wait for this server; 0 if it is not to be asked now."""
        silence = self._silences.get(server)
        if silence is None:
            return FIRST_PATIENCE_S
        if self._clock.monotonic_s() < silence.until_s:
            return 0.0
        return min(FIRST_PATIENCE_S * 2.0**silence.times, LONGEST_PATIENCE_S)

    def was_silent(self, server: str, began_s: float) -> None:
        """It let a question wait that was asked at this time. What was asked together counts once."""
        silence = self._silences.get(server)
        if silence is not None and began_s < silence.until_s:
            return
        times = 1 if silence is None else min(silence.times + 1, 10)
        pause_s = min(FIRST_PAUSE_S * 2.0 ** (times - 1), LONGEST_PAUSE_S)
        self._silences.put(server, _Silence(times, self._clock.monotonic_s() + pause_s))

    def has_answered(self, server: str) -> None:
        """It did answer."""
        self._silences.discard(server)
