"""Sending: messages, state, redactions. What goes in are plain values, what comes out is an event id or a MatrixError.

Specification: client-server API, "Sending events to a room" and "Redactions".
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from homeserver.core import canonical_json
from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft
from homeserver.core.ids import EventId, InvalidId, RoomId, UserId, parse_alias
from homeserver.core.relations import THREAD, AnnotationKey, annotation_key, may_start_thread, relation_of
from homeserver.rooms.append import Appender, Script
from homeserver.rooms.elsewhere import Elsewhere
from homeserver.rooms.membership import MembershipChanges
from homeserver.rooms.plan import Plan
from homeserver.rooms.same_state import same_state
from homeserver.rooms.transactions import Transactions
from homeserver.web.errors import BadJson, BadRequest, Forbidden, InvalidParam, NotFound
from storage import aliases as alias_table
from storage import events as event_table
from storage.database import Database

REDACTION = "m.room.redaction"

OnQueued = Callable[[], None]
"""Is called once the event is in the queue of the log, so that what is sent after it will stand behind it."""


class Sending:
    """Sends events for local users."""

    def __init__(
        self,
        appender: Appender,
        transactions: Transactions,
        memberships: MembershipChanges,
        elsewhere: Elsewhere,
        database: Database,
    ) -> None:
        self._appender = appender
        self._transactions = transactions
        self._memberships = memberships
        self._elsewhere = elsewhere
        self._database = database

    async def message(
        self,
        sender: UserId,
        room_id: RoomId,
        event_type: str,
        content: JsonObject,
        *,
        device: int | None = None,
        txn_id: str | None = None,
        timestamp_ms: int | None = None,
        queued: OnQueued | None = None,
    ) -> EventId:
        """Send a message event. PUT /rooms/{roomId}/send/{eventType}/{txnId}."""
        txn_path = None if txn_id is None else f"send/{event_type}/{txn_id}"
        if event_type == REDACTION:
            # In any room version clients may name the event in the content; it goes where the room version has it.
            redacts = content.get("redacts")
            if not isinstance(redacts, str):
                raise BadJson("A redaction must name the event to redact, as `redacts` in its content.")
            rest = {key: value for key, value in content.items() if key != "redacts"}
            redaction = Draft(room_id, REDACTION, sender, rest, redacts=EventId(redacts))
            script = _redaction(redaction, device, txn_path)
            return await self._once(script, room_id, device, txn_path, timestamp_ms, queued)
        draft = Draft(room_id, event_type, sender, content)
        annotation = annotation_key(event_type, content) if "m.relates_to" in content else None
        script = _message(draft, device, txn_path)
        return await self._once(script, room_id, device, txn_path, timestamp_ms, queued, annotation, sender)

    async def redact(
        self,
        sender: UserId,
        room_id: RoomId,
        event_id: EventId,
        content: JsonObject,
        *,
        device: int | None = None,
        txn_id: str | None = None,
        queued: OnQueued | None = None,
    ) -> EventId:
        """Redact an event. `content` may hold a reason. PUT /rooms/{roomId}/redact/{eventId}/{txnId}."""
        txn_path = None if txn_id is None else f"redact/{event_id}/{txn_id}"
        rest = {key: value for key, value in content.items() if key != "redacts"}
        script = _redaction(Draft(room_id, REDACTION, sender, rest, redacts=event_id), device, txn_path)
        return await self._once(script, room_id, device, txn_path, None, queued)

    async def state(
        self,
        sender: UserId,
        room_id: RoomId,
        event_type: str,
        state_key: str,
        content: JsonObject,
        *,
        device: int | None = None,
        timestamp_ms: int | None = None,
        queued: OnQueued | None = None,
    ) -> EventId:
        """Set a piece of state.

        PUT /rooms/{roomId}/state/{eventType}/{stateKey}. The same state again makes no new event.
        """
        if event_type == "m.room.member":
            return await self._memberships.set(sender, room_id, state_key, content)
        if event_type == "m.room.canonical_alias" and state_key == "":
            await self._check_aliases(room_id, content)
        draft = Draft(room_id, event_type, sender, content, state_key)

        def script(plan: Plan) -> EventId:
            room = plan.room(room_id)
            return (same_state(room, draft) or room.add(draft, device=device)).event.event_id

        event_id, committed = await self._appender.queue_script(script, (), timestamp_ms)
        if queued is not None:
            queued()
        await committed
        return event_id

    async def _once(
        self,
        script: Script[EventId],
        room_id: RoomId,
        device: int | None,
        txn_path: str | None,
        timestamp_ms: int | None,
        queued: OnQueued | None,
        annotation: AnnotationKey | None = None,
        sender: str = "",
    ) -> EventId:
        async def work() -> tuple[EventId, Deferred[None]]:
            if annotation is not None:
                await self._check_annotation(annotation, sender)
            event = await self._appender.queue_script(script, (), timestamp_ms)
            if queued is not None:
                queued()
            return event

        if device is None or txn_path is None:
            event_id, committed = await work()
            await committed
            return event_id
        return await self._transactions.once(device, room_id, txn_path, work)

    async def _check_annotation(self, annotation: AnnotationKey, sender: str) -> None:
        """Specification: client-server API, "Avoiding duplicate annotations"."""
        found = await self._database.read(event_table.annotations_of, annotation.event_id, sender, annotation.type)
        for json in found:
            pdu = canonical_json.decode(json)
            if not isinstance(pdu, dict) or pdu.get("sender") != sender:
                continue
            content = pdu.get("content")
            if isinstance(content, dict) and annotation_key(annotation.type, content) == annotation:
                raise BadRequest("You have annotated the event in this way already.", "M_DUPLICATE_ANNOTATION")

    async def _check_aliases(self, room_id: RoomId, content: JsonObject) -> None:
        """Aliases that are new in m.room.canonical_alias must be valid and lead to the room."""

        def current(plan: Plan) -> set[str]:
            row = plan.room(room_id).state("m.room.canonical_alias")
            return set() if row is None else set(_aliases(row.event.content))

        new = set(_aliases(content))
        if not new:
            return
        new -= await self._appender.look(current)
        for alias in new:
            try:
                parse_alias(alias)
            except InvalidId:
                raise InvalidParam(f"{alias} is not a valid alias.") from None
        ours = await self._database.read(alias_table.rooms_of, list(new))
        for alias in new:
            leads_to = ours[alias][1] if alias in ours else await self._elsewhere.room_of(alias)
            if leads_to != room_id:
                raise BadRequest(f"The alias {alias} does not lead to this room.", "M_BAD_ALIAS")


def _message(draft: Draft, device: int | None, txn_path: str | None) -> Script[EventId]:
    """Adds a message event."""
    relation = relation_of(draft.content) if "m.relates_to" in draft.content else None
    room_id = str(draft.room_id)
    if relation is None or relation.rel_type != THREAD:
        return lambda plan: plan.room(room_id).add(draft, device=device, txn_path=txn_path).event.event_id
    thread_root = relation.event_id

    def script(plan: Plan) -> EventId:
        room = plan.room(room_id)
        root = plan.event(thread_root)
        # Specification: client-server API, "Validation of m.thread relationships".
        if root is not None and not may_start_thread(root.event.content):
            raise BadRequest("A thread cannot start at an event that itself relates to another one.", "M_UNKNOWN")
        return room.add(draft, device=device, txn_path=txn_path).event.event_id

    return script


def _redaction(draft: Draft, device: int | None, txn_path: str | None) -> Script[EventId]:
    """Adds a redaction, if its sender may redact the event."""

    def script(plan: Plan) -> EventId:
        room = plan.room(str(draft.room_id))
        if room.membership(draft.sender) != "join":
            raise Forbidden("You are not in this room.")
        target = plan.event(str(draft.redacts))
        if target is None or target.room != room.room.number:
            raise NotFound("There is no such event in this room.")
        needed = room.power_levels().redact
        if target.event.sender != draft.sender and room.power_levels().of_user(draft.sender) < needed:
            raise Forbidden(f"Redacting what others have sent needs power level {needed} here.")
        return room.add(draft, device=device, txn_path=txn_path).event.event_id

    return script


def _aliases(content: JsonObject) -> list[str]:
    """All aliases that m.room.canonical_alias names."""
    alternatives = content.get("alt_aliases")
    named = [content.get("alias"), *(alternatives if isinstance(alternatives, list) else ())]
    if any(alias is not None and not isinstance(alias, str) for alias in named):
        raise InvalidParam("Aliases must be strings.")
    return [alias for alias in named if isinstance(alias, str) and alias]
