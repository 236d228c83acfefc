"""Runs coroutines on a reactor of their own, so that tests need no global one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.python.failure import Failure

LONGEST_STORY_S: Final = 60.0
"""A story that hangs fails then; none is expected to take nearly as long."""

_T = TypeVar("_T")


def run_on_reactor(story: Callable[[EPollReactor], Coroutine[Deferred[Any], Any, _T]]) -> _T:
    """Make a reactor, run `story(reactor)` on it to its end, and answer with its result. Errors are raised here."""
    reactor = EPollReactor()  # type: ignore[no-untyped-call]  # Twisted has no types here
    results: list[_T | Failure] = []

    def hang() -> None:
        end(Failure(TimeoutError("the story did not come to its end")))  # type: ignore[no-untyped-call]

    def end(result: _T | Failure) -> None:
        if not results:
            results.append(result)
            reactor.stop()

    def begin() -> None:
        Deferred.fromCoroutine(story(reactor)).addBoth(end)

    reactor.callWhenRunning(begin)
    reactor.callLater(LONGEST_STORY_S, hang)
    reactor.run(installSignalHandlers=False)
    # Its waker stays open: a thread that ends just now may still want to wake it.
    reactor._poller.close()
    result = results[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result
