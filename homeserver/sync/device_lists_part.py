"""Whose devices or keys changed, for one user between two positions of the log; and whom they need follow no longer.

Nothing is kept for a pair of users: the answer comes from where each user's devices changed last, and from how the
states of rooms differ between the two positions.
Specification: client-server API, "Tracking the device list for a user", "Extensions to /sync"; GET /keys/changes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.memberships import Memberships, UserRooms
from homeserver.rooms.room import Room
from homeserver.rooms.state import StateStore
from homeserver.sync.changes import Changes, OwnMembership
from storage import memberships as membership_table
from storage.database import Database

_encode = msgspec.json.encode


@dataclass(slots=True)
class DeviceLists:
    """`changed`: look their keys up again, if you follow them. `left`: follow them no longer."""

    changed: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)

    def encoded(self) -> bytes:
        """As a member of an answer; empty where there is nothing to tell."""
        if not self.changed and not self.left:
            return b""
        return b'"device_lists":{"changed":%s,"left":%s}' % (_encode(sorted(self.changed)), _encode(sorted(self.left)))


class DeviceListsPart:
    """Finds out what changed."""

    def __init__(
        self, database: Database, memberships: Memberships, heads: Heads, state: StateStore, events: EventCache
    ) -> None:
        self._database = database
        self._memberships = memberships
        self._heads = heads
        self._state = state
        self._events = events

    async def of(self, user_id: str, user_rooms: UserRooms, changes: Changes, since: int, upto: int) -> DeviceLists:
        """The device lists that `changes`, those in (since, upto], concern."""
        found = DeviceLists(set(changes.signed_others))
        for other in changes.device_lists:
            if other == user_id or await self._memberships.shares_room(user_id, other):
                found.changed.add(other)
        own: dict[int, list[OwnMembership]] = {}
        for change in changes.memberships:
            own.setdefault(change.room, []).append(change)
        for number in changes.members_moved | own.keys():
            room = await self._heads.by_number(number)
            if room is not None:
                await self._add_room(found, user_id, room, own.get(number, ()), since, upto)
        found.left.discard(user_id)
        if found.left:
            still = await self._database.read(membership_table.neighbours_among, user_id, list(found.left))
            found.left -= still
            found.changed -= found.left
        return found

    async def _add_room(
        self, found: DeviceLists, user_id: str, room: Room, own: Sequence[OwnMembership], since: int, upto: int
    ) -> None:
        """Add who came into a room or out of it; everybody in it where the user did so."""
        was_in, is_in = True, True
        if own:
            was_in = await self._memberships.at(user_id, room.number, since) == "join"
            is_in = own[-1].membership == "join"
        end = upto if is_in else own[-1].position
        if is_in and not (was_in and all(change.membership == "join" for change in own)):
            here = await self._database.read(membership_table.members, room.number, ("join",))
            found.changed.update(other for other, _, _ in here)
        if was_in:
            came, went = await self._moved(room, since, end)
            found.left |= went
            if is_in:
                found.changed |= came
            else:
                found.left |= await self._in_room_at(room, end)

    async def _moved(self, room: Room, since: int, upto: int) -> tuple[set[str], set[str]]:
        """Who was not in a room at `since` and is at `upto`, and the other way round."""
        old, new = await self._heads.root_at(room, since), await self._heads.root_at(room, upto)
        came: set[str] = set()
        went: set[str] = set()
        if old == new:
            return came, went
        differences = await self._state.diff(room.number, old, new, members=True)
        before = await self._joined([each.old for each in differences if each.old is not None])
        after = await self._joined([each.new for each in differences if each.new is not None])
        return after - before, before - after

    async def _joined(self, positions: Collection[int]) -> set[str]:
        """Of some member events: whom they let be in the room."""
        rows = await self._events.by_positions(positions)
        return {
            row.event.state_key
            for row in rows.values()
            if row.event.membership == "join" and row.event.state_key is not None
        }

    async def _in_room_at(self, room: Room, position: int) -> set[str]:
        """Who was in a room when the user left it; not who came later, which is no business of theirs."""
        now = await self._database.read(membership_table.joined_or_moved_since, room.number, position)
        found = {user_id for user_id, member_event in now if member_event <= position}
        later = [("m.room.member", user_id) for user_id, member_event in now if member_event > position]
        if later:
            root = await self._heads.root_at(room, position)
            then = await self._state.get_many(room.number, root, later)
            found |= await self._joined(then.values())
        return found
