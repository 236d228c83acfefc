"""Invites to whoever owns an e-mail address or a phone number, once it is known who that is.

An identity server has signed that the address is that of a user; who invited the address makes an invite to the user
out of it, or a server does in their name. Specification: server-server API, "Third-party invites".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import structlog

from federation.outbound.errors import RemoteError
from federation.outbound.memberships import MembershipRequests
from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft
from homeserver.core.ids import (
    EventId,
    InvalidId,
    RoomId,
    ServerName,
    UserId,
    parse_room_id,
    parse_user_id,
    server_name_of,
)
from homeserver.rooms.append import Appender
from homeserver.rooms.elsewhere_errors import refusal_of
from homeserver.rooms.heads import Heads
from homeserver.rooms.membership import is_here, third_party_draft
from homeserver.rooms.plan import Plan
from homeserver.rooms.proposals import MEMBER
from homeserver.rooms.server_acl import ServerAcls
from homeserver.runtime.writer import Writer
from homeserver.web.errors import Forbidden, InvalidParam, MatrixError, NotFound
from storage import accounts as account_table
from storage.database import Database
from storage.rows import EventRow, RelayRow

MOST_INVITES: Final = 100
"""Invites that are taken from an identity server at once."""

log: Final = structlog.get_logger("homeserver.rooms")


class Exchanges:
    """Makes invites in the name of users of other servers: here where we are in the room, by their server elsewhere."""

    def __init__(self, requests: MembershipRequests, appender: Appender, heads: Heads, writer: Writer) -> None:
        self._requests = requests
        self._appender = appender
        self._heads = heads
        self._writer = writer

    async def exchange(self, draft: Draft) -> None:
        """Have the invite made; who is invited already, or in the room, stays so."""
        room_id, invitee = str(draft.room_id), str(draft.state_key)
        room = await self._heads.if_known(room_id)
        if room is None or not is_here(room) or not room.local_joined:
            server = server_name_of(draft.sender)
            event: JsonObject = {
                "type": MEMBER,
                "room_id": room_id,
                "sender": draft.sender,
                "state_key": invitee,
                "content": draft.content,
            }
            try:
                await self._requests.exchange_third_party_invite(server, room_id, event)
            except RemoteError as error:
                raise refusal_of([error], f"The third-party invite to {room_id} cannot be used") from error
            return

        def script(plan: Plan) -> EventRow | None:
            planned = plan.room(room_id)
            return None if planned.membership(invitee) in ("join", "invite") else planned.add(draft)

        row = await self._appender.run(script)
        if row is not None:
            # The sender is a user of another server, so the event does not go out by itself.
            await self._writer.append([RelayRow(row.room, row.position)])


class Inviting(Protocol):
    """Invites users of other servers."""

    async def invite(self, draft: Draft) -> EventId:
        """Their server signs the event before it is added to the room."""
        ...


class InviteChecks(Protocol):
    """What local users say to invites."""

    async def check_invitable(self, inviter: str, invitee: str) -> None:
        """Raise Forbidden (M_INVITE_BLOCKED) if a local user wants no invites."""
        ...


class BoundInvite(msgspec.Struct, frozen=True):
    """An invite that an identity server kept for an address."""

    mxid: str
    room_id: str
    sender: str
    signed: msgspec.Raw


class ThirdPartyInvites:
    """Takes the proofs that identity servers and other homeservers bring."""

    def __init__(
        self,
        exchanges: Exchanges,
        appender: Appender,
        heads: Heads,
        acls: ServerAcls,
        inviting: Inviting,
        checks: InviteChecks,
        database: Database,
        server_name: ServerName,
    ) -> None:
        self._exchanges = exchanges
        self._appender = appender
        self._heads = heads
        self._acls = acls
        self._inviting = inviting
        self._checks = checks
        self._database = database
        self._server_name = server_name

    async def exchange(self, origin: ServerName, room_id: RoomId, proposed: JsonObject) -> None:
        """Make the invite that a server proposes, for PUT exchange_third_party_invite. The room's rules check it."""
        room = await self._heads.if_known(room_id)
        if room is None or not is_here(room) or not room.local_joined:
            raise NotFound(f"This server is not in the room {room_id}.")
        await self._acls.check(room, origin)
        if room.partial is not None:
            # It tries again, or asks another server.
            raise NotFound("This server does not know all members of the room yet: ask another one.")
        draft = await self._checked(room_id, proposed)
        invitee = str(draft.state_key)

        def script(plan: Plan) -> EventRow | None:
            planned = plan.room(room_id)
            return None if planned.membership(invitee) in ("join", "invite") else planned.add(draft)

        if server_name_of(invitee) == self._server_name:
            await self._checks.check_invitable(draft.sender, invitee)
            await self._appender.run(script)
        elif await self._appender.look(script) is not None:
            await self._inviting.invite(draft)

    async def bound(self, mxid: str, invites: Sequence[BoundInvite]) -> None:
        """An address is now that of a user of ours, and has these invites. For PUT 3pid/onbind, which nobody signs.

        What the room's rules refuse is left out; the first server that could not be asked makes it fail, so that the
        identity server may try again.
        """
        try:
            user_id = parse_user_id(mxid)
        except InvalidId as error:
            raise InvalidParam(f"{error}.") from None
        if server_name_of(user_id) != self._server_name:
            raise InvalidParam(f"{user_id} is a user of another server.")
        account = await self._database.read(account_table.one, user_id)
        if account is None or account.is_deactivated:
            raise NotFound(f"There is no user {user_id} on this server.")
        unreached: list[MatrixError] = []
        for invite in invites[:MOST_INVITES]:
            try:
                await self._take(user_id, invite)
            except MatrixError as refusal:
                log.info(
                    "a third-party invite is not used", user_id=user_id, room_id=invite.room_id, reason=str(refusal)
                )
                if refusal.status >= 500:
                    unreached.append(refusal)
        if unreached:
            raise unreached[0]

    async def _take(self, user_id: UserId, invite: BoundInvite) -> None:
        signed = _object(invite.signed)
        if invite.mxid != user_id:
            raise InvalidParam("The invite is for another user.")
        try:
            room_id, sender = parse_room_id(invite.room_id), parse_user_id(invite.sender)
        except InvalidId as error:
            raise InvalidParam(f"{error}.") from None
        await self._checks.check_invitable(sender, user_id)
        draft = third_party_draft(room_id, sender, user_id, signed)
        if server_name_of(sender) != self._server_name:
            await self._exchanges.exchange(draft)
            return

        def script(plan: Plan) -> EventRow | None:
            planned = plan.room(room_id)
            return None if planned.membership(user_id) in ("join", "invite") else planned.add(draft)

        await self._appender.run(script)

    async def _checked(self, room_id: RoomId, proposed: JsonObject) -> Draft:
        """The invite that is proposed, in our own words."""
        content = proposed.get("content")
        invite = content.get("third_party_invite") if isinstance(content, dict) else None
        signed = invite.get("signed") if isinstance(invite, dict) else None
        if proposed.get("type") != MEMBER or proposed.get("room_id", room_id) != room_id:
            raise InvalidParam("This is no m.room.member event of the room that the path names.")
        if not isinstance(content, dict) or content.get("membership") != "invite" or not isinstance(signed, dict):
            raise InvalidParam("This is no invite with the `signed` of a third-party invite.")
        sender, invitee = proposed.get("sender"), proposed.get("state_key")
        try:
            inviter = parse_user_id(sender if isinstance(sender, str) else "")
            invited = parse_user_id(invitee if isinstance(invitee, str) else "")
        except InvalidId:
            raise InvalidParam("An invite needs a sender and a state_key that are user IDs.") from None
        if server_name_of(inviter) != self._server_name:
            raise Forbidden(f"{inviter} is a user of another server, which has to make the invite.")
        token = signed.get("token")

        def shown_name(plan: Plan) -> str | None:
            """What the address was called in the room when it was invited."""
            row = plan.room(room_id).state("m.room.third_party_invite", token if isinstance(token, str) else "")
            name = None if row is None else row.event.content.get("display_name")
            return name if isinstance(name, str) else None

        return third_party_draft(room_id, inviter, invited, signed, await self._appender.look(shown_name))


def _object(raw: msgspec.Raw) -> JsonObject:
    value = msgspec.json.decode(raw)
    if not isinstance(value, dict):
        raise InvalidParam("`signed` must be an object.")
    return value
