"""What becomes of events for a server that is brought up to date while they are handed out."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed

from federation.outbound.lagging import Lagging
from federation.outbound.room_servers import Peers
from federation.outbound.sender import Sender
from homeserver.core.ids import ServerName
from homeserver.runtime.clock import FakeClock
from homeserver.runtime.ring import Ring
from homeserver.runtime.tasks import Tasks
from storage import sending
from storage.rows import EventRow, MemberChange
from tests.unit.core.building import ALICE, room
from tests.unit.federation.test_lagging import Backoffs

OURS, THEIRS = ServerName("a.example"), "b.example"


class SlowDatabase:
    """Knows that a server lags behind; whatever else it is asked takes as long as the test wants."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []

    def read(self, function: object, *_: object) -> Deferred[Any]:
        """Ask it."""
        if function is sending.begin:
            return succeed((5, {THEIRS: 5}))
        self.waiting.append(Deferred())
        return self.waiting[-1]


class OneRoom:
    """They are in the only room."""

    async def of(self, room: int) -> Peers:
        """The other servers."""
        return Peers("!room:a.example", {THEIRS})

    async def follow(self, row: EventRow) -> None:
        """Nothing changes."""

    def is_known_in(self, room: int, server: str) -> bool:
        """They have been there for long."""
        return True


def test_an_event_is_not_lost_to_a_server_that_catches_up_while_its_sender_is_introduced() -> None:
    clock, ring, database = FakeClock(), Ring(), SlowDatabase()
    tasks = Tasks(clock)
    sent: list[tuple[str, int, int]] = []

    async def catch_up(server: str, after: int, upto: int) -> None:
        sent.append((server, after, upto))

    lagging = Lagging(catch_up, Backoffs(), clock)  # type: ignore[arg-type]  # what it uses of them
    sender = Sender(database, ring, OneRoom(), None, lagging, tasks, clock, OURS)  # type: ignore[arg-type]
    Deferred.fromCoroutine(sender.start())
    made = room("11")
    row = EventRow(1, made.member(ALICE, "join"), bytes(16), members=(MemberChange(ALICE, "join", 6, is_local=True),))
    row.position = 6
    ring.publish([row])
    assert database.waiting, "whom the newcomer meets is looked up after the event was handed out"
    clock.advance(11)
    assert sent == [(THEIRS, 5, 6)]
    assert THEIRS not in lagging
    Deferred.fromCoroutine(tasks.stop())
