"""Which events of a room a local user may see: history visibility, asked of the state at each event.

A page of messages mostly has one state, so it costs one question a root, not one an event.
Specification: client-server API, "Room History Visibility"; the rules are homeserver.core.visibility.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homeserver.core.state_trie import EMPTY_ROOT
from homeserver.core.visibility import View, changes_view, history_visibility_of, joined_later, may_see
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.state import StateStore
from storage.rows import EventRow, Status

_VISIBILITY = ("m.room.history_visibility", "")


class Visible:
    """Asks for users whether they may see events."""

    def __init__(self, state: StateStore, events: EventCache, memberships: Memberships) -> None:
        self._state = state
        self._events = events
        self._memberships = memberships

    async def of(self, user_id: str, room: int, rows: Sequence[EventRow]) -> tuple[list[EventRow], dict[int, str]]:
        """Those of a room's events that the user may see, in order, and the user's membership at each of them."""
        if not rows:
            return [], {}
        joined_now = room in (await self._memberships.of_user(user_id)).joined
        ended_at = None if joined_now else await self._memberships.stay_ended_at(user_id, room)
        views: dict[bytes, View] = {}
        seen: list[EventRow] = []
        memberships: dict[int, str] = {}
        for row in rows:
            if row.status is not Status.ACCEPTED:
                continue
            root = row.state_root
            if root is None:
                # Fetched as a part of some state, without its own state: only those see it who are in the room.
                if joined_now:
                    seen.append(row)
                continue
            before = views.get(root)
            if before is None:
                before = views[root] = await self._view(room, root, user_id)
            after = self._after(row, before, user_id)
            if may_see(before, after, joined_later=joined_later(row.position, joined_now, ended_at)):
                seen.append(row)
                shown = before if after is None else after
                memberships[row.position] = shown.membership or "leave"
        return seen, memberships

    async def concealed(
        self, user_id: str, room: int, rows: Sequence[EventRow], memberships: Mapping[int, str]
    ) -> frozenset[int]:
        """The positions of those of these prepared events that replaced a state event which the user may not see.

        `memberships`: the user's at the events. Who was in the room before an event saw the state that it changed.
        """
        asked = {
            row.position: row.replaces
            for row in rows
            if row.replaces is not None
            and memberships.get(row.position) != "join"
            and not (row.event.type == "m.room.member" and row.event.state_key == user_id)
        }
        if not asked:
            return frozenset()
        replaced = await self._events.by_positions(set(asked.values()))
        seen, _memberships = await self.of(user_id, room, list(replaced.values()))
        shown = {row.position for row in seen}
        return frozenset(position for position, replaces in asked.items() if replaces not in shown)

    async def state_at(self, user_id: str, room: int, root: bytes, position: int) -> bool:
        """Whether the user may see what a room's state was at a position of the log, where it had this root."""
        joined_now = room in (await self._memberships.of_user(user_id)).joined
        ended_at = None if joined_now else await self._memberships.stay_ended_at(user_id, room)
        view = await self._view(room, root, user_id)
        return may_see(view, joined_later=joined_later(position, joined_now, ended_at))

    async def one(self, user_id: str, row: EventRow) -> bool:
        """Whether the user may see this event."""
        seen, _memberships = await self.of(user_id, row.room, (row,))
        return bool(seen)

    async def _view(self, room: int, root: bytes, user_id: str) -> View:
        if root == EMPTY_ROOT:
            return View("shared", None)
        keys = (_VISIBILITY, ("m.room.member", user_id))
        positions = await self._state.get_many(room, root, keys)
        rows = await self._events.by_positions(positions.values())
        visibility, member = (self._event(rows, positions.get(key)) for key in keys)
        return View(
            history_visibility_of(None if visibility is None else visibility.event.content),
            None if member is None else member.event.membership,
        )

    @staticmethod
    def _event(rows: dict[int, EventRow], position: int | None) -> EventRow | None:
        return None if position is None else rows.get(position)

    @staticmethod
    def _after(row: EventRow, before: View, user_id: str) -> View | None:
        """What holds after an event that may change the user's view."""
        event = row.event
        if not changes_view(event.type, event.state_key, user_id):
            return None
        if event.type == "m.room.member":
            return before._replace(membership=event.membership)
        return before._replace(visibility=history_visibility_of(event.content))
