"""Asks other servers for events and states of rooms; what comes back is read and its signatures checked.

Specification: server-server API, "Backfilling and retrieving missing events", "Retrieving events", "Retrieving event
authorisation information".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Final

from twisted.internet.defer import Deferred, gatherResults

from federation.outbound.client import MEBIBYTE, FederationClient, path
from federation.outbound.errors import RemoteError, RemoteRefused, RemoteUnreachable
from federation.outbound.state_answers import StateAnswer, fetch
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.rooms.gaps import Absent, PeerFailed, StateIds
from homeserver.rooms.incoming import RoomOfEvents, Verifier, read_all, read_each, texts, verified
from homeserver.rooms.silent_peers import SilentPeers
from homeserver.runtime.clock import Clock

TIMEOUT_S: Final = 30.0
NEAR_TIMEOUT_S: Final = 8.0
CHAIN_TIMEOUT_S: Final = 120.0
CHAIN_LIMIT_BYTES: Final = 100 * MEBIBYTE
STATE_PIECE: Final = 100
"""Events of a state that are looked at before others have their turn."""
EVENTS_AT_ONCE: Final = 8
_V1: Final = "/_matrix/federation/v1/"


class RemotePeers:
    """Other servers, as the gap filler sees them."""

    def __init__(self, client: FederationClient, verifier: Verifier, clock: Clock) -> None:
        self._client = client
        self._verifier = verifier
        self._clock = clock
        self._silent = SilentPeers(clock)

    async def missing_events(
        self, server: str, room: RoomOfEvents, earliest: Sequence[str], latest: Sequence[str], limit: int
    ) -> list[Event]:
        """What lies between events that we have and events that we were told of."""
        body: JsonObject = {"earliest_events": list(earliest), "latest_events": list(latest), "limit": limit}
        target = path(_V1 + "get_missing_events/{}", room.room_id)
        try:
            answer = await self._in_time(
                server, room, lambda patience_s: self._client.post(server, target, body=body, timeout_s=patience_s)
            )
        except RemoteError as error:
            raise _failed(error) from error
        return await self._read(answer.get("events"), room, limit)

    async def state_ids(self, server: str, room: RoomOfEvents, event_id: str) -> StateIds:
        """The state before an event."""
        answer = await self._get(server, path(_V1 + "state_ids/{}", room.room_id), {"event_id": event_id})
        state, chain = (texts(answer.get(name)) for name in ("pdu_ids", "auth_chain_ids"))
        if not state:
            raise PeerFailed(f"{server} does not know the state at {event_id}")
        return StateIds([EventId(each) for each in state], [EventId(each) for each in chain])

    async def state(self, server: str, room: RoomOfEvents, event_id: str, absent: Absent) -> list[Event]:
        """Those events of the state before an event, and of their auth chain, that are absent here."""
        found: dict[EventId, Event] = {}
        with StateAnswer(("auth_chain", "pdus")) as answer:
            try:
                await fetch(
                    self._client, server, path(_V1 + "state/{}", room.room_id), {"event_id": event_id}, None, answer
                )
            except RemoteError as error:
                raise PeerFailed(str(error)) from error
            events = answer.events()
            while piece := list(islice(events, STATE_PIECE)):
                read = read_each((put_down.pdu for put_down in piece), room)
                lacking = await absent(read.keys() - found.keys())
                for event in await verified(
                    [each for each in read.values() if each.event.event_id in lacking], room, self._verifier
                ):
                    found[event.event_id] = event
        return list(found.values())

    async def events(self, server: str, room: RoomOfEvents, event_ids: Sequence[str]) -> list[Event]:
        """Those of the events that the server has."""
        found: list[Event] = []
        for start in range(0, len(event_ids), EVENTS_AT_ONCE):
            asked = event_ids[start : start + EVENTS_AT_ONCE]
            answers = await gatherResults(
                [Deferred.fromCoroutine(self._event(server, room, event_id)) for event_id in asked], consumeErrors=True
            )
            failures = [each for each in answers if isinstance(each, PeerFailed)]
            passing = [each for each in failures if each.is_passing]
            if passing or len(failures) == len(asked):
                raise (passing or failures)[0]
            pdus = [pdu for pdu in answers if not isinstance(pdu, PeerFailed)]
            events = {event.event_id: event for event in await read_all(pdus, room, self._verifier)}
            # Other events than those asked for are nothing that we want.
            found += [events[EventId(event_id)] for event_id in asked if event_id in events]
        return found

    async def event_auth(self, server: str, room: RoomOfEvents, event_id: str) -> list[Event]:
        """The auth chain of an event."""
        answer = await self._get(server, path(_V1 + "event_auth/{}/{}", room.room_id, event_id), {}, is_large=True)
        chain = answer.get("auth_chain")
        return await read_all(chain if isinstance(chain, list) else [], room, self._verifier)

    async def backfill(self, server: str, room: RoomOfEvents, start: Sequence[str], limit: int) -> list[Event]:
        """Events and what came before them."""
        query: dict[str, str | Sequence[str]] = {"v": list(start), "limit": str(limit)}
        answer = await self._get(server, path(_V1 + "backfill/{}", room.room_id), query)
        return await self._read(answer.get("pdus"), room, limit + len(start))

    async def timestamp_to_event(
        self, server: str, room: RoomOfEvents, ts: int, direction: str
    ) -> tuple[EventId, int] | None:
        """The event that the server has closest to a time, and its time; None if it has none."""
        try:
            answer = await self._client.get(
                server,
                path(_V1 + "timestamp_to_event/{}", room.room_id),
                {"ts": str(ts), "dir": direction},
                timeout_s=NEAR_TIMEOUT_S,
            )
        except RemoteRefused as refusal:
            if refusal.status == 404:
                return None
            raise PeerFailed(str(refusal)) from refusal
        except RemoteError as error:
            raise PeerFailed(str(error)) from error
        event_id, at = answer.get("event_id"), answer.get("origin_server_ts")
        if not isinstance(event_id, str) or not isinstance(at, int):
            raise PeerFailed(f"{server} answered with no event and its time")
        return EventId(event_id), at

    async def _in_time(
        self, server: str, room: RoomOfEvents, ask: Callable[[float], Awaitable[JsonObject]]
    ) -> JsonObject:
        """The answer to a question that can be answered soon. Where others wait, or can be asked, it must be."""
        if not room.is_hurried:
            return await ask(TIMEOUT_S)
        patience_s, began_s = self._silent.patience_s(server), self._clock.monotonic_s()
        if not patience_s:
            raise RemoteUnreachable(server, "gave no answer within the time of late and is not asked for a while")
        try:
            answer = await ask(patience_s)
        except RemoteUnreachable:
            if self._clock.monotonic_s() - began_s >= patience_s:
                self._silent.was_silent(server, began_s)
            raise
        self._silent.has_answered(server)
        return answer

    async def _event(self, server: str, room: RoomOfEvents, event_id: str) -> JsonValue | PeerFailed:
        target = path(_V1 + "event/{}", event_id)
        try:
            answer = await self._in_time(
                server, room, lambda patience_s: self._client.get(server, target, timeout_s=patience_s)
            )
        except RemoteError as error:
            failed = _failed(error)
            # It says that it has no such event, or none for us.
            return None if isinstance(error, RemoteRefused) and not failed.is_passing else failed
        pdus = answer.get("pdus")
        return pdus[0] if isinstance(pdus, list) and pdus else None

    async def _get(
        self,
        server: str,
        encoded_path: str,
        query: dict[str, str | Sequence[str]] | dict[str, str],
        *,
        is_large: bool = False,
    ) -> JsonObject:
        try:
            if is_large:
                return await self._client.get(
                    server, encoded_path, query, timeout_s=CHAIN_TIMEOUT_S, limit_bytes=CHAIN_LIMIT_BYTES
                )
            return await self._client.get(server, encoded_path, query, timeout_s=TIMEOUT_S)
        except RemoteError as error:
            raise _failed(error) from error

    async def _read(self, value: JsonValue, room: RoomOfEvents, limit: int) -> list[Event]:
        if not isinstance(value, list):
            raise PeerFailed("the answer has no events")
        return await read_all(value[:limit], room, self._verifier)


def _failed(error: RemoteError) -> PeerFailed:
    is_passing = isinstance(error, RemoteUnreachable)
    if isinstance(error, RemoteRefused):
        is_passing = error.status >= 500 or error.status in (408, 429)
    return PeerFailed(str(error), is_passing=is_passing)
