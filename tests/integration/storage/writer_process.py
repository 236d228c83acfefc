"""A process that appends to the log until it is killed, and says what it has done.

    python -m tests.integration.storage.writer_process DSN
prints `given N` when an entry got its position, `committed N` when its append was answered, `published N` for the ring.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from storage.rows import Entry
from tests.integration.storage.log_parts import Log
from tests.integration.storage.samples import data, typing
from tests.reactors import run_on_reactor

if TYPE_CHECKING:
    from twisted.internet.epollreactor import EPollReactor


def say(word: str, entries: Sequence[Entry]) -> None:
    sys.stdout.write("".join(f"{word} {entry.position}\n" for entry in entries))
    sys.stdout.flush()


async def append_for_ever(reactor: EPollReactor) -> None:
    log = await Log(sys.argv[1], reactor).started()
    log.ring.subscribe(lambda entries: say("published", entries))
    number = 0
    while True:
        calls = []
        for _ in range(10):
            number += 1
            entries: list[Entry] = [typing(), data(f"{os.getpid()}.{number}"), typing()]
            calls.append((entries, log.writer.append(entries)))
            say("given", entries)
        for entries, done in calls:
            await done
            say("committed", entries[1:2])


if __name__ == "__main__":
    run_on_reactor(append_for_ever)
