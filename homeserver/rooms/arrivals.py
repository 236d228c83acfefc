"""Users of other servers who join rooms of this one, knock, or leave: proposes their events, takes them back signed.

Specification: server-server API, "Joining Rooms", "Knocking upon a room", "Leaving Rooms (Rejecting Invites)".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from federation.outbound.keyring import KeyRing
from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft
from homeserver.core.event import BadEvent, Event
from homeserver.core.hashes import check_content_hash
from homeserver.core.ids import RoomId, ServerName, UserId, server_name_of
from homeserver.core.room_rules import RoomRules
from homeserver.core.signatures import Signer, sign_event
from homeserver.rooms.accept import Accepter
from homeserver.rooms.append import Appender
from homeserver.rooms.heads import Heads
from homeserver.rooms.join_answers import JoinAnswers
from homeserver.rooms.membership import is_here
from homeserver.rooms.plan import Plan
from homeserver.rooms.proposals import MEMBER, check_member_event, proposal_of
from homeserver.rooms.restricted import Admissions
from homeserver.rooms.room import Room
from homeserver.rooms.server_acl import ServerAcls
from homeserver.rooms.stripped import StrippedStates
from homeserver.rooms.wholeness import Wholeness
from homeserver.runtime.writer import Writer
from homeserver.web.errors import BadJson, BadRequest, Forbidden, InvalidParam, NotFound
from storage.rows import EventRow, RelayRow


@dataclass(frozen=True, slots=True)
class Reading:
    """What arrivals read of rooms."""

    heads: Heads
    admissions: Admissions
    acls: ServerAcls
    answers: JoinAnswers
    stripped: StrippedStates
    wholeness: Wholeness


class Arrivals:
    """Lets users of other servers in and out."""

    def __init__(
        self, appender: Appender, accepter: Accepter, reading: Reading, ring: KeyRing, writer: Writer, signer: Signer
    ) -> None:
        self._appender = appender
        self._accepter = accepter
        self._reading = reading
        self._ring = ring
        self._writer = writer
        self._signer = signer

    async def propose(
        self, origin: ServerName, membership: str, room_id: RoomId, user_id: UserId, versions: Sequence[str] | None
    ) -> JsonObject:
        """The template of a member event, for GET make_join, make_knock, make_leave. `versions` None: any."""
        room = await self._room(origin, room_id)
        if server_name_of(user_id) != origin:
            raise Forbidden(f"{user_id} is a user of another server than yours, {origin}.")
        self._check_version(room, versions, membership)
        authoriser = await self._authoriser(room, user_id) if membership == "join" else None
        content: JsonObject = {"membership": membership}
        if authoriser is not None:
            content["join_authorised_via_users_server"] = authoriser

        def script(plan: Plan) -> Event:
            planned = plan.room(room_id)
            if membership == "leave" and planned.membership(user_id) not in ("join", "invite", "knock"):
                raise Forbidden(f"{user_id} is not in this room, nor invited to it.")
            return planned.add(Draft(room_id, MEMBER, user_id, content, user_id)).event

        event = await self._appender.look(script)
        return {"room_version": room.rules.version, "event": proposal_of(event)}

    async def join(
        self, origin: ServerName, room_id: RoomId, event_id: str, pdu: JsonObject, *, omit_members: bool
    ) -> AsyncIterator[bytes]:
        """Take a signed join: the answer to PUT send_join, with the state before it."""
        room = await self._room(origin, room_id)
        event = await self._checked(origin, room, event_id, pdu, "join")
        authoriser = event.content.get("join_authorised_via_users_server")
        if isinstance(authoriser, str) and authoriser.endswith(":" + self._signer.server):
            if authoriser not in room.local_joined:
                raise Forbidden(f"{authoriser} is not in the room and lets nobody in.")
            if await self._authoriser(room, UserId(event.sender)) is not None:
                event = sign_event(event, self._signer)
        row = await self._take(event, origin)
        return await self._reading.answers.to(row, omit_members=omit_members)

    async def knock(self, origin: ServerName, room_id: RoomId, event_id: str, pdu: JsonObject) -> bytes:
        """Take a signed knock: the answer to PUT send_knock, with what is shown of the room."""
        room = await self._room(origin, room_id)
        row = await self._take(await self._checked(origin, room, event_id, pdu, "knock"), origin)
        shown = await self._reading.stripped.rows(row.room, row.state_root or room.state_root)
        return b'{"knock_room_state":[%s]}' % b",".join(each.event.json for each in shown)

    async def leave(self, origin: ServerName, room_id: RoomId, event_id: str, pdu: JsonObject) -> None:
        """Take a signed leave, for PUT send_leave."""
        room = await self._room(origin, room_id)
        await self._take(await self._checked(origin, room, event_id, pdu, "leave"), origin)

    async def _room(self, origin: ServerName, room_id: RoomId) -> Room:
        room = await self._reading.heads.if_known(room_id)
        if room is None or not is_here(room) or not room.local_joined:
            raise NotFound(f"This server is not in the room {room_id}.")
        await self._reading.acls.check(room, origin)
        if room.partial is not None:
            await self._reading.wholeness.for_servers(room)
            return await self._reading.heads.get(room_id)
        return room

    @staticmethod
    def _check_version(room: Room, versions: Sequence[str] | None, membership: str) -> None:
        version = room.rules.version
        if versions is not None and version not in versions:
            message = f"The room has version {version}, which your server does not list as known to it."
            raise BadRequest(message, "M_INCOMPATIBLE_ROOM_VERSION", room_version=version)
        if membership == "knock" and not room.rules.knocking:
            raise Forbidden(f"Rooms of version {version} have no knocking.")

    async def _authoriser(self, room: Room, user_id: UserId) -> str | None:
        """Who of our users lets the user in, where the room has conditions and the user no invite."""
        admission = await self._reading.admissions.of(user_id, room)
        if admission is None:
            return None

        def script(plan: Plan) -> str | None:
            planned = plan.room(room.room_id)
            if planned.membership(user_id) in ("join", "invite"):
                return None
            if not admission.meets_condition and not admission.is_certain:
                message = "This server cannot tell whether you meet a condition of this room: ask another."
                raise BadRequest(message, "M_UNABLE_TO_AUTHORISE_JOIN")
            found = admission.authoriser(planned)
            if found is None:
                message = "Nobody of this server can let you in: ask another."
                raise BadRequest(message, "M_UNABLE_TO_GRANT_JOIN")
            return found

        return await self._appender.look(script)

    async def _checked(self, origin: ServerName, room: Room, event_id: str, pdu: JsonObject, membership: str) -> Event:
        """The event that came, if it is what it should be."""
        event = parsed(pdu, room.rules)
        try:
            check_member_event(event, room.room_id, event_id, origin, membership)
        except BadEvent as bad:
            raise InvalidParam(f"This {membership} cannot be taken: {bad.reason}.") from None
        return event

    async def _take(self, event: Event, origin: ServerName) -> EventRow:
        """Add the event to the room, and have the room's other servers told."""
        bad = (await self._ring.verify_events([event]))[0]
        if bad is not None:
            raise InvalidParam(f"The event is not validly signed: {bad}.")
        row = await self._accepter.accept_membership(event, origin)
        if row.position > 0:
            await self._writer.append([RelayRow(row.room, row.position)])
        return row


def parsed(pdu: JsonObject, rules: RoomRules) -> Event:
    """An event out of the body of a request. Raises BadJson, or InvalidParam where its content was changed."""
    try:
        event = Event.parse(pdu, rules)
    except BadEvent as bad:
        raise BadJson(f"The body is no event of room version {rules.version}: {bad.reason}.") from None
    if not check_content_hash(pdu, rules):
        raise InvalidParam("The content hash of the event is wrong.")
    return event
