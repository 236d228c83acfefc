"""Background work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs
from twisted.internet.defer import CancelledError, Deferred

from homeserver.runtime.clock import FakeClock
from homeserver.runtime.tasks import Tasks


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[structlog.types.EventDict]]:
    """What is logged, kept off the terminal."""
    with capture_logs() as lines:
        yield lines


def test_a_failure_is_logged_under_the_name_of_the_task(logs: list[structlog.types.EventDict]) -> None:
    async def work() -> None:
        raise RuntimeError("broken")

    Tasks(FakeClock()).start("counting", work())
    assert [(line["event"], line["task"], line["log_level"]) for line in logs] == [("task failed", "counting", "error")]


def test_a_kept_task_is_started_again_at_growing_distances() -> None:
    clock, starts = FakeClock(), list[float]()

    async def work() -> None:
        starts.append(clock.monotonic_s())
        raise RuntimeError("broken")

    tasks = Tasks(clock)
    tasks.keep("following", work)
    for _ in range(8):
        clock.advance(1)
    assert starts == [0, 1, 3, 7]
    assert tasks.names == ("following",)


def test_a_series_goes_on_after_a_failed_run() -> None:
    clock, runs = FakeClock(), list[float]()

    async def work() -> None:
        runs.append(clock.monotonic_s())
        raise RuntimeError("broken")

    Tasks(clock).every("cleaning", 10, work)
    for _ in range(35):
        clock.advance(1)
    assert runs == [10, 20, 30]


def test_stopping_cancels_everything_and_waits_for_its_end() -> None:
    clock, told = FakeClock(), list[str]()
    cleaning: Deferred[None] = Deferred()

    async def work() -> None:
        try:
            await clock.sleep(1000)
        except CancelledError:
            told.append("cancelled")
            await cleaning
            told.append("cleaned")
            raise

    tasks = Tasks(clock)
    tasks.start("waiting", work())
    stopped = Deferred.fromCoroutine(tasks.stop())
    assert (told, stopped.called) == (["cancelled"], False)
    cleaning.callback(None)
    assert (told, stopped.called) == (["cancelled", "cleaned"], True)
    assert tasks.names == ()


def test_nothing_starts_after_the_stop() -> None:
    async def work() -> None:
        raise AssertionError("must not run")

    tasks = Tasks(FakeClock())
    Deferred.fromCoroutine(tasks.stop())
    with pytest.raises(RuntimeError, match="stopping"):
        tasks.start("late", work())


def test_a_task_does_not_work_in_the_name_of_the_request_that_started_it() -> None:
    from homeserver.runtime.logs import request_id

    seen: list[str | None] = []

    async def work() -> None:
        seen.append(request_id.get())

    async def request() -> None:
        request_id.set("r-1")
        Tasks(FakeClock()).start("later", work())

    Deferred.fromCoroutine(request())
    assert seen == [None]
