"""One thread beside the reactor, for work that takes a millisecond and comes in crowds.

More threads would only fight for the interpreter's lock: such work costs a third more where four do it. And what has
gathered is answered with one wake-up of the reactor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred

MOST_AT_ONCE: Final = 8
"""After so many the reactor hears of them."""

T = TypeVar("T")
_Job = tuple[Callable[[], Any], Deferred[Any]]
_Done = tuple[Deferred[Any], Any, Exception | None]


class SideThread:
    """Does one thing after the other, in the order in which they were asked for. It ends with the process."""

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._is_started = False

    def do(self, work: Callable[[], T]) -> Deferred[T]:
        """Have something done; what it returned or raised. It needs no cancelling: it takes no time to speak of."""
        answer: Deferred[T] = Deferred()
        self._jobs.put((work, answer))
        if not self._is_started:
            self._is_started = True
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        return answer

    def _run(self) -> None:
        while True:
            done = [_done(self._jobs.get())]
            while len(done) < MOST_AT_ONCE:
                try:
                    done.append(_done(self._jobs.get_nowait()))
                except Empty:
                    break
            self._reactor.callFromThread(_tell, done)


def _done(job: _Job) -> _Done:
    work, answer = job
    try:
        return answer, work(), None
    except Exception as error:  # noqa: BLE001 -- handed to the one who waits
        return answer, None, error


def _tell(done: Sequence[_Done]) -> None:
    for answer, result, error in done:
        if error is None:
            answer.callback(result)
        else:
            answer.errback(error)
