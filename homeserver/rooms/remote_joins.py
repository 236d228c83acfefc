"""Joining a room through a server in it: hands over the signed join, checks what comes back, makes the room ours.

Specification: server-server API, PUT /send_join/{roomId}/{eventId} (v2), "Checks performed on receipt of a PDU".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from federation.outbound.errors import RemoteNonsense
from federation.outbound.keyring import KeyRing
from federation.outbound.memberships import JoinAnswer, MembershipRequests
from homeserver.core.canonical_json import MAX_FEDERATION_NESTING, BadJson, JsonObject, decode_object
from homeserver.core.event import BadEvent, Event
from homeserver.core.room_rules import RoomRules
from homeserver.rooms.accept import Accepter
from homeserver.rooms.heads import Heads
from homeserver.rooms.imports import Imports
from homeserver.rooms.incoming import read_pdu
from homeserver.rooms.membership import is_here
from homeserver.runtime.clock import Clock

EVENTS_AT_ONCE: Final = 200
"""Events that are looked at before others have their turn."""

log: Final = structlog.get_logger("homeserver.rooms")


class RemoteJoins:
    """Joins."""

    def __init__(
        self,
        requests: MembershipRequests,
        imports: Imports,
        accepter: Accepter,
        heads: Heads,
        ring: KeyRing,
        clock: Clock,
        leave_out: Callable[[str], object],
    ) -> None:
        self._requests = requests
        self._imports = imports
        self._accepter = accepter
        self._heads = heads
        self._ring = ring
        self._clock = clock
        self._leave_out = leave_out

    async def join(self, server: str, rules: RoomRules, event: Event) -> None:
        """Join through this server with this event of ours. Raises RemoteError or BadEvent where that fails."""
        room_id = event.room_id
        answer = await self._requests.send_join(server, room_id, event.event_id, event.json, omit_members=False)
        event = await self._signed_by_them(server, event, answer)
        # The server through which we came tells the others.
        self._leave_out(event.event_id)
        room = await self._heads.if_known(room_id)
        if room is not None and is_here(room):
            await self._accepter.accept_membership(event, server)
            return
        auth_chain = await self._read(answer.auth_chain, event)
        state = await self._read(answer.state, event)
        _check_create(server, [*state, *auth_chain], rules)
        await self._imports.import_room(room_id, rules, event, state, auth_chain, partial=answer.members_omitted)

    async def _signed_by_them(self, server: str, event: Event, answer: JoinAnswer) -> Event:
        """The join as it is in the room: with the signature of whoever let us in, where somebody had to."""
        if bytes(answer.event) in (b"", b"null") or "join_authorised_via_users_server" not in event.content:
            return event
        signed = read_pdu(_decoded(answer.event), event.rules)
        if signed.event_id != event.event_id:
            raise RemoteNonsense(server, "gave back another event for our join")
        bad = (await self._ring.verify_events([signed]))[0]
        if bad is not None:
            raise RemoteNonsense(server, f"gave our join back without a valid signature: {bad}")
        return signed

    async def _read(self, pdus: list[msgspec.Raw], join: Event) -> list[Event]:
        """Those of the events that are well formed and of the room, each in the form in which it is to be used.

        The encoded ones are gone afterwards: both are not held at once.
        """
        events: list[Event] = []
        pdus.reverse()
        while pdus:
            if len(pdus) % EVENTS_AT_ONCE == 0:
                await self._clock.sleep(0)
            try:
                event = read_pdu(_decoded(pdus.pop()), join.rules)
            except BadEvent as bad:
                log.info("an event of a room that is joined is dropped", room=join.room_id, reason=bad.reason)
                continue
            if event.room_id == join.room_id and event.is_state:
                events.append(event)
        return events


def _decoded(pdu: msgspec.Raw) -> JsonObject:
    try:
        return decode_object(bytes(pdu), MAX_FEDERATION_NESTING)
    except BadJson as bad:
        raise BadEvent(f"it is no JSON object: {bad}") from None


def _check_create(server: str, events: Sequence[Event], rules: RoomRules) -> None:
    """The room must begin as the server says, with a version that fits."""
    create = next((event for event in events if event.type == "m.room.create" and event.state_key == ""), None)
    if create is None:
        raise RemoteNonsense(server, "answered a join without the room's m.room.create event")
    if create.content.get("room_version", "1") != rules.version:
        raise RemoteNonsense(server, "proposed an event of another room version than that of the room")
