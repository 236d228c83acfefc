"""Replaces a room by a new one of another version.

The new room and the tombstone in the old one are committed together.

Specification: client-server API, "Room Upgrades".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from homeserver.core.auth import INFINITE_POWER, Rejected
from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft
from homeserver.core.ids import InvalidId, RoomId, ServerName, UserId, parse_user_id
from homeserver.core.room_rules import RoomRules
from homeserver.rooms.append import Appender
from homeserver.rooms.create import (
    CREATOR_LEVEL,
    TOMBSTONE_LEVEL_BELOW_CREATORS,
    create_content,
    default_power_levels,
    rules_of,
)
from homeserver.rooms.heads import Heads
from homeserver.rooms.membership import MEMBER, MembershipChanges
from homeserver.rooms.plan import Plan, RoomPlan, random_room_id
from homeserver.web.errors import InvalidParam
from storage import aliases, room_log
from storage import rooms as room_table
from storage.database import Database

TRANSFERRED: Final = (
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.canonical_alias",
)
POWER_LEVELS: Final = "m.room.power_levels"
QUIET_LEVEL: Final = 50


class Upgrades:
    """Upgrades rooms for local users."""

    def __init__(
        self,
        appender: Appender,
        heads: Heads,
        memberships: MembershipChanges,
        database: Database,
        server_name: ServerName,
    ) -> None:
        self._appender = appender
        self._heads = heads
        self._memberships = memberships
        self._database = database
        self._server_name = server_name

    async def upgrade(
        self, user_id: UserId, room_id: RoomId, new_version: str, additional_creators: Sequence[str] = ()
    ) -> RoomId:
        """Make a room that follows this one; its id."""
        rules = rules_of(new_version)
        others = _creators(additional_creators) if rules.additional_creators else []
        member = await self._memberships.content("join", user_id)

        def may_end_it(plan: Plan) -> int:
            tombstone(plan.room(room_id), user_id, room_id)
            return plan.room(room_id).room.number

        # 1. Whoever may not send the tombstone learns it here, before a number for a room is taken.
        old_number = await self._appender.look(may_end_it)
        is_published = await self._database.read(room_table.is_published, old_number)
        number = await self._heads.new_number()

        def script(plan: Plan) -> RoomId:
            old = plan.room(room_id)
            wanted = [(event_type, "") for event_type in (*TRANSFERRED, POWER_LEVELS, "m.room.create")]
            old.want(wanted)
            replacement = _Replacement(plan, old, rules, user_id, others, member, self._server_name)
            new_id = replacement.make(number, is_published=is_published)
            # 6. The old room is kept quiet, if the user may.
            quieten(old, user_id)
            return new_id

        return await self._appender.run(
            script,
            # 4. Local aliases lead to the new room, and it takes the place of the old one in the directory.
            also=(
                partial(aliases.move, old_room=old_number, new_room=number),
                partial(room_log.publish_room, room=old_number, is_published=False),
            ),
        )


class _Replacement:
    """The new room, on a plan."""

    def __init__(
        self,
        plan: Plan,
        old: RoomPlan,
        rules: RoomRules,
        user_id: UserId,
        others: Sequence[str],
        member: JsonObject,
        server_name: ServerName,
    ) -> None:
        self._plan = plan
        self._old = old
        self._rules = rules
        self._user_id = user_id
        self._others = others
        self._member = member
        self._server_name = server_name

    def make(self, number: int, *, is_published: bool) -> RoomId:
        """Add the new room and the tombstone of the old one."""
        old_id = self._old.room.room_id
        if self._rules.room_id_is_create_hash:
            # The id of the new room depends on its create event, which so cannot name the tombstone; it need not.
            room = self._begin(None, {"room_id": old_id}, number, is_published)
            tombstone(self._old, self._user_id, room.room.room_id)
        else:
            new_id = random_room_id(self._server_name)
            # 5. The tombstone
            end = tombstone(self._old, self._user_id, new_id)
            room = self._begin(new_id, {"room_id": old_id, "event_id": end}, number, is_published)
        self._transfer(room)
        return room.room.room_id

    def _begin(self, room_id: RoomId | None, predecessor: JsonObject, number: int, is_published: bool) -> RoomPlan:
        # 2. The create event, with the type of the old room, and whatever else the old one was given.
        old_create = self._old.state("m.room.create")
        given: JsonObject = {} if old_create is None else dict(old_create.event.content)
        for key in ("room_version", "creator", "predecessor", "additional_creators"):
            given.pop(key, None)
        given["predecessor"] = predecessor
        content = create_content(self._rules, self._user_id, given, self._others)
        create = Draft(room_id, "m.room.create", self._user_id, content, "")
        room = self._plan.new_room(number, self._rules, create, is_published=is_published)
        room.add(Draft(room.room.room_id, MEMBER, self._user_id, self._member, self._user_id))
        return room

    def _transfer(self, room: RoomPlan) -> None:
        """3. The state that goes over. The levels come last, lest they forbid the rest."""
        wanted = self._power_levels()
        first = default_power_levels(self._rules, (), 0)
        if not self._rules.infinite_creators:
            # Nobody can set a higher level than their own.
            first["users"] = {self._user_id: _highest_level(wanted)}
        self._add(room, POWER_LEVELS, first)
        for event_type in TRANSFERRED:
            row = self._old.state(event_type)
            if row is not None and row.redacted_by is None:
                self._add(room, event_type, row.event.content)
        if wanted != first:
            self._add(room, POWER_LEVELS, wanted)

    def _add(self, room: RoomPlan, event_type: str, content: JsonObject) -> None:
        room.add(Draft(room.room.room_id, event_type, self._user_id, content, ""))

    def _power_levels(self) -> JsonObject:
        row = self._old.state(POWER_LEVELS)
        levels: JsonObject = default_power_levels(self._rules, (), 0) if row is None else dict(row.event.content)
        users = levels.get("users")
        users = dict(users) if isinstance(users, dict) else {}
        if self._rules.infinite_creators:
            # Creators must not be named.
            for creator in (self._user_id, *self._others):
                users.pop(creator, None)
            levels["events"] = _with_higher_tombstone(levels)
        elif self._old.power_levels().of_user(self._user_id) == INFINITE_POWER:
            users[self._user_id] = _highest_level(levels)
        levels["users"] = users
        return levels


def tombstone(room: RoomPlan, user_id: UserId, replacement: RoomId) -> str:
    """End a room; the id of the tombstone."""
    content: JsonObject = {"body": "This room has been replaced", "replacement_room": replacement}
    return room.add(Draft(room.room.room_id, "m.room.tombstone", user_id, content, "")).event.event_id


def quieten(room: RoomPlan, user_id: UserId) -> None:
    """Let only moderators speak and invite in a room that has ended, if the user may do that."""
    row = room.state(POWER_LEVELS)
    if row is None:
        return
    content = dict(row.event.content)
    default = content.get("users_default", 0)
    level = max(QUIET_LEVEL, default + 1 if isinstance(default, int) else QUIET_LEVEL)
    for name in ("events_default", "invite"):
        now = content.get(name, 0)
        content[name] = max(level, now) if isinstance(now, int) else level
    if content == row.event.content:
        return
    try:
        room.add(Draft(room.room.room_id, POWER_LEVELS, user_id, content, ""))
    except Rejected:
        return  # Who may end a room need not be one who may change its levels; the specification says "if possible".


def _highest_level(levels: JsonObject) -> int:
    """The highest level that m.room.power_levels names, and no less than a creator has by default."""
    named = [*levels.values()]
    for table in (levels.get("users"), levels.get("events")):
        named += table.values() if isinstance(table, dict) else ()
    return max([CREATOR_LEVEL, *(level for level in named if type(level) is int)])


def _with_higher_tombstone(levels: JsonObject) -> JsonObject:
    """createRoom, number 3: where creators stand above all levels, the tombstone's must be above state_default."""
    events = levels.get("events")
    events = dict(events) if isinstance(events, dict) else {}
    default = levels.get("state_default", 50)
    needed = default if isinstance(default, int) else 50
    now = events.get("m.room.tombstone")
    if not isinstance(now, int) or now <= max(needed, CREATOR_LEVEL):
        events["m.room.tombstone"] = max(TOMBSTONE_LEVEL_BELOW_CREATORS, needed + 1)
    return events


def _creators(texts: Sequence[str]) -> list[UserId]:
    try:
        return [parse_user_id(text) for text in texts]
    except InvalidId as invalid:
        raise InvalidParam(f"One of the additional creators is not a user ID: {invalid}.") from None
