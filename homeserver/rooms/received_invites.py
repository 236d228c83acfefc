"""Invites that other servers bring to users of this one.

Specification: server-server API, "Inviting to a room", PUT /invite/{roomId}/{eventId} (v1 and v2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from federation.outbound.keyring import KeyRing
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.client_format import stripped_event_bytes
from homeserver.core.event import BadEvent, Event
from homeserver.core.hashes import check_content_hash
from homeserver.core.ids import InvalidId, ServerName, parse_user_id, server_name_of
from homeserver.core.room_rules import ROOM_RULES, RoomRules
from homeserver.core.signatures import Signer, sign_event
from homeserver.rooms.heads import Heads
from homeserver.rooms.membership import is_here
from homeserver.rooms.outside import OutsideMemberships
from homeserver.rooms.server_acl import ServerAcls
from homeserver.runtime.turns import Turns
from homeserver.web.errors import BadRequest, Forbidden, InvalidParam, NotFound
from storage import accounts as account_table
from storage.database import Database

MOST_STATE_EVENTS: Final = 60
_CREATE: Final = "m.room.create"


class InviteChecks(Protocol):
    """What local users say to invites."""

    async def check_invitable(self, inviter: str, invitee: str) -> None:
        """Raise Forbidden (M_INVITE_BLOCKED) if a local user wants no invites."""
        ...


class ReceivedInvites:
    """Takes invites."""

    def __init__(
        self,
        heads: Heads,
        outside: OutsideMemberships,
        checks: InviteChecks,
        acls: ServerAcls,
        ring: KeyRing,
        signer: Signer,
        turns: Turns[str],
        database: Database,
    ) -> None:
        self._heads = heads
        self._outside = outside
        self._checks = checks
        self._acls = acls
        self._ring = ring
        self._signer = signer
        self._turns = turns
        self._database = database

    async def take(
        self, origin: ServerName, room_id: str, event_id: str, pdu: JsonObject, version: str, state: Sequence[JsonValue]
    ) -> JsonObject:
        """Take an invite; the event with our signature."""
        rules = ROOM_RULES.get(version)
        if rules is None:
            message = f"This server does not know room version {version[:40]}."
            raise BadRequest(message, "M_INCOMPATIBLE_ROOM_VERSION", room_version=version)
        event = self._event(origin, room_id, event_id, pdu, rules)
        invitee = str(event.state_key)
        here = await self._heads.if_known(room_id)
        if here is not None and is_here(here):
            await self._acls.check(here, origin)
        bad = (await self._ring.verify_events([event]))[0]
        if bad is not None:
            raise InvalidParam(f"The invite is not validly signed: {bad}.")
        stripped = await self._stripped(event, state)
        account = await self._database.read(account_table.one, invitee)
        if account is None or account.is_deactivated:
            raise NotFound(f"There is no user {invitee} on this server.")
        await self._checks.check_invitable(event.sender, invitee)
        signed = sign_event(event, self._signer)
        async with self._turns.at(room_id):
            room = await self._heads.if_known(room_id)
            # Where we are in the room, the invite comes with everything else that happens there.
            if room is None or not is_here(room):
                current = await self._outside.current(room_id, invitee)
                if current is not None and current.event.membership == "ban":
                    raise Forbidden(f"{invitee} is banned from this room.")
                await self._outside.put(signed, stripped)
        return signed.to_pdu()

    def _event(self, origin: str, room_id: str, event_id: str, pdu: JsonObject, rules: RoomRules) -> Event:
        """The event, after the checks that keep us from signing something else."""
        try:
            event = Event.parse(pdu, rules)
        except BadEvent as bad:
            raise InvalidParam(f"The invite is no event of room version {rules.version}: {bad.reason}.") from None
        if not check_content_hash(pdu, rules):
            raise InvalidParam("The content hash of the invite is wrong.")
        if event.room_id != room_id or event.event_id != event_id:
            raise InvalidParam("The invite is of another room, or has another id, than the request names.")
        if event.membership != "invite" or event.state_key is None:
            raise InvalidParam("This is no invite: an m.room.member with membership invite.")
        if server_name_of(event.sender) != origin:
            raise InvalidParam("The sender of the invite is a user of another server.")
        try:
            if server_name_of(parse_user_id(event.state_key)) != self._signer.server:
                raise InvalidParam(f"{event.state_key} is a user of another server.")
        except InvalidId:
            raise InvalidParam("The invite is for something that is no user.") from None
        return event

    async def _stripped(self, invite: Event, state: Sequence[JsonValue]) -> list[bytes]:
        """What is shown of the room. Full events of it are asked for in new room versions, older servers send less."""
        if not invite.rules.room_id_is_create_hash:
            return [shown for entry in state[:MOST_STATE_EVENTS] if (shown := stripped_entry(entry)) is not None]
        try:
            events = [
                Event.parse(entry, invite.rules) for entry in state[:MOST_STATE_EVENTS] if isinstance(entry, dict)
            ]
        except BadEvent as bad:
            raise InvalidParam(f"invite_room_state must hold whole events: {bad.reason}.") from None
        if any(event.room_id != invite.room_id for event in events):
            raise InvalidParam("invite_room_state holds an event of another room.")
        if not any(event.type == _CREATE and event.state_key == "" for event in events):
            raise InvalidParam("invite_room_state must hold the m.room.create event of the room.")
        for bad_signature in await self._ring.verify_events(events):
            if bad_signature is not None:
                raise InvalidParam(f"invite_room_state holds an event that is not validly signed: {bad_signature}.")
        return [stripped_event_bytes(event) for event in events if event.is_state]


def stripped_entry(entry: JsonValue) -> bytes | None:
    """A state event of any form as stripped state; None if it is none."""
    if not isinstance(entry, dict):
        return None
    shown = {key: entry.get(key) for key in ("type", "state_key", "sender", "content")}
    texts = (shown["type"], shown["state_key"], shown["sender"])
    if not all(isinstance(text, str) for text in texts) or not isinstance(shown["content"], dict):
        return None
    return msgspec.json.encode(shown)
