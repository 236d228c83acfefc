"""What a server gets that joins a room through us: the state before the join, and all that stands behind it.

Sent as it is read, some events at a time: a room with many members takes no more memory than a small one.
Specification: server-server API, PUT /send_join/{roomId}/{eventId} (v2).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import msgspec

from homeserver.core.ids import ServerName
from homeserver.rooms.event_pieces import EventPieces
from homeserver.rooms.state import StateStore
from storage import auth_edges
from storage import events as event_table
from storage import memberships as membership_table
from storage.database import Cursor, Database
from storage.rows import EventRow

MOST_HEROES: Final = 6
_NAMES: Final = (("m.room.name", ""), ("m.room.canonical_alias", ""))


@dataclass(frozen=True, slots=True)
class _Parts:
    """Positions of the events, and the servers in the room."""

    state: list[int]
    auth_chain: list[int]
    servers: list[str]


class JoinAnswers:
    """Makes the answers."""

    def __init__(self, database: Database, state: StateStore, server_name: ServerName) -> None:
        self._database = database
        self._state = state
        self._server_name = server_name
        self._pieces = EventPieces(database)

    async def to(self, join: EventRow, *, omit_members: bool) -> AsyncIterator[bytes]:
        """The answer to a join that is in the room now, in pieces."""
        assert join.state_root is not None, "a join is added where the state before it is known"
        members = False if omit_members else None
        entries = await self._state.items(join.room, join.state_root, members)
        positions = [position for _, position in entries]
        shown: list[str] = []
        if omit_members and not await self._state.get_many(join.room, join.state_root, _NAMES):
            # Without a name the room is called after these, so a client needs them.
            shown = await self._database.read(membership_table.heroes, join.room, MOST_HEROES)
        keys = [("m.room.member", user_id) for user_id in shown]
        heroes = await self._state.get_many(join.room, join.state_root, keys)
        parts = await self._database.read(_parts, join, [*positions, *heroes.values()], omit_members)
        return self._answer(join, parts, omit_members)

    async def _answer(self, join: EventRow, parts: _Parts, members_omitted: bool) -> AsyncIterator[bytes]:
        yield b'{"auth_chain":['
        async for piece in self._pieces.pdus(parts.auth_chain):
            yield piece
        yield b'],"event":%s,"members_omitted":%s,"origin":%s,"servers_in_room":%s,"state":[' % (
            join.event.json,
            b"true" if members_omitted else b"false",
            msgspec.json.encode(self._server_name),
            msgspec.json.encode(parts.servers),
        )
        async for piece in self._pieces.pdus(parts.state):
            yield piece
        yield b"]}"


def _parts(tx: Cursor, join: EventRow, state: list[int], members_omitted: bool) -> _Parts:
    own_auth = [row.position for row in event_table.by_ids(tx, join.event.auth_events)]
    if members_omitted:
        state = list(dict.fromkeys((*state, *own_auth)))
    chain = auth_edges.chain_of(tx, [*state, *own_auth])
    if members_omitted:
        shown = set(state)
        chain = [position for position in chain if position not in shown]
    servers = [server for server, _ in membership_table.servers_in(tx, join.room)]
    # The event that made the room comes early, even where no other names it: who takes the answer waits for that.
    return _Parts(sorted(state, key=abs), chain, servers)
