"""The reactor of the server: Twisted's on epoll, without what nobody here has a use for.

For every event of a socket Twisted puts the name of the protocol into a context, for its old log to read. The server
logs by other ways; of a small request that was a twentieth. In every turn it looks for calls that are due, twice for
new ones, and guards each turn of its own against errors; here one guard serves until there is an error, and a turn in
which no call is due looks for none.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from twisted.logger import Logger

LONGEST_S: Final = 2_000_000
"""epoll takes milliseconds of 31 bits."""

_TURNS: Final = Logger().failureHandler("in the main loop of the server")


def install() -> Any:
    """The reactor of this process, which is the one that `twisted.internet.reactor` is from then on."""
    if "twisted.internet.reactor" not in sys.modules and sys.platform == "linux":
        from twisted.internet.main import installReactor

        installReactor(_on_epoll())  # type: ignore[no-untyped-call]  # Twisted has no types here
    from twisted.internet import reactor

    return reactor


def _on_epoll() -> Any:
    from twisted.internet.epollreactor import EPollReactor  # there is none elsewhere than on Linux

    class Reactor(EPollReactor):
        def mainLoop(self) -> None:
            while self._started:
                with _TURNS:
                    self._turn()

        def _turn(self) -> None:
            seconds = self.seconds
            while self._started:
                timed = self._pendingTimedCalls
                if (
                    self._newTimedCalls
                    or self.threadCallQueue
                    or self._justStopped
                    or (timed and timed[0].time <= seconds())
                ):
                    self.runUntilCurrent()
                    timeout = self.timeout()
                else:
                    timeout = min(max(0, timed[0].time - seconds()), LONGEST_S) if timed else None
                self.doPoll(timeout if self.running else 0)

        def doPoll(self, timeout: float | None) -> None:
            try:
                events = self._poller.poll(-1 if timeout is None else timeout, len(self._selectables))
            except InterruptedError:
                return
            for fd, event in events:
                # One that came before may have closed this one.
                selectable = self._selectables.get(fd)
                if selectable is not None:
                    self._doReadOrWrite(selectable, fd, event)  # type: ignore[no-untyped-call]  # as above

        doIteration = doPoll

    return Reactor()  # type: ignore[no-untyped-call]  # as above
