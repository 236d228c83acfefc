"""Checks signatures in threads of their own: what waits is taken in pieces, and each piece comes back in one step.

One or two are checked where they are asked for: the way to a thread and back takes longer than that.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from twisted.internet.defer import Deferred

from storage.database import CallsFromThreads

THREADS: Final = 2
PIECE: Final = 32
MOST_AT_ONCE: Final = 2
PIECES_AT_ONCE: Final = 4

T = TypeVar("T")


class SignatureChecks:
    """Runs functions that only compute."""

    def __init__(self, reactor: CallsFromThreads, threads: int = THREADS) -> None:
        self._reactor = reactor
        self._pieces: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"signatures-{number}", daemon=True) for number in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what was asked for, and end the threads."""
        for _ in self._threads:
            self._pieces.put(None)
        for thread in self._threads:
            thread.join()

    async def all(self, checks: Sequence[Callable[[], T]]) -> list[T]:
        """The results of the functions, in their order. What one raises is raised here."""
        if len(checks) <= MOST_AT_ONCE:
            return [check() for check in checks]
        pieces = [_Piece(checks[start : start + PIECE], Deferred()) for start in range(0, len(checks), PIECE)]
        for piece in pieces:
            self._pieces.put(piece)
        results: list[T] = []
        for piece in pieces:
            results += cast("list[T]", await piece.answer)
        return results

    async def one(self, check: Callable[[], T]) -> T:
        """The result of one function."""
        return (await self.all((check,)))[0]

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            taken = [piece]
            ends = False
            while len(taken) < PIECES_AT_ONCE and not ends:
                try:
                    further = self._pieces.get_nowait()
                except queue.Empty:
                    break
                if further is None:
                    ends = True
                else:
                    taken.append(further)
            self._reactor.callFromThread(_hand_back, [(each.answer, _results(each.checks)) for each in taken])
            if ends:
                return


@dataclass(frozen=True, slots=True)
class _Piece:
    checks: Sequence[Callable[[], object]]
    answer: Deferred[list[Any]]


def _results(checks: Sequence[Callable[[], object]]) -> list[object] | Exception:
    try:
        return [check() for check in checks]
    except Exception as error:  # noqa: BLE001 -- handed to the one who waits
        return error


def _hand_back(done: Sequence[tuple[Deferred[list[Any]], list[object] | Exception]]) -> None:
    for answer, results in done:
        if answer.called:  # nobody waits any more
            continue
        if isinstance(results, Exception):
            answer.errback(results)
        else:
            answer.callback(results)
