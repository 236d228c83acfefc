"""Rooms below a space that this server is not in, as other servers tell of them.

Specification: server-server API, GET /hierarchy/{roomId}: "Responses to this endpoint should be cached".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from federation.outbound.errors import RemoteError
from federation.outbound.queries import Queries
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.ids import InvalidId, ServerName, parse_server_name
from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru

MOST_SERVERS: Final = 3
KEPT_S: Final = 300.0
MOST_KEPT: Final = 2_000
MOST_CHILDREN: Final = 1_000
_TEXTS: Final = ("room_id", "name", "topic", "avatar_url", "canonical_alias", "join_rule", "room_type", "room_version")


class FederatedSpaces:
    """`RemoteSpaces` over the server-server API."""

    def __init__(self, queries: Queries, clock: Clock, server_name: ServerName) -> None:
        self._queries = queries
        self._clock = clock
        self._server_name = server_name
        self._known: Lru[tuple[str, bool], tuple[float, JsonObject | None]] = Lru(MOST_KEPT)

    async def room(self, room_id: str, via: Sequence[str], *, suggested_only: bool) -> JsonObject | None:
        """A room with its `children_state`; None where nobody tells of it."""
        known = self._known.get((room_id, suggested_only))
        if known is not None and known[0] > self._clock.monotonic_s():
            return known[1]
        found: JsonObject | None = None
        for server in _servers(via, self._server_name):
            try:
                answer = await self._queries.hierarchy(server, room_id, suggested_only=suggested_only)
            except RemoteError:
                continue
            found = _sound(answer.get("room"), room_id)
            if found is not None:
                self._keep_children(answer.get("children"), suggested_only=suggested_only)
                break
        self._known.put((room_id, suggested_only), (self._clock.monotonic_s() + KEPT_S, found))
        return found

    def _keep_children(self, children: JsonValue, *, suggested_only: bool) -> None:
        """What was told along with a space: rooms that are no spaces need not be asked for again."""
        for child in children[:MOST_CHILDREN] if isinstance(children, list) else ():
            room_id = child.get("room_id") if isinstance(child, dict) else None
            if isinstance(child, dict) and isinstance(room_id, str) and child.get("room_type") != "m.space":
                until_s = self._clock.monotonic_s() + KEPT_S
                self._known.put((room_id, suggested_only), (until_s, _sound(child, room_id)))


def _servers(via: Sequence[str], own_name: str) -> list[ServerName]:
    found: list[ServerName] = []
    for name in via:
        try:
            found.append(parse_server_name(name))
        except InvalidId:
            continue
    return [name for name in dict.fromkeys(found) if name != own_name][:MOST_SERVERS]


def _sound(room: JsonValue, room_id: str) -> JsonObject | None:
    """What another server says of a room, as far as it is as it should be."""
    if not isinstance(room, dict) or room.get("room_id") != room_id:
        return None
    shown: JsonObject = {key: room[key] for key in _TEXTS if isinstance(room.get(key), str)}
    for key in ("world_readable", "guest_can_join"):
        shown[key] = room.get(key) is True
    members = room.get("num_joined_members")
    shown["num_joined_members"] = members if isinstance(members, int) and members >= 0 else 0
    allowed = room.get("allowed_room_ids")
    if isinstance(allowed, list):
        shown["allowed_room_ids"] = [each for each in allowed if isinstance(each, str)]
    children = room.get("children_state")
    entries = children[:MOST_CHILDREN] if isinstance(children, list) else []
    shown["children_state"] = [each for each in entries if _is_child(each)]
    return shown


def _is_child(entry: JsonValue) -> bool:
    if not isinstance(entry, dict):
        return False
    content = entry.get("content")
    via = content.get("via") if isinstance(content, dict) else None
    return isinstance(entry.get("state_key"), str) and isinstance(via, list) and bool(via)
