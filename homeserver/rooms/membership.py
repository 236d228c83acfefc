"""Changes of memberships by local users: join, leave, invite, remove, ban, knock, forget.

Each change looks at the room and adds its event in one step, so nothing can come between. Rooms in which this server is
not, and users of other servers, are a matter for `Elsewhere`. Specification: client-server API, "Room membership".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.draft import Draft
from homeserver.core.ids import EventId, InvalidId, RoomId, ServerName, UserId, parse_user_id, server_name_of
from homeserver.rooms.append import Appender
from homeserver.rooms.elsewhere import Elsewhere
from homeserver.rooms.heads import Heads
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.plan import Plan, RoomPlan
from homeserver.rooms.restricted import Admission, Admissions
from homeserver.rooms.room import Room
from homeserver.rooms.same_state import same_state
from homeserver.rooms.wholeness import Wholeness
from homeserver.web.errors import BadJson, BadRequest, Forbidden, GuestAccessForbidden, InvalidParam, NotFound
from storage import memberships as membership_table
from storage import room_log
from storage.database import Database

MEMBER = "m.room.member"
OF_ONE_EVENT = frozenset(("reason", "third_party_invite", "is_direct", "join_authorised_via_users_server"))
"""Keys of a member event that belong to that one event: a later one of the same membership leaves them out."""


class Profiles(Protocol):
    """What member events say about a user."""

    async def of(self, user_id: str) -> Mapping[str, JsonValue]:
        """`displayname` and `avatar_url` of a local user, those that are set."""
        ...


class Invitees(Protocol):
    """What local users say to invites."""

    async def blocks(self, invitee: str, inviter: str) -> bool:
        """Whether the user wants no such invite. Specification: client-server API, "Invite permission"."""
        ...


class MembershipChanges:
    """Changes memberships for local users."""

    def __init__(
        self,
        appender: Appender,
        heads: Heads,
        memberships: Memberships,
        profiles: Profiles,
        invitees: Invitees,
        elsewhere: Elsewhere,
        database: Database,
        wholeness: Wholeness,
        server_name: ServerName,
    ) -> None:
        self._appender = appender
        self._heads = heads
        self._memberships = memberships
        self._profiles = profiles
        self._invitees = invitees
        self._elsewhere = elsewhere
        self._database = database
        self._wholeness = wholeness
        self._server_name = server_name
        self._admissions = Admissions(heads, memberships)

    async def join(
        self,
        user_id: UserId,
        room_id: RoomId,
        *,
        via: Sequence[str] = (),
        reason: str | None = None,
        third_party_signed: JsonObject | None = None,
        is_guest: bool = False,
    ) -> None:
        """Join a room; who is in it already stays so. POST /rooms/{roomId}/join."""
        content = await self.content("join", user_id, reason)
        invite = None if third_party_signed is None else _third_party_invite(user_id, room_id, third_party_signed)
        if invite is not None and server_name_of(invite.sender) != self._server_name:
            await self._elsewhere.exchange(invite)
            invite = None
        room = await self._heads.if_known(room_id)
        # Where not all members are known, perhaps the user is banned: a server that knows must let them in.
        is_unsure = room is not None and room.partial is not None and user_id not in room.local_joined
        if room is None or not is_here(room) or is_unsure:
            await self._elsewhere.join(user_id, room_id, via, content)
            return
        if is_guest and room.summary.guest_access != "can_join":
            raise GuestAccessForbidden("Guests may not join this room: register an account.")
        admission = await self._admissions.of(user_id, room)

        def script(plan: Plan) -> bool:
            planned = plan.room(room_id)
            if planned.membership(user_id) == "join":
                return True
            if invite and planned.membership(user_id) != "invite":
                planned.add(invite)
            return _add_join(planned, user_id, content, admission) is not None

        if not await self._appender.run(script):
            await self._elsewhere.join(user_id, room_id, via, content)

    async def leave(self, user_id: UserId, room_id: RoomId, *, reason: str | None = None) -> None:
        """Leave a room, reject an invite, or take back a knock. POST /rooms/{roomId}/leave."""
        content = _content("leave", reason)
        room = await self._heads.if_known(room_id)
        if room is None or not is_here(room):
            await self._elsewhere.leave(user_id, room_id, content)
            return
        await self._know(room_id, user_id)

        def script(plan: Plan) -> None:
            planned = plan.room(room_id)
            current = planned.membership(user_id)
            if current is None or current == "ban":
                raise Forbidden("You are not in this room.")
            if current != "leave":
                planned.add(Draft(room_id, MEMBER, user_id, content, user_id))

        await self._appender.run(script)

    async def invite(
        self,
        sender: UserId,
        room_id: RoomId,
        target: str,
        *,
        reason: str | None = None,
        is_direct: bool = False,
    ) -> None:
        """Invite a user; who is invited already stays so. POST /rooms/{roomId}/invite."""
        invitee = _user(target)
        content = await self.content("invite", invitee, reason)
        if is_direct:
            content["is_direct"] = True
        await self._invite(Draft(room_id, MEMBER, sender, content, invitee), is_repeatable=False)

    async def kick(self, sender: UserId, room_id: RoomId, target: str, *, reason: str | None = None) -> None:
        """Remove a user from a room, or take their invite or knock away. POST /rooms/{roomId}/kick."""
        draft = Draft(room_id, MEMBER, sender, _content("leave", reason), _user(target))
        await self._know(room_id, target)

        def script(plan: Plan) -> None:
            planned = plan.room(room_id)
            _must_be_in(planned, sender)
            if planned.membership(target) not in ("join", "invite", "knock"):
                raise Forbidden(f"{target} is not in this room.")
            planned.add(draft)

        await self._appender.run(script)

    async def ban(self, sender: UserId, room_id: RoomId, target: str, *, reason: str | None = None) -> None:
        """Ban a user. POST /rooms/{roomId}/ban."""
        draft = Draft(room_id, MEMBER, sender, _content("ban", reason), _user(target))

        def script(plan: Plan) -> None:
            planned = plan.room(room_id)
            _must_be_in(planned, sender)
            if same_state(planned, draft) is None:
                planned.add(draft)

        await self._appender.run(script)

    async def unban(self, sender: UserId, room_id: RoomId, target: str, *, reason: str | None = None) -> None:
        """Lift a ban. POST /rooms/{roomId}/unban."""
        draft = Draft(room_id, MEMBER, sender, _content("leave", reason), _user(target))
        await self._know(room_id, target)

        def script(plan: Plan) -> None:
            planned = plan.room(room_id)
            _must_be_in(planned, sender)
            if planned.membership(target) != "ban":
                raise Forbidden(f"{target} is not banned from this room.", "M_BAD_STATE")
            planned.add(draft)

        await self._appender.run(script)

    async def knock(
        self, user_id: UserId, room_id: RoomId, *, via: Sequence[str] = (), reason: str | None = None
    ) -> None:
        """Ask to be let in; who has asked already stays so. POST /knock/{roomIdOrAlias}."""
        content = await self.content("knock", user_id, reason)
        room = await self._heads.if_known(room_id)
        if room is None or not is_here(room):
            await self._elsewhere.knock(user_id, room_id, via, content)
            return
        await self._know(room_id, user_id)

        def script(plan: Plan) -> None:
            planned = plan.room(room_id)
            if planned.membership(user_id) != "knock":
                planned.add(Draft(room_id, MEMBER, user_id, content, user_id))

        await self._appender.run(script)

    async def forget(self, user_id: UserId, room_id: RoomId) -> None:
        """Make the user forget a room that they have left. POST /rooms/{roomId}/forget."""
        room = await self._heads.get(room_id)
        found = await self._database.read(membership_table.in_room, room.number, user_id)
        if found is None:
            raise NotFound(f"You were never in the room {room_id}.")
        membership, is_forgotten = found
        if membership not in ("leave", "ban"):
            raise BadRequest(f"{user_id} is in the room {room_id}: leave it before you forget it.", "M_UNKNOWN")
        if not is_forgotten and await self._database.write(room_log.forget, room.number, user_id):
            self._memberships.forgotten(user_id, room.number)

    async def set(self, sender: UserId, room_id: RoomId, target: str, content: JsonObject) -> EventId:
        """Set a member event as it is given. PUT /rooms/{roomId}/state/m.room.member/{userId}."""
        membership = content.get("membership")
        if not isinstance(membership, str):
            raise BadJson("A member event needs a `membership`.")
        member = _user(target)
        # Who lets a user in is found out by the server.
        given = {key: value for key, value in content.items() if key != "join_authorised_via_users_server"}
        draft = Draft(room_id, MEMBER, sender, given, member)
        await self._know(room_id, member)
        if membership == "invite":
            return await self._invite(draft, is_repeatable=True)
        if membership != "join" or member != sender:
            return await self._appender.run(
                lambda plan: (same_state(plan.room(room_id), draft) or plan.room(room_id).add(draft)).event.event_id
            )
        admission = await self._admissions.of(sender, await self._heads.get(room_id))

        def script(plan: Plan) -> EventId | None:
            planned = plan.room(room_id)
            same = same_state(planned, draft)
            return same.event.event_id if same is not None else _add_join(planned, sender, given, admission)

        event_id = await self._appender.run(script)
        if event_id is None:
            raise Forbidden("No user of this server can let you into this room: join it by its id.")
        return event_id

    async def show_profile(self, user_id: UserId, room_id: RoomId) -> EventId | None:
        """Bring the user's member event in a room up to their profile; None if there was nothing to change."""
        profile = await self._profiles.of(user_id)

        def script(plan: Plan) -> EventId | None:
            planned = plan.room(room_id)
            current = planned.state(MEMBER, user_id)
            if current is None or current.event.membership != "join":
                return None
            kept = {
                key: value
                for key, value in current.event.content.items()
                if key not in OF_ONE_EVENT and key not in ("displayname", "avatar_url")
            }
            draft = Draft(room_id, MEMBER, user_id, {**kept, **profile}, user_id)
            shown = {key: value for key, value in current.event.content.items() if key not in OF_ONE_EVENT}
            return None if shown == draft.content else planned.add(draft).event.event_id

        return await self._appender.run(script)

    async def content(self, membership: str, user_id: str, reason: str | None = None) -> JsonObject:
        """The content of a member event, with the profile of a local user; others' profiles are not ours to tell."""
        content = _content(membership, reason)
        if server_name_of(user_id) == self._server_name:
            content.update(await self._profiles.of(user_id))
        return content

    async def check_invitable(self, inviter: str, invitee: str) -> None:
        """Raise Forbidden (M_INVITE_BLOCKED) if a local user wants no invites."""
        if server_name_of(invitee) == self._server_name and await self._invitees.blocks(invitee, inviter):
            raise Forbidden(f"{invitee} takes no invites.", "M_INVITE_BLOCKED")

    async def _know(self, room_id: str, user_id: str) -> None:
        """Wait until it is known whether a user is in a room, where not all its members are known yet."""
        room = await self._heads.if_known(room_id)
        if room is None or room.partial is None:
            return
        if await self._appender.look(lambda plan: plan.room(room_id).membership(user_id)) is None:
            await self._wholeness.of(room)

    async def _invite(self, draft: Draft, *, is_repeatable: bool) -> EventId:
        room_id, target = str(draft.room_id), str(draft.state_key)
        is_local = server_name_of(target) == self._server_name
        await self._know(room_id, target)

        def before(planned: RoomPlan) -> EventId | None:
            """An invite that makes this one needless."""
            _must_be_in(planned, draft.sender)
            current = planned.state(MEMBER, target)
            if current is None or current.event.membership != "invite":
                return None
            if is_repeatable and same_state(planned, draft) is None:
                return None
            return current.event.event_id

        def script(plan: Plan) -> EventId:
            planned = plan.room(room_id)
            return before(planned) or planned.add(draft).event.event_id

        if is_local:
            await self.check_invitable(draft.sender, target)
            return await self._appender.run(script)
        # What the rules here do not allow is not asked elsewhere.
        allowed = await self._appender.look(script)
        if await self._appender.look(lambda plan: before(plan.room(room_id))) is not None:
            return allowed
        return await self._elsewhere.invite(draft)


def third_party_draft(
    room_id: RoomId, inviter: UserId, invitee: UserId, signed: JsonObject, display_name: str | None = None
) -> Draft:
    """The invite for a user who has proved that a third-party invite was meant for them."""
    proof: JsonObject = {key: signed[key] for key in ("mxid", "token", "signatures") if key in signed}
    invite: JsonObject = {"display_name": display_name or invitee, "signed": proof}
    return Draft(room_id, MEMBER, inviter, {"membership": "invite", "third_party_invite": invite}, invitee)


def _third_party_invite(user_id: UserId, room_id: RoomId, signed: JsonObject) -> Draft:
    inviter = signed.get("sender")
    return third_party_draft(room_id, _user(inviter if isinstance(inviter, str) else ""), user_id, signed)


def is_here(room: Room) -> bool:
    """Whether this server takes part in the room, so that what it knows of it is true.

    Where nobody is left, we know the last; unless we never knew all members.
    """
    return bool(room.local_joined) or (room.joined_members == 0 and room.partial is None)


def _add_join(planned: RoomPlan, user_id: UserId, content: JsonObject, admission: Admission | None) -> EventId | None:
    """Add the join; None if only another server could let the user in."""
    if admission is not None and planned.membership(user_id) not in ("join", "invite"):
        authoriser = admission.authoriser(planned)
        if authoriser is None:
            return None
        content = {**content, "join_authorised_via_users_server": authoriser}
    return planned.add(Draft(planned.room.room_id, MEMBER, user_id, content, user_id)).event.event_id


def _must_be_in(planned: RoomPlan, user_id: str) -> None:
    if planned.membership(user_id) != "join":
        raise Forbidden("You are not in this room.")


def _user(text: str) -> UserId:
    try:
        return parse_user_id(text)
    except InvalidId:
        raise InvalidParam(f"{text[:300]!r} is not a user ID.") from None


def _content(membership: str, reason: str | None) -> JsonObject:
    return {"membership": membership} if reason is None else {"membership": membership, "reason": reason}
