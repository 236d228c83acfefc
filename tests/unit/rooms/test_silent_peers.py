"""How long servers are waited for that let us wait before."""

from __future__ import annotations

from homeserver.rooms.silent_peers import SilentPeers
from homeserver.runtime.clock import FakeClock

SLOW, OTHER = "slow.example", "other.example"


def test_who_lets_us_wait_is_left_alone_for_longer_and_longer_and_given_more_time_then() -> None:
    clock = FakeClock()
    silent = SilentPeers(clock)
    patience, pauses = [], []
    for _ in range(6):
        began_s = clock.monotonic_s()
        patience.append(silent.patience_s(SLOW))
        clock.advance(patience[-1])
        silent.was_silent(SLOW, began_s)
        began_s = clock.monotonic_s()
        while not silent.patience_s(SLOW):
            clock.advance(10)
        pauses.append(clock.monotonic_s() - began_s)
    assert patience == [5, 10, 20, 30, 30, 30]
    assert pauses == [60, 120, 240, 480, 600, 600]
    assert silent.patience_s(OTHER) == 5


def test_questions_that_wait_together_count_once_and_an_answer_makes_good() -> None:
    clock = FakeClock()
    silent = SilentPeers(clock)
    began_s = clock.monotonic_s()
    clock.advance(5)
    for _ in range(8):
        silent.was_silent(SLOW, began_s)
    clock.advance(60)
    assert silent.patience_s(SLOW) == 10
    silent.has_answered(SLOW)
    assert silent.patience_s(SLOW) == 5
