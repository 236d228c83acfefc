"""Takes a room over from another server: its state and auth chain come with the answer to a join.

Specification: server-server API, "Joining Rooms", PUT /_matrix/federation/v2/send_join. The state's events are taken in
pieces, as events without a place in the history; of the members only what the room needs stays in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from homeserver.core import state_trie
from homeserver.core.auth.state import CREATE
from homeserver.core.event import Event
from homeserver.core.ids import EventId, RoomId, ServerName
from homeserver.core.policy import POLICY, policy_server_of
from homeserver.core.room_rules import RoomRules
from homeserver.rooms import summaries
from homeserver.rooms.append import Appender, sentence
from homeserver.rooms.gaps import in_order
from homeserver.rooms.heads import ALWAYS_KNOWN, Heads
from homeserver.rooms.incoming import Verifier
from homeserver.rooms.missing import Unplaceable
from homeserver.rooms.placing import Placer
from homeserver.rooms.plan import Plan, RoomPlan
from homeserver.rooms.room import Room
from homeserver.rooms.state import StateStore
from homeserver.runtime.turns import Turns
from homeserver.web.errors import Conflict, Forbidden
from storage import room_log
from storage import rooms as room_table
from storage.database import Database
from storage.rows import EventRow, MemberChange, RoomSummary, Status

PIECE: Final = 500

log: Final = structlog.get_logger("homeserver.rooms.imports")


@dataclass(frozen=True, slots=True)
class _Known:
    """An event that was taken: where it is in the state, and how."""

    event_id: EventId
    key: tuple[str, str]
    position: int
    membership: str | None
    is_rejected: bool


class Imports:
    """Takes rooms over."""

    def __init__(
        self,
        database: Database,
        appender: Appender,
        heads: Heads,
        state: StateStore,
        verifier: Verifier,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._appender = appender
        self._heads = heads
        self._state = state
        self._verifier = verifier
        self._server_name = server_name
        self._turns: Turns[str] = Turns()

    async def import_room(
        self,
        room_id: str,
        rules: RoomRules,
        join_event: Event,
        state: Sequence[Event],
        auth_chain: Sequence[Event],
        partial: bool = False,
    ) -> Room:
        """Make the room known here, as it is after `join_event`. Forbidden if that is not allowed in this state.

        The events are well formed and of the room; signatures are checked here, what is not signed is left out.
        `partial`: the state lacks members; see `complete`.
        """
        async with self._turns.at(room_id):
            number = await self._number(room_id, rules)
            given = [event for event in (*auth_chain, *state) if event.event_id != join_event.event_id]
            known = await self._take_all(room_id, number, rules, given)
            former = await self._heads.if_known(room_id)
            head = Room(number, RoomId(room_id), rules)
            if former is not None:
                head.recent_roots = [former.recent_roots[-1]]
            entries = [
                each
                for event in state
                if event.is_state and (each := known.get(event.event_id)) is not None and not each.is_rejected
            ]
            await self._begin(head, join_event, entries, partial=partial)
            return await self._heads.get(room_id)

    async def _number(self, room_id: str, rules: RoomRules) -> int:
        """The number of the room. It is made known at once, so that its events have something to belong to."""
        found = await self._database.read(room_table.numbers_of, [room_id])
        if room_id in found:
            return found[room_id]
        number = await self._heads.new_number()
        await self._database.write(room_log.make_room, number, room_id, rules.version)
        return number

    async def _take_all(
        self, room_id: str, number: int, rules: RoomRules, events: Sequence[Event]
    ) -> dict[EventId, _Known]:
        """Take events without a place, auth events first."""
        known: dict[EventId, _Known] = {}
        create: Event | None = None
        ordered = in_order({event.event_id: event for event in events}.values(), by_prev=False)
        # Nothing can be judged without the event that made the room, which from version 12 on nobody names.
        ordered.sort(key=lambda event: event.type != "m.room.create")
        for start in range(0, len(ordered), PIECE):
            piece = ordered[start : start + PIECE]
            problems = await self._verifier.verify_events(piece)
            signed = [event for event, problem in zip(piece, problems, strict=True) if problem is None]
            if len(signed) < len(piece):
                unsigned = len(piece) - len(signed)
                log.info("events of a room were left out: not validly signed", room=room_id, events=unsigned)
            create = create or next((event for event in signed if event.type == "m.room.create"), None)
            rows = await self._take(room_id, number, rules, signed, create)
            for row in rows:
                event = row.event
                known[event.event_id] = _Known(
                    event.event_id, event.key, row.position, event.membership, row.status is Status.REJECTED
                )
        return known

    async def _take(
        self, room_id: str, number: int, rules: RoomRules, events: Sequence[Event], create: Event | None
    ) -> list[EventRow]:
        def script(plan: Plan) -> list[EventRow]:
            placer = Placer(_room_of(plan, room_id, number, rules))
            placer.create = placer.create or create
            placer.prefetch(events)
            rows: list[EventRow] = []
            for event in events:
                try:
                    rows.append(placer.add_outlier(event).row)
                except Unplaceable:
                    continue
            return rows

        return await self._appender.run(script)

    async def _begin(self, head: Room, join_event: Event, entries: Sequence[_Known], *, partial: bool) -> None:
        """Place the join upon the state, and have the room begin there."""
        root, nodes = state_trie.build({self._state.slot(*each.key): each.position for each in entries})
        head.state_root = root
        members = [each for each in entries if each.key[0] == "m.room.member"]
        others = [each.event_id for each in entries if each.key[0] != "m.room.member"]
        changes = self._changes(members, join_event)

        def script(plan: Plan) -> EventRow:
            planned = plan.rooms[head.room_id] = RoomPlan(plan, head, is_new=True)
            placer = Placer(planned)
            rows = [row for row in placer.find(others).values() if row is not None]
            # What the head of a room always holds is there even where the room has none of it.
            head.known.update(dict.fromkeys(ALWAYS_KNOWN))
            head.known.update({row.event.key: row for row in rows})
            create = head.known[CREATE]
            if create is None:
                raise Forbidden("The state that the other server gave has no valid m.room.create event.")
            placer.create = create.event
            planned.summary = _summary(rows, members)
            # The server through which we came has asked the policy server for the join.
            plan.recommending = None
            policy = head.known[POLICY]
            planned.policy = None if policy is None else policy_server_of(policy.event)
            placed = placer.add(join_event, before=root)
            row = placed.row
            if not placed.verdict.is_accepted:
                raise Forbidden(sentence(placed.verdict.reason))
            if not placed.is_new or row.changes is None:
                raise Conflict("This join was taken before.", "M_UNKNOWN")
            row.changes.nodes = {**nodes, **(row.changes.nodes or {})}
            row.room_root = planned.state_root
            row.members = (*changes, *row.members)
            return row

        self._state.hold(nodes)
        try:
            row = await self._appender.run(script)
        except BaseException:
            self._state.abandon(nodes)
            raise
        log.info("a room was taken over", room=head.room_id, state=len(entries), join=row.event.event_id)

    def _changes(self, members: Sequence[_Known], join_event: Event) -> list[MemberChange]:
        """All members as changes, but the one who joins."""
        ending = ":" + self._server_name
        return [
            MemberChange(each.key[1], each.membership or "leave", each.position, each.key[1].endswith(ending))
            for each in members
            if each.key != join_event.key
        ]


def _room_of(plan: Plan, room_id: str, number: int, rules: RoomRules) -> RoomPlan:
    """The room of a plan: as it is known, or else one that has nothing yet."""
    room = plan.inputs.head_of(room_id)
    planned = plan.rooms[room_id] = RoomPlan(plan, Room(number, RoomId(room_id), rules) if room is None else room)
    return planned


def _summary(rows: Sequence[EventRow], members: Sequence[_Known]) -> RoomSummary:
    summary = RoomSummary(
        joined_members=sum(each.membership == "join" for each in members),
        invited_members=sum(each.membership == "invite" for each in members),
    )
    for row in rows:
        summary = summaries.with_event(summary, row.event)
    return summary
