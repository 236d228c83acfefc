"""Takes a room over from another server: its state and auth chain come with the answer to a join.

Specification: server-server API, "Joining Rooms", PUT /_matrix/federation/v2/send_join. The state's events are taken as
events without a place in the history, see `state_intake`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import structlog

from federation.outbound.state_answers import StateAnswer
from homeserver.core.auth import Rejected, check
from homeserver.core.auth.state import CREATE
from homeserver.core.event import Event
from homeserver.core.ids import EventId, RoomId, ServerName
from homeserver.core.policy import POLICY, policy_server_of
from homeserver.core.room_rules import RoomRules
from homeserver.rooms import summaries
from homeserver.rooms.append import Appender, sentence
from homeserver.rooms.heads import ALWAYS_KNOWN, Heads
from homeserver.rooms.placing import Placer
from homeserver.rooms.plan import Plan, RoomPlan
from homeserver.rooms.room import Partial, Room
from homeserver.rooms.state import StateStore
from homeserver.rooms.state_intake import Intakes, Known, Place
from homeserver.runtime.clock import Clock
from homeserver.runtime.turns import Turns
from homeserver.runtime.writer import Also
from homeserver.web.errors import Conflict, Forbidden
from storage import partial_rooms, room_log
from storage import rooms as room_table
from storage.database import Database
from storage.partial_rooms import PartialRoom, UnfinishedState
from storage.rows import EventRow, MemberChange, RoomSummary

STATE: Final = "state"
AUTH_CHAIN: Final = "auth_chain"
"""The arrays of events in the answer to a join."""

log: Final = structlog.get_logger("homeserver.rooms.imports")


class NoBeginning(Exception):
    """What another server gives as a room does not begin as it must; the text ends the sentence of what it gave."""


@dataclass(frozen=True, slots=True)
class PartialJoin:
    """A join whose answer left most members out. `server`: who answered; `servers`: those in the room."""

    server: str
    servers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Imported:
    """A room that was taken over. `awaits`: events that its state lacks since the keys that sign them are not to be had
    now, with their senders' servers."""

    room: Room
    awaits: Mapping[EventId, str]


class Imports:
    """Takes rooms over."""

    def __init__(
        self,
        database: Database,
        appender: Appender,
        heads: Heads,
        state: StateStore,
        intakes: Intakes,
        server_name: ServerName,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._database = database
        self._appender = appender
        self._heads = heads
        self._state = state
        self._intakes = intakes
        self._server_name = server_name
        self._turns: Turns[str] = Turns()

    async def import_room(
        self,
        room_id: str,
        rules: RoomRules,
        join_event: Event,
        answer: StateAnswer,
        omitting: PartialJoin | None = None,
        *,
        server: str,
    ) -> Imported:
        """Make the room known here, as it is after `join_event`. Forbidden if that is not allowed in this state.

        What is not well formed, not of the room, or not rightly signed is left out. Raises NoBeginning where the answer
        has no event that makes this room, of this version. `omitting`: the state lacks members; see
        homeserver.rooms.completion. `server`: who answered.
        """
        async with self._turns.at(room_id):

            async def begin(create: Event) -> Place:
                _check_create(create, rules)
                return await self._place(room_id, rules)

            intake = await self._intakes.begin(room_id, rules, answer, begin, (join_event.event_id,))
            if intake.place is None:
                raise NoBeginning("without the room's m.room.create event")
            former = await self._heads.if_known(room_id)
            head = Room(intake.place.number, RoomId(room_id), rules)
            if former is not None:
                head.recent_roots = [former.recent_roots[-1]]
            named = dict.fromkeys(intake.named.get(STATE, ()))
            entries = [
                each for event_id in named if (each := intake.known.get(event_id)) is not None and not each.is_rejected
            ]
            if omitting is not None:
                entries += _members_behind(join_event, entries, intake.known)
            was_partial = former is not None and former.partial is not None
            awaits = {each: intake.undecided[each] for each in named if each in intake.undecided}
            if omitting is not None:
                # All the rest of the state is fetched anyhow.
                awaits = {}
            lacking = UnfinishedState(head.number, 0, server, len(awaits), self._clock.now_ms())
            await self._begin(head, join_event, entries, omitting, was_partial, lacking)
            return Imported(await self._heads.get(room_id), awaits)

    async def _place(self, room_id: str, rules: RoomRules) -> Place:
        """The number of the room; a new one if we have never heard of it.

        Of what version it is, is known from an invite alone, if from anything, where we never were in it.
        """
        former = await self._heads.if_known(room_id)
        if former is not None and former.rules.version != rules.version:
            raise NoBeginning("of another version than the room has in which this server was before")
        found = await self._database.read(room_table.numbers_of, [room_id])
        if room_id in found:
            if former is None and await self._database.write(room_log.set_version, found[room_id], rules.version):
                log.warning("an invite told another version of a room", room=room_id, version=rules.version)
            return Place(found[room_id])
        return Place(await self._heads.new_number(), is_new=True)

    async def _begin(
        self,
        head: Room,
        join_event: Event,
        entries: Sequence[Known],
        join: PartialJoin | None,
        was_partial: bool,
        lacking: UnfinishedState,
    ) -> None:
        """Place the join upon the state, and have the room begin there."""
        root, nodes = await self._state.built({each.key: each.position for each in entries})
        head.state_root = root
        members = [each for each in entries if each.key[0] == "m.room.member"]
        others = [each.event_id for each in entries if each.key[0] != "m.room.member"]
        changes = self._changes(members, join_event)
        also: list[Also] = []

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
            also[:] = []
            if join is not None:
                head.partial = Partial(row)
                found = PartialRoom(head.number, row.position, join.server)
                also[:] = [partial(partial_rooms.keep, found=found, servers=join.servers)]
            elif was_partial:
                also[:] = [partial(partial_rooms.forget, room=head.number)]
            if lacking.lacking:
                found_lacking = replace(lacking, join_position=row.position)
                also.append(partial(partial_rooms.keep_unfinished, found=found_lacking))
            else:
                also.append(partial(partial_rooms.forget_unfinished, room=head.number))
            return row

        self._state.hold(nodes)
        try:
            row = await self._appender.run(script, also)
        except BaseException:
            self._state.abandon(nodes)
            raise
        log.info("a room was taken over", room=head.room_id, state=len(entries), join=row.event.event_id)

    def _changes(self, members: Sequence[Known], join_event: Event) -> list[MemberChange]:
        """All members as changes, but the one who joins."""
        ending = ":" + self._server_name
        return [
            MemberChange(each.key[1], each.membership or "leave", each.position, each.key[1].endswith(ending))
            for each in members
            if each.key != join_event.key
        ]


def _check_create(create: Event, rules: RoomRules) -> None:
    """The room must begin as the server says, and with a version that fits: all else is read by it."""
    if create.content.get("room_version", "1") != rules.version:
        raise NoBeginning("of a room of another version than that of the event it proposed")
    try:
        check(create, {})
    except Rejected as refusal:
        raise NoBeginning(f"with an m.room.create event against the rules: {refusal.reason}") from None


def _members_behind(join: Event, entries: Sequence[Known], known: Mapping[EventId, Known]) -> list[Known]:
    """The members that a join leans on, where a state that lacks members has nothing of them."""
    there = {each.key for each in entries}
    found = (known.get(event_id) for event_id in join.auth_events)
    return [
        each
        for each in found
        if each is not None and each.key[0] == "m.room.member" and each.key not in there and not each.is_rejected
    ]


def _summary(rows: Sequence[EventRow], members: Sequence[Known]) -> RoomSummary:
    summary = RoomSummary(
        joined_members=sum(each.membership == "join" for each in members),
        invited_members=sum(each.membership == "invite" for each in members),
    )
    for row in rows:
        summary = summaries.with_event(summary, row.event)
    return summary
