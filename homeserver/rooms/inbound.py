"""Transactions of other servers: each is taken once, its events are on disk before it is answered.

Specification: server-server API, "Transactions", PUT /send/{txnId}; "Server Access Control Lists (ACLs)".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults

from homeserver.core import hashes
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import BadEvent
from homeserver.core.ids import EventId
from homeserver.core.received import Received, receive
from homeserver.core.room_rules import RoomRules
from homeserver.rooms import judge_remote
from homeserver.rooms.accept import Accepter
from homeserver.rooms.heads import Heads
from homeserver.rooms.inbox import Inbox
from homeserver.rooms.outcomes import Fate, Outcome
from homeserver.rooms.room import Room
from homeserver.rooms.server_acl import ServerAcls
from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru
from homeserver.runtime.turns import Turns
from homeserver.web.errors import BadJson
from storage import staging
from storage.database import Database, DatabaseUnavailable
from storage.staging import AnswerRow

MOST_PDUS: Final = 50
MOST_EDUS: Final = 100
MOST_ANSWERS: Final = 5_000
MOST_ORIGINS: Final = 50_000
DAY_MS: Final = 24 * 3_600_000
KEPT_ANSWERS_MS: Final = DAY_MS
KEPT_VERDICTS_MS: Final = 30 * DAY_MS
MOST_VERDICTS: Final = 200_000

log: Final = structlog.get_logger("homeserver.rooms.inbound")

Results = dict[str, str | None]
"""Event id → what went wrong, None where nothing did."""


Withdrawn = Callable[[str, str, Sequence[JsonObject]], Awaitable[Results]]


class EduHandler(Protocol):
    """Takes the EDUs of one type. What makes no sense is ignored."""

    def __call__(self, origin: str, content: JsonObject, /) -> Awaitable[object]:
        """Take one EDU that this server sent."""
        ...


class InboundTransactions:
    """Takes transactions."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        accepter: Accepter,
        acls: ServerAcls,
        inbox: Inbox,
        edus: Mapping[str, EduHandler],
        clock: Clock,
    ) -> None:
        self._database = database
        self._heads = heads
        self._accepter = accepter
        self._acls = acls
        self._inbox = inbox
        self._edus = edus
        self._withdrawals: Withdrawn | None = None
        self._clock = clock
        self._turns: Turns[tuple[str, str]] = Turns()
        self._answers: Lru[tuple[str, str], bytes] = Lru(MOST_ANSWERS)
        self._met: Lru[str, bool] = Lru(MOST_ORIGINS)
        """Servers that have sent something since the start: only their first one may be a repeat from before."""
        self._unsaved: deque[AnswerRow] = deque()

    def withdraw_by(self, withdrawals: Withdrawn) -> None:
        """Have events of rooms that this server is not in looked at: invites may be taken back by them."""
        self._withdrawals = withdrawals

    def handle(self, kind: str, handler: EduHandler) -> None:
        """Have another kind of EDUs taken by this handler."""
        self._edus = {**self._edus, kind: handler}

    async def take(self, origin: str, txn_id: str, pdus: Sequence[JsonValue], edus: Sequence[JsonValue]) -> bytes:
        """Take a transaction; gives the answer, the same for a repeat."""
        if len(pdus) > MOST_PDUS or len(edus) > MOST_EDUS:
            raise BadJson(f"A transaction may have at most {MOST_PDUS} PDUs and {MOST_EDUS} EDUs.")
        key = (origin, txn_id)
        async with self._turns.at(key):
            answer = self._answers.get(key) or await self._former_answer(origin, txn_id)
            if answer is None:
                results = await self._take_pdus(origin, pdus)
                await self._take_edus(origin, edus)
                answer = _answer(results)
                # Written soon, with others. Losing one in a crash does no harm: a repeat finds its events known.
                self._unsaved.append(AnswerRow(origin, txn_id, answer, self._clock.now_ms()))
            self._answers.put(key, answer)
        return answer

    async def save(self) -> None:
        """Write down what transactions were answered with."""
        unsaved = list(self._unsaved)
        if unsaved:
            await self._database.write(staging.keep_answers, unsaved)
            for _ in unsaved:
                self._unsaved.popleft()

    async def tidy_up(self) -> None:
        """Forget old transactions and verdicts."""
        now_ms = self._clock.now_ms()
        await self._database.write(
            staging.forget_before, now_ms - KEPT_ANSWERS_MS, now_ms - KEPT_VERDICTS_MS, MOST_VERDICTS
        )

    async def _former_answer(self, origin: str, txn_id: str) -> bytes | None:
        if self._met.get(origin):
            return None
        found = await self._database.read(staging.answer_to, origin, txn_id)
        self._met.put(origin, True)
        return found

    # Events.

    async def _take_pdus(self, origin: str, pdus: Sequence[JsonValue]) -> Results:
        by_room: dict[str, list[JsonObject]] = {}
        for pdu in pdus:
            room_id = pdu.get("room_id") if isinstance(pdu, dict) else None
            if isinstance(pdu, dict) and isinstance(room_id, str):
                by_room.setdefault(room_id, []).append(pdu)
            else:
                log.info("an event was dropped", origin=origin, rule=judge_remote.FORMAT, reason="it names no room")
        results: Results = {}
        if len(by_room) == 1:
            ((room_id, of_room),) = by_room.items()
            return await self._take_room(origin, room_id, of_room)
        work = [Deferred.fromCoroutine(self._take_room(origin, room_id, part)) for room_id, part in by_room.items()]
        try:
            for result in await gatherResults(work, consumeErrors=True):
                results.update(result)
        except FirstError as error:
            # What is not on disk must be sent again.
            error.subFailure.raiseException()
        return results

    async def _take_room(self, origin: str, room_id: str, pdus: Sequence[JsonObject]) -> Results:
        room = await self._heads.if_known(room_id)
        if room is None or not room.local_joined:
            ended = {} if self._withdrawals is None else await self._withdrawals(origin, room_id, pdus)
            if ended:
                return ended
            log.info("events were dropped", origin=origin, room=room_id, reason="this server is not in the room")
            named = [_id_of(pdu, None if room is None else room.rules) for pdu in pdus]
            return {event_id: "This server is not in the room." for event_id in named if event_id}
        if not await self._acls.allows(room, origin):
            return await self._refuse(
                origin, room, pdus, judge_remote.SERVER_ACL, f"{origin} is shut out from the room"
            )
        received: list[Received] = []
        results: Results = {}
        for pdu in pdus:
            try:
                one = receive(pdu, room.rules)
            except BadEvent as bad:
                results.update(await self._refuse(origin, room, [pdu], judge_remote.FORMAT, bad.reason))
                continue
            if not one.is_as_hashed:
                log.info(
                    "an event was redacted",
                    event_id=one.event.event_id,
                    room=room_id,
                    origin=origin,
                    rule=judge_remote.HASH,
                    reason="its content is not what was hashed",
                )
            received.append(one)
        if received:
            results.update(await self._take_events(origin, room_id, received))
        return results

    async def _take_events(self, origin: str, room_id: str, received: Sequence[Received]) -> Results:
        if self._inbox.is_waiting(room_id):
            unplaced, results = [each.event for each in received], Results()
        else:
            outcomes, unplaced = await self._accepter.accept_at_once(room_id, received, origin)
            results = {event_id: outcome.error for event_id, outcome in outcomes.items()}
        if unplaced:
            if self._inbox.has_space(room_id):
                await self._inbox.put(origin, unplaced)
                results.update({event.event_id: None for event in unplaced})
            else:
                full = "Too many events of this room wait here for their past to be fetched."
                results.update({event.event_id: full for event in unplaced})
        return results

    async def _refuse(self, origin: str, room: Room, pdus: Sequence[JsonObject], rule: str, reason: str) -> Results:
        outcome = Outcome(Fate.DROPPED, rule, reason)
        named = [event_id for pdu in pdus if (event_id := _id_of(pdu, room.rules))]
        await self._accepter.refuse(room.room_id, origin, [(event_id, outcome) for event_id in named])
        return dict.fromkeys(named, outcome.error)

    # What is no event.

    async def _take_edus(self, origin: str, edus: Sequence[JsonValue]) -> None:
        for edu in edus:
            kind = edu.get("edu_type") if isinstance(edu, dict) else None
            content = edu.get("content") if isinstance(edu, dict) else None
            handler = self._edus.get(kind) if isinstance(kind, str) else None
            if handler is None or not isinstance(content, dict):
                continue
            try:
                await handler(origin, content)
            except (CancelledError, DatabaseUnavailable):
                raise  # what is not on disk must be sent again
            except Exception:  # the others are none the worse for it
                log.exception("an EDU could not be taken", origin=origin, kind=kind)


def _id_of(pdu: JsonObject, rules: RoomRules | None) -> EventId | None:
    """The id of what may be no event at all; None if it has none."""
    try:
        if rules is not None and not rules.event_id_in_pdu:
            return hashes.event_id_of(pdu, rules)
    except (ValueError, TypeError, AttributeError):
        return None
    event_id = pdu.get("event_id")
    return EventId(event_id[:255]) if isinstance(event_id, str) else None


def _answer(results: Results) -> bytes:
    return msgspec.json.encode(
        {"pdus": {event_id: {} if error is None else {"error": error} for event_id, error in results.items()}}
    )
