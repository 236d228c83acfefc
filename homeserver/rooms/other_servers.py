"""What other servers do for users of this one: lets them into rooms, takes their knocks, leaves and invites.

Implements `Elsewhere`. Several servers may be able to help; they are asked one after another, and where none of them
could, the client is told what the most telling one said.
Specification: server-server API, "Joining Rooms" and following.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from federation.outbound.errors import RemoteBackedOff, RemoteError, RemoteRefused
from federation.outbound.memberships import Change, MembershipRequests, Template
from federation.outbound.queries import Queries
from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft, build
from homeserver.core.event import BadEvent, Event
from homeserver.core.ids import EventId, InvalidId, RoomId, UserId, parse_server_name, server_name_of
from homeserver.core.signatures import Signer, with_signatures
from homeserver.rooms.accept import Accepter
from homeserver.rooms.append import Appender
from homeserver.rooms.elsewhere_errors import refusal_of
from homeserver.rooms.heads import Heads
from homeserver.rooms.membership import is_here
from homeserver.rooms.outside import OutsideMemberships
from homeserver.rooms.proposals import MEMBER, event_from
from homeserver.rooms.received_invites import stripped_entry
from homeserver.rooms.remote_joins import RemoteJoins
from homeserver.rooms.stripped import StrippedStates
from homeserver.rooms.third_party_invites import Exchanges
from homeserver.runtime.clock import Clock
from homeserver.runtime.turns import Turns
from homeserver.web.errors import Forbidden, MatrixError, NotFound

MOST_SERVERS: Final = 10
"""Servers that are asked for one thing."""

Attempt = Callable[[str, bool], Awaitable[None]]
"""With a server, which is asked even if it did not answer of late, or not."""

log: Final = structlog.get_logger("homeserver.rooms")


@dataclass(frozen=True, slots=True)
class Asking:
    """The ways to other servers."""

    requests: MembershipRequests
    queries: Queries


class OtherServers:
    """Asks other servers."""

    def __init__(
        self,
        asking: Asking,
        appender: Appender,
        accepter: Accepter,
        joins: RemoteJoins,
        outside: OutsideMemberships,
        stripped: StrippedStates,
        heads: Heads,
        exchanges: Exchanges,
        turns: Turns[str],
        signer: Signer,
        clock: Clock,
    ) -> None:
        self._asking = asking
        self._appender = appender
        self._accepter = accepter
        self._joins = joins
        self._outside = outside
        self._stripped = stripped
        self._heads = heads
        self._exchanges = exchanges
        self._turns = turns
        self._signer = signer
        self._clock = clock

    def reaches(self, server_name: str) -> bool:
        """Any other server."""
        return server_name != self._signer.server

    async def room_of(self, alias: str) -> str | None:
        """Id of the room to which an alias of another server leads; None if there is no such alias."""
        found = await self.resolve(alias)
        return None if found is None else found[0]

    async def resolve(self, alias: str) -> tuple[str, list[str]] | None:
        """The same with servers that are in the room."""
        try:
            return await self._asking.queries.room_of(alias)
        except RemoteError as error:
            raise refusal_of([error], f"The alias {alias} cannot be looked up now") from error

    async def join(self, user_id: UserId, room_id: RoomId, via: Sequence[str], content: JsonObject) -> None:
        """Join a room through a server that is in it."""
        async with self._turns.at(room_id):
            room = await self._heads.if_known(room_id)
            if room is not None and is_here(room) and room.partial is None:
                # Another of our users was quicker: the room is here now.
                try:
                    await self._appender.add(room_id, [Draft(room_id, MEMBER, user_id, content, user_id)])
                except MatrixError:
                    if room.join_rule not in ("restricted", "knock_restricted"):
                        raise
                else:
                    return
            servers = await self._candidates(user_id, room_id, via)

            async def attempt(server: str, anyway: bool) -> None:
                template, event = await self._made("join", server, anyway, room_id, user_id, content)
                await self._joins.join(server, template.rules, event)

            await self._first(servers, attempt, f"The room {room_id} cannot be joined")

    async def knock(self, user_id: UserId, room_id: RoomId, via: Sequence[str], content: JsonObject) -> None:
        """Knock on a room through a server that is in it."""
        async with self._turns.at(room_id):
            servers = await self._candidates(user_id, room_id, via)

            async def attempt(server: str, anyway: bool) -> None:
                _, event = await self._made("knock", server, anyway, room_id, user_id, content)
                shown = await self._asking.requests.send_knock(server, room_id, event.event_id, event.json)
                stripped = [entry for each in shown if (entry := stripped_entry(each)) is not None]
                await self._outside.put(event, stripped)

            await self._first(servers, attempt, f"You cannot knock on the room {room_id}")

    async def leave(self, user_id: UserId, room_id: RoomId, content: JsonObject) -> None:
        """Reject an invite, or take a knock back. If no server takes it, the user is rid of the room all the same."""
        async with self._turns.at(room_id):
            current = await self._outside.current(room_id, user_id)
            if current is None or current.event.membership == "ban":
                raise Forbidden("You are not in this room.")
            if current.event.membership == "leave":
                return
            servers = await self._candidates(user_id, room_id, ())

            async def attempt(server: str, anyway: bool) -> None:
                _, event = await self._made("leave", server, anyway, room_id, user_id, content)
                await self._asking.requests.send_leave(server, room_id, event.event_id, event.json)
                await self._outside.put(event, None)

            try:
                await self._first(servers, attempt, f"The room {room_id} cannot be left")
            except MatrixError as refusal:
                log.info("a room is left without its servers", room_id=room_id, user_id=user_id, reason=str(refusal))
                await self._outside.put(self._own_leave(user_id, room_id, content, current.event), None)

    async def invite(self, draft: Draft) -> EventId:
        """Invite a user of another server: their server signs the event before it is added to the room."""
        room_id, target = str(draft.room_id), str(draft.state_key)
        server = server_name_of(target)
        row = await self._appender.look(lambda plan: plan.room(room_id).add(draft))
        event = await self._appender.recommended(row.event)
        # The state before it, without the event itself: the root of what would be added is in no table.
        room = await self._heads.get(room_id)
        shown = await self._stripped.rows(room.number, room.committed_root, draft.sender)
        try:
            answer = await self._asking.requests.invite(
                server,
                room_id,
                event.event_id,
                event.to_pdu(),
                event.rules,
                [each.event.to_pdu() for each in shown],
            )
        except RemoteError as error:
            raise refusal_of([error], f"{target} cannot be invited") from error
        signatures = answer.get("signatures")
        theirs = signatures.get(server) if isinstance(signatures, dict) else None
        if isinstance(theirs, dict):
            event = with_signatures(event, {server: theirs})
        await self._accepter.accept_membership(event, self._signer.server)
        return event.event_id

    async def exchange(self, draft: Draft) -> None:
        """Have an invite made in the name of a user of another server, who invited the address of the invited."""
        await self._exchanges.exchange(draft)

    async def _made(
        self, change: Change, server: str, anyway: bool, room_id: RoomId, user_id: UserId, content: JsonObject
    ) -> tuple[Template, Event]:
        """Our user's event on the proposal of a server."""
        template = await self._asking.requests.make(change, server, room_id, user_id, ignore_backoff=anyway)
        rules = template.rules
        new_id = EventId(f"${secrets.token_urlsafe(18)}:{self._signer.server}") if rules.event_id_in_pdu else None
        now_ms = self._clock.now_ms()
        return template, event_from(template.event, rules, room_id, user_id, content, self._signer, now_ms, new_id)

    async def _first(self, servers: Sequence[str], attempt: Attempt, failed: str) -> None:
        """Try with one server after another."""
        if not servers:
            raise NotFound(f"{failed}: name a server that is in it, in `via`.")
        errors: list[Exception] = []
        waiting = [(server, False) for server in servers]
        for server, anyway in waiting:
            try:
                await attempt(server, anyway)
            except (RemoteError, BadEvent, InvalidId) as error:
                if isinstance(error, RemoteBackedOff) and not anyway:
                    # Somebody waits for this, and it may be there again: it is asked after all the others.
                    waiting.append((server, True))
                    continue
                log.info("a server did not help", server=server, what=failed, reason=str(error))
                errors.append(error)
                if isinstance(error, RemoteRefused) and error.errcode == "M_INCOMPATIBLE_ROOM_VERSION":
                    break
            else:
                return
        raise refusal_of(errors, failed)

    async def _candidates(self, user_id: str, room_id: str, via: Sequence[str]) -> list[str]:
        """Servers that may be in the room: those named, the inviter's, the one that made it, those that were in it."""
        named = list(via)
        named += await self._outside.servers_behind(room_id, user_id)
        if ":" in room_id:
            named.append(server_name_of(room_id))
        found: list[str] = []
        for name in named:
            try:
                found.append(parse_server_name(name))
            except InvalidId:
                continue
        return [name for name in dict.fromkeys(found) if name != self._signer.server][:MOST_SERVERS]

    def _own_leave(self, user_id: UserId, room_id: RoomId, content: JsonObject, current: Event) -> Event:
        """A leave that nobody else ever sees."""
        rules = current.rules
        new_id = EventId(f"${secrets.token_urlsafe(18)}:{self._signer.server}") if rules.event_id_in_pdu else None
        draft = Draft(room_id, MEMBER, user_id, content, user_id)
        depth = current.depth + 1
        return build(draft, rules, [current.event_id], [], depth, self._clock.now_ms(), self._signer, new_id)
