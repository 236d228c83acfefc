"""Joining a room through a server in it: hands over the signed join, checks what comes back, makes the room ours.

Specification: server-server API, PUT /send_join/{roomId}/{eventId} (v2), "Checks performed on receipt of a PDU".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from federation.outbound.errors import RemoteNonsense
from federation.outbound.keyring import KeyRing
from federation.outbound.memberships import JoinAnswer, MembershipRequests
from federation.outbound.state_answers import StateAnswer
from homeserver.core.event import Event
from homeserver.core.ids import EventId, InvalidId, parse_server_name
from homeserver.core.policy import with_policy_signature
from homeserver.core.received import receive
from homeserver.core.room_rules import RoomRules
from homeserver.rooms.accept import Accepter
from homeserver.rooms.heads import Heads
from homeserver.rooms.imports import AUTH_CHAIN, STATE, Imports, NoBeginning, PartialJoin
from homeserver.rooms.membership import is_here

MOST_SERVERS: Final = 50_000


class RemoteJoins:
    """Joins."""

    def __init__(
        self,
        requests: MembershipRequests,
        imports: Imports,
        accepter: Accepter,
        heads: Heads,
        ring: KeyRing,
        leave_out: Callable[[str], object],
        complete: Callable[[int], object],
        unfinished: Callable[[int, Mapping[EventId, str]], object],
    ) -> None:
        self._requests = requests
        self._imports = imports
        self._accepter = accepter
        self._heads = heads
        self._ring = ring
        self._leave_out = leave_out
        self._complete = complete
        self._unfinished = unfinished

    async def join(self, server: str, rules: RoomRules, event: Event) -> None:
        """Join through this server with this event of ours. Raises RemoteError or BadEvent where that fails."""
        room_id = event.room_id
        with StateAnswer((STATE, AUTH_CHAIN)) as events:
            answer = await self._requests.send_join(
                server, room_id, event.event_id, event.json, events, omit_members=True
            )
            event = await self._signed_by_them(server, event, answer)
            # The server through which we came tells the others.
            self._leave_out(event.event_id)
            room = await self._heads.if_known(room_id)
            if room is not None and is_here(room):
                await self._accepter.accept_membership(event, server)
                return
            omitting = _omitting(server, answer)
            try:
                imported = await self._imports.import_room(room_id, rules, event, events, omitting, server=server)
            except NoBeginning as nothing:
                raise RemoteNonsense(server, f"answered a join {nothing}") from None
        if omitting is not None:
            self._complete(imported.room.number)
        elif imported.awaits:
            self._unfinished(imported.room.number, imported.awaits)

    async def _signed_by_them(self, server: str, event: Event, answer: JoinAnswer) -> Event:
        """The join as it is in the room: signed by whoever let us in, where somebody had to, and by a policy server."""
        if answer.event is None:
            return event
        if "join_authorised_via_users_server" not in event.content:
            return with_policy_signature(event, answer.event)
        received = receive(answer.event, event.rules)
        if received.event.event_id != event.event_id:
            raise RemoteNonsense(server, "gave back another event for our join")
        bad = (await self._ring.verify_received([received]))[0]
        if bad is not None:
            raise RemoteNonsense(server, f"gave our join back without a valid signature: {bad}")
        return received.event


def _omitting(server: str, answer: JoinAnswer) -> PartialJoin | None:
    """With whom the room is shared, where its members were left out."""
    if not answer.members_omitted:
        return None
    servers = {server}
    for name in (answer.servers_in_room or ())[:MOST_SERVERS]:
        try:
            servers.add(parse_server_name(name))
        except InvalidId:
            continue
    return PartialJoin(server, sorted(servers))
