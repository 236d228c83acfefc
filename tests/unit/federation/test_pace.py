"""What comes too slowly is ended; what takes its time before it comes is not."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from federation.outbound.pace import PACE_BYTES, PACE_S, Pace
from homeserver.runtime.clock import FakeClock
from homeserver.runtime.time_limit import TookTooLong
from tests.unit.deferreds import result_of


class Download:
    """One that a test moves on by hand."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.taken: list[bytes] = []
        self.is_cancelled = False
        self.end: Deferred[str] = Deferred(self._cancelled)
        self.pace = Pace(self.clock, self.taken.append)
        self.running = Deferred.fromCoroutine(self.pace.keep(self._work()))

    async def _work(self) -> str:
        return await self.end

    def _cancelled(self, _: object) -> None:
        self.is_cancelled = True


def test_a_server_may_think_for_long_and_then_answer() -> None:
    download = Download()
    for _ in range(20):
        download.clock.advance(PACE_S)
    assert not download.is_cancelled
    download.pace.take(b"all")
    download.end.callback("done")
    assert result_of(download.running) == "done"
    assert download.taken == [b"all"]
    download.clock.advance(10 * PACE_S)
    assert not download.is_cancelled


def test_what_goes_on_coming_may_take_long() -> None:
    download = Download()
    for _ in range(50):
        download.pace.take(b"x" * PACE_BYTES)
        download.clock.advance(PACE_S)
    assert not download.is_cancelled and not download.running.called


def test_a_byte_now_and_then_is_not_enough() -> None:
    download = Download()
    download.pace.take(b"x" * PACE_BYTES)
    for _ in range(6):
        download.pace.take(b"x")
        download.clock.advance(PACE_S / 2)
    assert download.is_cancelled
    assert isinstance(result_of(download.running), TookTooLong)
