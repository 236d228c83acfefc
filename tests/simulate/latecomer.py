"""A world in which one server comes late: it joins without the members, hears and says things, and gets them later.

In the end it must have the same state as those who were there from the beginning.
"""

from __future__ import annotations

from typing import Final

from homeserver.core.auth import Rejected
from homeserver.core.draft import Draft
from homeserver.core.ids import EventId, UserId
from homeserver.rooms.gaps import PeerFailed, StateIds
from homeserver.rooms.incoming import RoomOfEvents
from storage.rows import Status
from tests.simulate.servers import Simulated, now
from tests.simulate.world import Wires, World

LATE: Final = "late.example"


class LateWorld(World):
    """One more server comes in the middle, and knows all members a while after that."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.late = Simulated(LATE, len(self.servers), self.version)
        self.comes_at = self.random.randrange(1, 30)
        self.is_whole_after = self.random.randrange(1, 25)
        self.guest = UserId(f"@u:{LATE}")
        self._door: str | None = None

    def run(self, steps: int) -> None:
        """Let things happen, and the server come in between."""
        for _ in range(steps):
            super().run(1)
            if self._door is None and self.time >= self.comes_at:
                self._come()
            elif self.late_is_partial and self.time >= self.comes_at + self.is_whole_after:
                self._complete()

    @property
    def late_is_partial(self) -> bool:
        """Whether the late server is in the room, and does not know all members."""
        return self._door is not None and self.late.room.partial is not None

    def wires(self, asking: str) -> Wires:
        return LateWires(self, asking)

    def end(self) -> list[Simulated]:
        """Let all arrive; the members too."""
        self.is_fair, self.split = True, set()
        while self.late_is_partial:
            self._complete()
        return super().end()

    def _come(self) -> None:
        """Try to join through one of the servers."""
        door = self.random.choice(sorted(self.servers))
        through = self.servers[door]
        self.late.clock_ms = through.clock_ms
        draft = Draft(through.room.room_id, "m.room.member", self.guest, {"membership": "join"}, self.guest)
        try:
            join = through.propose(draft)
        except Rejected as refusal:
            self._tell(f"{self.guest} may not come in through {door}: {refusal.reason}")
            return
        self.servers[LATE] = self.late
        through.receive(LATE, [join.json], self.wires(door))
        row = through.rows.get(join.event_id)
        if row is None or row.state_root is None or row.status is not Status.ACCEPTED:
            del self.servers[LATE]
            return
        before = through.state_at(row.state_root)
        known = [event_id for (kind, _), event_id in before.items() if kind != "m.room.member"]
        chain = Wires._chain(through, [*known, join.event_id])
        self._tell(f"{self.guest} comes in through {door} by {join.event_id} after {join.prev_events}")
        self.late.takes_over(
            join,
            [through.rows[each].event.json for each in known],
            [through.rows[each].event.json for each in chain],
        )
        self._door = door
        self.users.append(self.guest)
        self.post(door, join.json)

    def _complete(self) -> None:
        """Fetch the members, if the server answers."""
        assert self._door is not None
        partial = self.late.room.partial
        assert partial is not None
        wires, room = self.wires(LATE), self.late.of_events
        try:
            ids: StateIds = now(wires.state_ids(self._door, room, partial.join.event.event_id))
            events = now(wires.events(self._door, room, [EventId(each) for each in (*ids.state, *ids.auth_chain)]))
        except PeerFailed as failed:
            self._tell(f"{LATE} does not get the members: {failed}")
            return
        changed = self.late.completes(ids.state, events)
        self._tell(f"{LATE} knows all members; judged anew: {changed}")


class LateWires(Wires):
    """Who does not know all members tells nobody what a state was."""

    async def state_ids(self, server: str, room: RoomOfEvents, event_id: str) -> StateIds:
        if self._server(server).room.partial is not None:
            raise PeerFailed("not all members are known there")
        return await super().state_ids(server, room, event_id)
