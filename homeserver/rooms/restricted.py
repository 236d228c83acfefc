"""Who gets into restricted rooms without an invite, and who of our users lets them in.

Specification: client-server API, "Restricted rooms".
"""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.auth.state import JOIN_RULES
from homeserver.core.canonical_json import JsonObject
from homeserver.rooms.heads import Heads
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.plan import RoomPlan
from homeserver.rooms.room import Room
from homeserver.web.errors import Forbidden

RESTRICTED = ("restricted", "knock_restricted")
MOST_CONDITIONS = 100


@dataclass(frozen=True, slots=True)
class Admission:
    """A user asks to be let into a restricted room; whether they meet one of its conditions."""

    meets_condition: bool
    is_certain: bool = True
    """False where the user is in no room that we know, and there are conditions about rooms that we are not in."""

    def authoriser(self, planned: RoomPlan) -> str | None:
        """One of our users in the room who may invite, for `join_authorised_via_users_server`; None if there is none.

        Raises Forbidden for those who meet no condition.
        """
        if not self.meets_condition:
            raise Forbidden("You are not invited to this room, and are in none of the rooms whose members may join it.")
        power = planned.power_levels()
        able = (user_id for user_id in sorted(planned.room.local_joined) if power.of_user(user_id) >= power.invite)
        return next(able, None)


class Admissions:
    """Looks up whether users meet the conditions of restricted rooms."""

    def __init__(self, heads: Heads, memberships: Memberships) -> None:
        self._heads = heads
        self._memberships = memberships

    async def of(self, user_id: str, room: Room) -> Admission | None:
        """What to know for a join without an invite; None where the room has no such conditions."""
        if room.join_rule not in RESTRICTED or not room.rules.restricted_joins:
            return None
        if room.join_rule == "knock_restricted" and not room.rules.knock_restricted_joins:
            return None
        row = room.known.get(JOIN_RULES)
        joined = (await self._memberships.of_user(user_id)).joined
        is_certain = True
        for room_id in allowed_rooms({} if row is None else row.event.content):
            other = await self._heads.if_known(room_id)
            if other is not None and other.number in joined:
                return Admission(True)
            is_certain = is_certain and other is not None and bool(other.local_joined)
        return Admission(False, is_certain)


def allowed_rooms(join_rules: JsonObject) -> list[str]:
    """The rooms whose members may join. Entries that make no sense are no conditions."""
    allow = join_rules.get("allow")
    found: list[str] = []
    for condition in allow[:MOST_CONDITIONS] if isinstance(allow, list) else ():
        if isinstance(condition, dict) and condition.get("type") == "m.room_membership":
            room_id = condition.get("room_id")
            if isinstance(room_id, str):
                found.append(room_id)
    return found
