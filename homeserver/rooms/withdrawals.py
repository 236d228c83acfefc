"""Invites that are taken back and knocks that are refused, in rooms that this server is not in.

We know nothing of the state of such a room, so only servers may do this whose users stood behind what it showed us.
Specification: server-server API, "Inviting to a room", "Knocking upon a room"; client-server API, "Room membership".
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from federation.outbound.keyring import KeyRing
from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import BadEvent, Event
from homeserver.core.ids import ServerName, server_name_of
from homeserver.core.room_rules import RoomRules
from homeserver.rooms.incoming import read_pdu
from homeserver.rooms.outside import OutsideMemberships
from homeserver.runtime.turns import Turns

ENDS = ("leave", "ban")

log = structlog.get_logger("homeserver.rooms")


class Withdrawals:
    """Takes them."""

    def __init__(self, outside: OutsideMemberships, ring: KeyRing, turns: Turns[str], server_name: ServerName) -> None:
        self._outside = outside
        self._ring = ring
        self._turns = turns
        self._server_name = server_name

    async def take(self, origin: str, room_id: str, pdus: Sequence[JsonObject]) -> dict[str, str | None]:
        """Event id → what went wrong, None where nothing did. Of the events only those count that end a membership."""
        results: dict[str, str | None] = {}
        rules = await self._outside.rules_of(room_id)
        for pdu in pdus if rules is not None else ():
            event = self._ending(pdu, rules, room_id, origin) if rules is not None else None
            if event is None:
                continue
            bad = (await self._ring.verify_events([event]))[0]
            if bad is not None:
                results[event.event_id] = f"The event is not validly signed: {bad}."
                continue
            async with self._turns.at(room_id):
                results[event.event_id] = await self._end(event, origin)
        return results

    def _ending(self, pdu: JsonObject, rules: RoomRules, room_id: str, origin: str) -> Event | None:
        """The event, if it puts a user of ours out."""
        if pdu.get("type") != "m.room.member":
            return None
        try:
            event = read_pdu(pdu, rules)
        except BadEvent:
            return None
        target = event.state_key or ""
        is_ending = event.membership in ENDS and event.room_id == room_id
        is_theirs = server_name_of(event.sender) == origin
        return event if is_ending and is_theirs and target.endswith(f":{self._server_name}") else None

    async def _end(self, event: Event, origin: str) -> str | None:
        target = str(event.state_key)
        current = await self._outside.current(event.room_id, target)
        if current is None or current.event.membership not in ("invite", "knock"):
            return f"{target} is neither invited to this room nor knocks on it."
        if origin not in await self._outside.servers_behind(event.room_id, target):
            return f"This server does not know that {origin} is in the room."
        await self._outside.put(event, None)
        log.info("an invite or knock was ended", room=event.room_id, user=target, origin=origin)
        return None
