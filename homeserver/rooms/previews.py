"""What those may know of a room who are not in it: its summary, and the rooms below a space.

Specification: client-server API, GET /room_summary/{roomIdOrAlias}, GET /rooms/{roomId}/hierarchy, "Spaces".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.rooms.directory import Directory
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.membership import is_here
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.restricted import RESTRICTED, Admissions, allowed_rooms
from homeserver.rooms.room import Room
from homeserver.rooms.state import StateStore
from homeserver.web.errors import Forbidden, InvalidParam, NotFound

DEFAULT_LIMIT: Final = 50
MOST_ROOMS: Final = 100
DEEPEST: Final = 50
MOST_WALKED: Final = 5_000
"""Rooms that one walk passes; what lies behind them in a tree so large is not told."""
JOIN_RULES: Final = ("m.room.join_rules", "")
CHILD: Final = "m.space.child"
OPEN_TO_ALL: Final = ("public", "knock", "knock_restricted")
"""Join rules of rooms that everybody may know of."""
_TOKEN: Final = re.compile(r"h([1-9][0-9]{0,4})_([0-9]{1,2})_([01])")
# m.space.child: "order" is at most 50 characters of the range \x20 to \x7E.
_ORDER: Final = re.compile(r"[\x20-\x7e]{0,50}")


_Shown = JsonObject
"""A room as a tree shows it: its summary with `children_state`."""


@dataclass(frozen=True, slots=True)
class TreeAsk:
    """Which part of a tree."""

    suggested_only: bool = False
    limit: int = DEFAULT_LIMIT
    max_depth: int = DEEPEST
    start: str | None = None


class RemoteSpaces(Protocol):
    """What other servers tell of rooms below a space."""

    async def room(self, room_id: str, via: Sequence[str], *, suggested_only: bool) -> JsonObject | None:
        """A room with its `children_state`; None where nobody tells of it."""
        ...


class Previews:
    """Shows rooms from outside."""

    def __init__(
        self,
        heads: Heads,
        memberships: Memberships,
        directory: Directory,
        state: StateStore,
        events: EventCache,
        remote: RemoteSpaces | None = None,
    ) -> None:
        self._heads = heads
        self._memberships = memberships
        self._directory = directory
        self._state = state
        self._events = events
        self._remote = remote
        self._admissions = Admissions(heads, memberships)

    async def summary(self, user_id: str | None, room_id_or_alias: str) -> JsonObject:
        """The summary of a room; `user_id` None: for somebody who is not logged in."""
        room_id, _servers = await self._directory.room_of(room_id_or_alias)
        room = await self._heads.if_known(room_id)
        if room is None or not await self.may_preview(user_id, room):
            raise NotFound("There is no such room, or you may not know of it.")
        shown = summary_of(room)
        if user_id is not None:
            membership = (await self._memberships.of_user(user_id)).membership(room.number)
            if membership is not None:
                shown["membership"] = membership
        return shown

    async def may_preview(self, user_id: str | None, room: Room) -> bool:
        """Whether somebody may know of a room: who is or could get in, and anyone where all may read it."""
        if room.history_visibility == "world_readable" or room.join_rule in OPEN_TO_ALL:
            return True
        if user_id is None:
            return False
        if (await self._memberships.of_user(user_id)).membership(room.number) in ("join", "invite"):
            return True
        admission = await self._admissions.of(user_id, room)
        return admission is not None and admission.meets_condition

    async def hierarchy(self, user_id: str, room_id: str, ask: TreeAsk) -> JsonObject:
        """A part of the tree of rooms below a space, in the order of a walk that goes down first."""
        max_depth, limit = min(ask.max_depth, DEEPEST), min(ask.limit, MOST_ROOMS)
        skipped = _skipped(ask, max_depth)
        root = await self._heads.if_known(room_id)
        if root is None or not await self.may_preview(user_id, root):
            raise Forbidden("There is no such room, or you may not know of it.")
        found: list[JsonValue] = []
        seen = {room_id}
        waiting: list[tuple[_Shown, int]] = [(await self._shown(root, ask), 0)]
        walked = 0
        while waiting and walked < MOST_WALKED:
            shown, depth = waiting.pop()
            if walked == skipped + limit:
                token = f"h{walked}_{max_depth}_{int(ask.suggested_only)}"
                return {"rooms": found, "next_batch": token}
            walked += 1
            if walked > skipped:
                found.append(shown)
            if depth < max_depth:
                below = await self._rooms_below(user_id, shown, seen, ask)
                waiting.extend((child, depth + 1) for child in reversed(below))
        return {"rooms": found}

    async def _rooms_below(self, user_id: str, shown: _Shown, seen: set[str], ask: TreeAsk) -> list[_Shown]:
        """The rooms that were not met yet and that the user may know of."""
        below: list[_Shown] = []
        for child_id, via in _named(shown):
            if child_id in seen:
                continue
            seen.add(child_id)
            child = await self._heads.if_known(child_id)
            if child is not None and is_here(child):
                if await self.may_preview(user_id, child):
                    below.append(await self._shown(child, ask))
            elif self._remote is not None:
                told = await self._remote.room(child_id, via, suggested_only=ask.suggested_only)
                if told is not None and await self._may_know_of(user_id, told):
                    below.append(told)
        return below

    async def _shown(self, room: Room, ask: TreeAsk) -> _Shown:
        children = await self.children(room, suggested_only=ask.suggested_only)
        return {**summary_of(room), "children_state": [child_entry(each) for each in children]}

    async def _may_know_of(self, user_id: str, told: _Shown) -> bool:
        """Whether a user may know of a room of other servers. What they tell is for all of our users."""
        if told.get("world_readable") is True or told.get("join_rule") in OPEN_TO_ALL:
            return True
        joined = (await self._memberships.of_user(user_id)).joined
        allowed = told.get("allowed_room_ids")
        for room_id in allowed if isinstance(allowed, list) else ():
            room = await self._heads.if_known(str(room_id))
            if room is not None and room.number in joined:
                return True
        return False

    async def children(self, room: Room, *, suggested_only: bool) -> list[Event]:
        """The children that a space names, in their order."""
        if room.summary.room_type != "m.space":
            return []
        entries = await self._state.items(room.number, room.committed_root, members=False)
        rows = await self._events.by_positions([position for _, position in entries])
        children = [
            row.event
            for row in rows.values()
            if row.event.type == CHILD
            and is_child(row.event.content)
            and not (suggested_only and row.event.content.get("suggested") is not True)
        ]
        return sorted(children, key=order_of)


def _named(shown: _Shown) -> list[tuple[str, list[str]]]:
    """The children of a room, with the servers through which they are to be found."""
    entries = shown["children_state"]
    found: list[tuple[str, list[str]]] = []
    for entry in entries if isinstance(entries, list) else ():
        content = entry.get("content") if isinstance(entry, dict) else None
        via = content.get("via") if isinstance(content, dict) else None
        if isinstance(entry, dict) and isinstance(via, list):
            found.append((str(entry["state_key"]), [each for each in via if isinstance(each, str)]))
    return found


def summary_of(room: Room) -> JsonObject:
    """Specification: RoomSummary."""
    summary = room.summary
    shown: JsonObject = {
        "room_id": room.room_id,
        "num_joined_members": summary.joined_members,
        "world_readable": room.history_visibility == "world_readable",
        "guest_can_join": summary.guest_access == "can_join",
        "join_rule": room.join_rule,
        "room_version": room.rules.version,
    }
    optional = {
        "name": summary.name,
        "topic": summary.topic,
        "avatar_url": summary.avatar_url,
        "canonical_alias": summary.canonical_alias,
        "room_type": summary.room_type,
        "encryption": summary.encryption,
    }
    shown.update({key: value for key, value in optional.items() if value is not None})
    if room.join_rule in RESTRICTED:
        row = room.known.get(JOIN_RULES)
        shown["allowed_room_ids"] = [] if row is None else list(allowed_rooms(row.event.content))
    return shown


def is_child(content: JsonObject) -> bool:
    """Whether an m.space.child event names a child: one without a valid `via` does not."""
    via = content.get("via")
    return isinstance(via, list) and bool(via) and all(isinstance(server, str) for server in via)


def order_of(child: Event) -> tuple[bool, str, int, str]:
    """Specification: "Ordering of children within a space"."""
    order = child.content.get("order")
    is_valid = isinstance(order, str) and _ORDER.fullmatch(order) is not None
    return not is_valid, str(order) if is_valid else "", child.origin_server_ts, child.state_key or ""


def child_entry(event: Event) -> JsonValue:
    """An m.space.child event as trees show it."""
    return {
        "type": event.type,
        "state_key": event.state_key,
        "sender": event.sender,
        "content": event.content,
        "origin_server_ts": event.origin_server_ts,
    }


def _skipped(ask: TreeAsk, max_depth: int) -> int:
    """How many rooms were told before."""
    if ask.start is None:
        return 0
    found = _TOKEN.fullmatch(ask.start)
    if found is None:
        raise InvalidParam("from must be a next_batch of this tree.")
    if int(found[2]) != max_depth or found[3] != str(int(ask.suggested_only)):
        raise InvalidParam("max_depth and suggested_only must stay as they were in the first request.")
    return int(found[1])
