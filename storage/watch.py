"""Watches over those who wait for the database: whoever has waited too long while it does not answer is told so.

A thread that waits for a frozen PostgreSQL cannot look at the time itself. What only takes long is not disturbed: the
database is asked for a connection of its own before anybody is told, and one that has none left is not away.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from storage.probe import probe

LOOK_EVERY_S: Final = 0.5
PROBE_S: Final = 3
"""How long the database has to open a connection and to answer."""


class Waits(Protocol):
    """Something that waits for the database."""

    deadline_s: float
    is_over: bool
    """It has its answer, or was told that there is none."""


class Watch:
    """A thread that looks after what waits, the oldest first; it sleeps while nothing does."""

    def __init__(self, dsn: str, patience_s: float, tell: Callable[[Any], None]) -> None:
        self.is_away = False
        """Whether the database was asked in vain last."""
        self._dsn = dsn
        self._patience_s = patience_s
        self._tell = tell
        self._waiting: deque[Waits] = deque()
        self._begun = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="database-watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, soon."""
        self._stopped.set()
        self._begun.set()

    def over(self, job: Waits) -> None:
        """See to it that this waits no longer than it should."""
        self._waiting.append(job)
        if not self._begun.is_set():
            self._begun.set()

    def _work(self) -> None:
        while not self._stopped.is_set():
            self._begun.wait()
            # Cleared before it is looked: what comes in between wakes us once in vain.
            self._begun.clear()
            while (self._waiting or self.is_away) and not self._stopped.wait(LOOK_EVERY_S):
                self._look()

    def _look(self) -> None:
        if self.is_away:
            self.is_away = probe(self._dsn, PROBE_S).is_away
        waiting = [job for job in (self._waiting.popleft() for _ in range(len(self._waiting))) if not job.is_over]
        now_s = time.monotonic()
        if any(job.deadline_s <= now_s for job in waiting) and not self.is_away:
            self.is_away = probe(self._dsn, PROBE_S).is_away
        for job in waiting:
            if job.deadline_s > now_s:
                self._waiting.append(job)
            elif self.is_away:
                self._tell(job)
            else:
                job.deadline_s = now_s + self._patience_s
                self._waiting.append(job)
