"""Fetches the whole state before a join, of which the answer to the join left the members out.

First the ids (`/state_ids`), then those events that are not here: one by one if they are few, else all at once
(`/state`). What is fetched is kept as it is checked, so whoever goes on after a stop has less to fetch.
Specification: server-server API, "Retrieving events".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog

from federation.outbound.client import FederationClient, path
from federation.outbound.errors import RemoteError
from federation.outbound.state_answers import StateAnswer, fetch
from homeserver.core.auth.state import CREATE
from homeserver.core.event import Event
from homeserver.core.ids import EventId, server_name_of
from homeserver.rooms.gaps import PeerFailed, Peers
from homeserver.rooms.incoming import RoomOfEvents
from homeserver.rooms.room import Partial, Room
from homeserver.rooms.settling import WholeState
from homeserver.rooms.state import StateStore
from homeserver.rooms.state_intake import Intakes, Known
from storage import events as event_table
from storage.database import Cursor, Database
from storage.rows import Status

SHARE_OF_SINGLE_EVENTS: Final = 50
"""An event by itself costs both servers as much as so many that come together: where one in so many is not here, or
less, these are fetched one by one, else the whole state is."""
MOST_SINGLE_EVENTS: Final = 100
PDUS: Final = "pdus"
AUTH_CHAIN: Final = "auth_chain"
"""The arrays of events in an answer to /state."""
IDS_AT_ONCE: Final = 500

log: Final = structlog.get_logger("homeserver.rooms.completion")


class WholeStates:
    """Asks other servers for them."""

    def __init__(
        self,
        client: FederationClient,
        peers: Peers,
        intakes: Intakes,
        state: StateStore,
        database: Database,
    ) -> None:
        self._client = client
        self._peers = peers
        self._intakes = intakes
        self._state = state
        self._database = database

    async def before_join(self, room: Room, partial: Partial, server: str) -> WholeState:
        """The state before our join, as this server tells it. Raises PeerFailed, also where it cannot be true."""
        join = partial.join.event
        told = await self._peers.state_ids(server, RoomOfEvents(room.room_id, room.rules), join.event_id)
        wanted = list(dict.fromkeys(told.state))
        named = {*wanted, *told.auth_chain}
        present = {EventId(each) for each in await self._database.read(event_table.present, list(named))}
        absent = named - present
        awaits: dict[EventId, str] = {}
        came = await self._fetch(room, join.event_id, server, absent, present, awaits) if absent else ()
        withheld = absent.intersection(wanted).difference(came)
        if withheld:
            raise PeerFailed(f"{server} names {len(withheld)} events of the state that it does not give")
        whole = await self._whole(room, join, server, await self._known(wanted), await self._known(join.auth_events))
        lacking = awaits.keys() & set(wanted)
        return replace(whole, server=server, awaits={event_id: awaits[event_id] for event_id in lacking})

    async def _fetch(
        self,
        room: Room,
        join: EventId,
        server: str,
        absent: set[EventId],
        present: set[EventId],
        awaits: dict[EventId, str],
    ) -> set[EventId]:
        """Fetch and keep events; the ids of those that came, also of those that are of no use now, or never."""
        with StateAnswer((PDUS, AUTH_CHAIN)) as answer:
            is_little = SHARE_OF_SINGLE_EVENTS * len(absent) <= len(absent) + len(present)
            if is_little and len(absent) <= MOST_SINGLE_EVENTS:
                asked = RoomOfEvents(room.room_id, room.rules)
                events = await self._peers.events(server, asked, sorted(absent))
                awaits.update((each, server_name_of(event.sender)) for each, event in asked.undecided.items())
                answer.feed(b'{"pdus":[%s]}' % b",".join(event.json for event in events))
                answer.finish()
            else:
                target = path("/_matrix/federation/v1/state/{}", room.room_id)
                try:
                    await fetch(self._client, server, target, {"event_id": join}, None, answer)
                except RemoteError as error:
                    raise PeerFailed(str(error)) from error
            intake = await self._intakes.go_on(room, answer, present)
            log.info("the rest of a room's state came", room=room.room_id, server=server, events=len(intake.known))
            awaits.update(intake.undecided)
            return {*awaits, *(event_id for named in intake.named.values() for event_id in named)}

    async def _known(self, event_ids: Sequence[EventId]) -> list[Known]:
        """Those of the events that we have, without what nobody needs of very many."""
        found: list[Known] = []
        for start in range(0, len(event_ids), IDS_AT_ONCE):
            found += await self._database.read(_known, event_ids[start : start + IDS_AT_ONCE])
        return found

    async def _whole(
        self, room: Room, join: Event, server: str, known: Sequence[Known], leaning: Sequence[Known]
    ) -> WholeState:
        """The state that these events make, if it can be true: no state is without what the join leans on."""
        by_key = {each.key: each for each in known if not each.is_rejected}
        create = by_key.get(CREATE)
        if create is None or create.event_id != room.create.event_id:
            raise PeerFailed(f"{server} told a state without the room's m.room.create event")
        if not {each.key for each in leaning}.issubset(by_key):
            raise PeerFailed(f"{server} told a state that has nothing of what {join.event_id} leans on")
        root, nodes = await self._state.built({key: each.position for key, each in by_key.items()})
        members = {
            each.position: (each.key[1], each.membership or "leave")
            for each in by_key.values()
            if each.key[0] == "m.room.member"
        }
        return WholeState(root, nodes, members)


def _known(tx: Cursor, event_ids: Sequence[str]) -> list[Known]:
    return [
        Known(row.event.event_id, row.event.key, row.position, row.event.membership, row.status is Status.REJECTED)
        for row in event_table.by_ids(tx, event_ids)
        if row.event.is_state
    ]
