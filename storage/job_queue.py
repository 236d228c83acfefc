"""Hands work to threads: of those that wait for some, to the one that was busy last.

So a quiet server uses one connection, whose session in PostgreSQL has the plans and the catalogue at hand, and not
all of them in turn.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import Generic, TypeVar

J = TypeVar("J")


class JobQueue(Generic[J]):
    """Jobs in their order. A thread takes part with a mailbox of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._backlog: deque[J] = deque()
        self._idle: list[SimpleQueue[J]] = []

    @property
    def idle(self) -> int:
        """How many threads wait for a job."""
        return len(self._idle)

    def put(self, job: J, *, first: bool = False) -> None:
        """Hand over a job; it waits if all threads are busy, as the first of those that wait or the last."""
        with self._lock:
            if not self._idle:
                if first:
                    self._backlog.appendleft(job)
                else:
                    self._backlog.append(job)
                return
            mailbox = self._idle.pop()
        mailbox.put(job)

    def get(self, mailbox: SimpleQueue[J]) -> J:
        """The next job for the thread with this mailbox; blocks until there is one."""
        with self._lock:
            if self._backlog:
                return self._backlog.popleft()
            self._idle.append(mailbox)
        return mailbox.get()
