"""How long to wait before trying again what failed: longer each time, up to a limit, and not all at the same time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """The first wait, what it grows by at each further failure, the longest wait, and the part left to chance."""

    first_ms: int
    longest_ms: int
    factor: float = 2.0
    jitter: float = 0.3

    def __post_init__(self) -> None:
        if not (0 < self.first_ms <= self.longest_ms and self.factor >= 1 and 0 <= self.jitter <= 1):
            raise ValueError("a back-off needs 0 < first_ms <= longest_ms, factor >= 1 and a jitter from 0 to 1")


def delay_ms(backoff: Backoff, failures: int, random: float) -> int:
    """The wait after so many failures in a row (at least one). `random` is evenly spread over 0 to 1.

    Chance only shortens: nobody waits longer than the limit, and those who failed together do not return together.
    """
    full_ms = float(backoff.first_ms)
    for _ in range(failures - 1):
        # A loop, for a power overflows after enough failures, and this one ends at the limit.
        if full_ms >= backoff.longest_ms or backoff.factor == 1:
            break
        full_ms *= backoff.factor
    full_ms = min(full_ms, backoff.longest_ms)
    return max(1, round(full_ms * (1 - backoff.jitter * random)))


DESTINATION = Backoff(first_ms=2_000, longest_ms=12 * 3_600_000)
"""For other homeservers that do not answer."""

PAST_OF_EVENTS = Backoff(first_ms=5_000, longest_ms=3_600_000)
"""For events of other servers whose past could not be had."""

APPSERVICE = Backoff(first_ms=1_000, longest_ms=3_600_000)
"""For bridges and bots that do not take a transaction."""

PUSH_GATEWAY = Backoff(first_ms=1_000, longest_ms=3_600_000)
"""For push gateways that do not answer."""
