"""Makes rooms. All first events of a room are committed together: there is no half-made room.

Specification: client-server API, POST /createRoom, whose numbered list gives the order of the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import msgspec
import structlog

from config.settings import Rooms as RoomDefaults
from homeserver.core.auth import Rejected
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.draft import Draft
from homeserver.core.ids import InvalidId, RoomId, ServerName, UserId, parse_alias, parse_user_id, server_name_of
from homeserver.core.room_rules import ROOM_RULES, RoomRules
from homeserver.rooms.append import Appender, sentence
from homeserver.rooms.elsewhere import Elsewhere
from homeserver.rooms.heads import Heads
from homeserver.rooms.membership import MEMBER, MembershipChanges
from homeserver.rooms.plan import Plan, RoomPlan, random_room_id
from homeserver.runtime.writer import AppendFailed
from homeserver.web.decode import ObjectField
from homeserver.web.errors import BadRequest, Forbidden, InvalidParam, MatrixError
from storage import aliases as alias_table
from storage.database import Database

CREATOR_LEVEL: Final = 100
TOMBSTONE_LEVEL_BELOW_CREATORS: Final = 150
"""Where creators stand above all levels, replacing the room is for them alone (createRoom, number 3)."""

log: Final = structlog.get_logger("homeserver.rooms")


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset stands for."""

    join_rule: str
    guest_access: str
    invite_level: int
    trusts_invitees: bool = False
    is_private: bool = True
    history_visibility: str = "shared"


PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "private_chat": Preset("invite", "can_join", invite_level=0),
        "trusted_private_chat": Preset("invite", "can_join", invite_level=0, trusts_invitees=True),
        "public_chat": Preset("public", "forbidden", invite_level=50, is_private=False),
    }
)


class InitialState(msgspec.Struct, frozen=True):
    """One entry of `initial_state`."""

    type: str
    content: ObjectField
    state_key: str = ""


class CreateRoom(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST /createRoom."""

    visibility: Literal["public", "private"] | None = None
    preset: Literal["private_chat", "trusted_private_chat", "public_chat"] | None = None
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: list[str] | None = None
    invite_3pid: list[ObjectField] | None = None
    room_version: str | None = None
    creation_content: ObjectField | None = None
    initial_state: list[InitialState] | None = None
    is_direct: bool | None = None
    power_level_content_override: ObjectField | None = None


@dataclass(frozen=True, slots=True)
class _Order:
    """A checked request to make a room."""

    creator: UserId
    request: CreateRoom
    rules: RoomRules
    preset: Preset
    alias: str | None
    invitees: Sequence[UserId]
    member: JsonObject
    invites: Mapping[UserId, JsonObject]
    """Contents of the invites of local users."""
    is_encrypted: bool


class RoomCreation:
    """Makes rooms for local users."""

    def __init__(
        self,
        appender: Appender,
        heads: Heads,
        memberships: MembershipChanges,
        elsewhere: Elsewhere,
        database: Database,
        server_name: ServerName,
        defaults: RoomDefaults,
    ) -> None:
        self._appender = appender
        self._heads = heads
        self._memberships = memberships
        self._elsewhere = elsewhere
        self._database = database
        self._server_name = server_name
        self._defaults = defaults

    async def create(self, creator: UserId, request: CreateRoom) -> RoomId:
        """Make a room; its id."""
        order = await self._check(creator, request)
        number = await self._heads.new_number()

        def script(plan: Plan) -> RoomId:
            try:
                return _add_events(plan, number, order, self._server_name)
            except Rejected as rejected:
                raise BadRequest(sentence(rejected.reason), "M_INVALID_ROOM_STATE") from rejected

        try:
            room_id = await self._appender.run(script)
        except AppendFailed:
            # Two requests for one alias: the database has let the other one through.
            await self._check_alias_is_free(order.alias)
            raise
        await self._invite_elsewhere(order, room_id)
        return room_id

    async def _check(self, creator: UserId, request: CreateRoom) -> _Order:
        rules = rules_of(request.room_version or self._defaults.default_version)
        preset = PRESETS[request.preset or ("public_chat" if request.visibility == "public" else "private_chat")]
        if request.invite_3pid:
            raise BadRequest("This server trusts no identity server: invite by user ID.", "M_SERVER_NOT_TRUSTED")
        if not isinstance((request.creation_content or {}).get("m.federate", True), bool):
            raise InvalidParam("m.federate must be true or false.")
        # The rules do not ask whether a membership is that of a user.
        _user_ids([each.state_key for each in request.initial_state or () if each.type == MEMBER])
        invitees = _user_ids(request.invite or ())
        if creator in invitees:
            raise Forbidden("You are in the room that you make: do not invite yourself.")
        alias = self._alias(request.room_alias_name)
        await self._check_alias_is_free(alias)
        is_direct: JsonObject = {"is_direct": True} if request.is_direct else {}
        invites: dict[UserId, JsonObject] = {}
        for invitee in invitees:
            await self._memberships.check_invitable(creator, invitee)
            if server_name_of(invitee) == self._server_name:
                invites[invitee] = {**await self._memberships.content("invite", invitee), **is_direct}
            elif not self._elsewhere.reaches(server_name_of(invitee)):
                raise MatrixError(
                    400, "M_UNKNOWN", f"{invitee} is a user of another server, and this server does not talk to it."
                )
        member = await self._memberships.content("join", creator)
        return _Order(
            creator, request, rules, preset, alias, invitees, member, invites, self._encrypts(request, preset)
        )

    def _encrypts(self, request: CreateRoom, preset: Preset) -> bool:
        """Whether a room is encrypted whether or not its maker asks for it."""
        if (request.creation_content or {}).get("type") == "m.space":
            return False
        return self._defaults.encrypted == "all" or (self._defaults.encrypted == "private" and preset.is_private)

    def _alias(self, localpart: str | None) -> str | None:
        if not localpart:
            return None
        try:
            alias = parse_alias(f"#{localpart}:{self._server_name}")
        except InvalidId as invalid:
            raise InvalidParam(f"room_alias_name makes no alias: {invalid}.") from None
        if ":" in localpart or localpart.startswith("#"):
            raise InvalidParam("room_alias_name is only what stands between # and : in the alias.")
        return alias

    async def _check_alias_is_free(self, alias: str | None) -> None:
        if alias is None:
            return
        taken = await self._database.read(alias_table.rooms_of, [alias])
        if taken:
            raise BadRequest(f"The alias {alias} is taken.", "M_ROOM_IN_USE")

    async def _invite_elsewhere(self, order: _Order, room_id: RoomId) -> None:
        for invitee in order.invitees:
            if invitee in order.invites:
                continue
            try:
                await self._memberships.invite(order.creator, room_id, invitee, is_direct=bool(order.request.is_direct))
            except MatrixError as refusal:
                # The room is there and its maker can invite again, which an error for the whole would not tell.
                log.warning("an invite to a new room failed", room_id=room_id, invitee=invitee, reason=str(refusal))


def rules_of(version: str) -> RoomRules:
    """The rules of a room version; BadRequest if we do not have it."""
    rules = ROOM_RULES.get(version)
    if rules is None:
        raise BadRequest(f"This server does not know room version {version!r}.", "M_UNSUPPORTED_ROOM_VERSION")
    return rules


def create_content(
    rules: RoomRules, creator: str, given: Mapping[str, JsonValue], trusted: Iterable[str] = ()
) -> JsonObject:
    """The content of m.room.create. `trusted` become creators too, where the room version has that."""
    content = {key: value for key, value in given.items() if key != "creator"}
    content["room_version"] = rules.version
    if rules.creator_in_content:
        content["creator"] = creator
    if rules.additional_creators:
        named = content.get("additional_creators")
        others = [user_id for user_id in trusted if user_id != creator]
        if others and (named is None or isinstance(named, list)):
            known = [] if named is None else list(named)
            content["additional_creators"] = [*known, *(user_id for user_id in others if user_id not in known)]
    return content


def default_power_levels(rules: RoomRules, admins: Iterable[str], invite_level: int) -> JsonObject:
    """The first m.room.power_levels.

    `admins` are those who have the creator's level, where levels are what creators have.
    """
    events: JsonObject = {
        "m.room.name": 50,
        "m.room.avatar": 50,
        "m.room.canonical_alias": 50,
        "m.room.power_levels": CREATOR_LEVEL,
        "m.room.history_visibility": CREATOR_LEVEL,
        "m.room.server_acl": CREATOR_LEVEL,
        "m.room.encryption": CREATOR_LEVEL,
        "m.room.tombstone": TOMBSTONE_LEVEL_BELOW_CREATORS if rules.infinite_creators else CREATOR_LEVEL,
    }
    users: JsonObject = {} if rules.infinite_creators else dict.fromkeys(admins, CREATOR_LEVEL)
    return {
        "users": users,
        "users_default": 0,
        "events": events,
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": invite_level,
    }


def topic_content(topic: str) -> JsonObject:
    """The content of m.room.topic for a plain text. Specification: m.room.topic, TopicContentBlock."""
    return {"topic": topic, "m.topic": {"m.text": [{"body": topic, "mimetype": "text/plain"}]}}


def _add_events(plan: Plan, number: int, order: _Order, server_name: ServerName) -> RoomId:
    """The events of a new room in the order of the specification."""
    request, rules, creator, preset = order.request, order.rules, order.creator, order.preset
    trusted = order.invitees if preset.trusts_invitees else ()
    # 1. m.room.create
    create = Draft(
        None if rules.room_id_is_create_hash else random_room_id(server_name),
        "m.room.create",
        creator,
        create_content(rules, creator, request.creation_content or {}, trusted),
        "",
    )
    room = plan.new_room(number, rules, create, is_published=request.visibility == "public", alias=order.alias)

    def add(event_type: str, content: JsonObject, state_key: str = "") -> None:
        room.add(Draft(room.room.room_id, event_type, creator, content, state_key))

    # 2. The creator joins.
    add(MEMBER, order.member, creator)
    # 3. m.room.power_levels
    levels = default_power_levels(rules, (creator, *trusted), preset.invite_level)
    add("m.room.power_levels", {**levels, **(request.power_level_content_override or {})})
    # 4. m.room.canonical_alias
    if order.alias is not None:
        add("m.room.canonical_alias", {"alias": order.alias})
    # 5. to 7. The preset, over which initial_state goes, over which name and topic go.
    for event_type, state_key, content in _state_wanted(order):
        add(event_type, content, state_key)
    # 8. Invites. Those of users of other servers follow once the room is there.
    for invitee, content in order.invites.items():
        add(MEMBER, content, invitee)
    return room.room.room_id


def _state_wanted(order: _Order) -> list[tuple[str, str, JsonObject]]:
    """Type, state key and content of the state that preset, initial_state, name and topic make, each place once."""
    request, preset = order.request, order.preset
    from_preset: list[tuple[str, str, JsonObject]] = [
        ("m.room.join_rules", "", {"join_rule": preset.join_rule}),
        ("m.room.history_visibility", "", {"history_visibility": preset.history_visibility}),
        ("m.room.guest_access", "", {"guest_access": preset.guest_access}),
    ]
    if order.is_encrypted:
        from_preset.append(("m.room.encryption", "", {"algorithm": "m.megolm.v1.aes-sha2"}))
    initial = [(each.type, each.state_key, each.content) for each in request.initial_state or ()]
    named: list[tuple[str, str, JsonObject]] = []
    if request.name is not None:
        named.append(("m.room.name", "", {"name": request.name}))
    if request.topic is not None:
        named.append(("m.room.topic", "", topic_content(request.topic)))
    over_preset = {(event_type, state_key) for event_type, state_key, _ in initial}
    over_initial = {(event_type, state_key) for event_type, state_key, _ in named}
    return [
        *(each for each in from_preset if each[:2] not in over_preset),
        *(each for each in initial if each[:2] not in over_initial),
        *named,
    ]


def _user_ids(texts: Sequence[str]) -> list[UserId]:
    """The invited users, each once."""
    try:
        return list(dict.fromkeys(parse_user_id(text) for text in texts))
    except InvalidId as invalid:
        raise InvalidParam(f"One of the users to invite, or of the members, is not a user ID: {invalid}.") from None


__all__ = [
    "CreateRoom",
    "InitialState",
    "RoomCreation",
    "RoomPlan",
    "create_content",
    "default_power_levels",
    "rules_of",
    "topic_content",
]
