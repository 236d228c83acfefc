"""Asks other servers to let users of this one into rooms, or out of them, and to take invites.

Specification: server-server API, "Joining Rooms", "Knocking upon a room", "Inviting to a room", "Leaving Rooms
(Rejecting Invites)", "Third-party invites".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from federation.outbound.client import LIMIT_BYTES, TIMEOUT_S, FederationClient, path
from federation.outbound.errors import RemoteNonsense, RemoteRefused
from federation.outbound.state_answers import StateAnswer, fetch
from homeserver.core import canonical_json
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.room_rules import ROOM_RULES, RoomRules

MAKE_TIMEOUT_S: Final = 20.0

Change = Literal["join", "knock", "leave"]


@dataclass(frozen=True, slots=True)
class Template:
    """An event that another server proposes, not yet hashed or signed."""

    rules: RoomRules
    event: JsonObject


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """What came back for a join. Its events are put down elsewhere: there may be very many."""

    event: JsonObject | None
    members_omitted: bool
    servers_in_room: Sequence[str]


_decode_invite: Final = msgspec.json.Decoder(tuple[int, dict[str, Any]]).decode


class MembershipRequests:
    """The requests about memberships."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def make(
        self, change: Change, destination: str, room_id: str, user_id: str, *, ignore_backoff: bool = False
    ) -> Template:
        """GET make_join, make_knock or make_leave. Raises RemoteError."""
        target = path(f"/_matrix/federation/v1/make_{change}/{{}}/{{}}", room_id, user_id)
        query = None if change == "leave" else {"ver": tuple(ROOM_RULES)}
        answer = await self._client.get(
            destination, target, query, timeout_s=MAKE_TIMEOUT_S, ignore_backoff=ignore_backoff
        )
        event, version = answer.get("event"), answer.get("room_version", "1")
        if not isinstance(event, dict):
            raise RemoteNonsense(destination, "proposed no event")
        rules = ROOM_RULES.get(version) if isinstance(version, str) else None
        if rules is None:
            raise RemoteNonsense(destination, f"proposed an event of the unknown room version {str(version)[:40]!r}")
        return Template(rules, event)

    async def send_join(
        self, destination: str, room_id: str, event_id: str, event: bytes, events: StateAnswer, *, omit_members: bool
    ) -> JoinAnswer:
        """PUT send_join; the events of the state and of the auth chain are put down. Raises RemoteError."""
        target = path("/_matrix/federation/v2/send_join/{}/{}", room_id, event_id)
        query = {"omit_members": omit_members}
        answer = await fetch(self._client, destination, target, query, event, events)
        signed, servers = answer.get("event"), answer.get("servers_in_room")
        return JoinAnswer(
            signed if isinstance(signed, dict) else None,
            answer.get("members_omitted") is True,
            [each for each in servers if isinstance(each, str)] if isinstance(servers, list) else [],
        )

    async def send_knock(self, destination: str, room_id: str, event_id: str, event: bytes) -> list[JsonObject]:
        """PUT send_knock; the stripped state of the room. Raises RemoteError."""
        target = path("/_matrix/federation/v1/send_knock/{}/{}", room_id, event_id)
        answer = await self._client.put(destination, target, None, event)
        return _objects(destination, answer, "knock_room_state")

    async def send_leave(self, destination: str, room_id: str, event_id: str, event: bytes) -> None:
        """PUT send_leave. Raises RemoteError."""
        target = path("/_matrix/federation/v2/send_leave/{}/{}", room_id, event_id)
        await self._client.put(destination, target, None, event)

    async def invite(
        self,
        destination: str,
        room_id: str,
        event_id: str,
        event: JsonObject,
        rules: RoomRules,
        stripped: Sequence[JsonObject],
    ) -> JsonObject:
        """PUT invite; the event with the other server's signature. Raises RemoteError."""
        state: list[JsonValue] = list(stripped)
        body: JsonObject = {"event": event, "invite_room_state": state, "room_version": rules.version}
        target = path("/_matrix/federation/v2/invite/{}/{}", room_id, event_id)
        try:
            # Somebody waits for it, and nobody else can say yes.
            answer = await self._client.put(destination, target, None, body, ignore_backoff=True)
        except RemoteRefused as refusal:
            # Version 1 of this endpoint has no field for the room version: it is for these rooms only.
            if refusal.status not in (400, 404) or not rules.event_id_in_pdu:
                raise
            answer = await self._invite_v1(destination, room_id, event_id, event, state, refusal)
        signed = answer.get("event")
        if not isinstance(signed, dict):
            raise RemoteNonsense(destination, "answered an invite without the event")
        return signed

    async def _invite_v1(
        self,
        destination: str,
        room_id: str,
        event_id: str,
        event: JsonObject,
        state: list[JsonValue],
        refusal: RemoteRefused,
    ) -> JsonObject:
        """The same in the old form; if that is refused too, the refusal of the new form counts."""
        target = path("/_matrix/federation/v1/invite/{}/{}", room_id, event_id)
        # What is unsigned is no part of what the two servers sign.
        body = canonical_json.encode_lenient({**event, "unsigned": {"invite_room_state": state}})
        try:
            answer = _decode_invite(
                await self._client.put_for_bytes(
                    destination, target, None, body, timeout_s=TIMEOUT_S, limit_bytes=LIMIT_BYTES
                )
            )
        except RemoteRefused:
            raise refusal from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise RemoteNonsense(destination, "answered an invite with what makes no sense") from None
        return answer[1]

    async def exchange_third_party_invite(self, destination: str, room_id: str, event: JsonObject) -> None:
        """PUT exchange_third_party_invite: have the inviter's server make the invite. Raises RemoteError."""
        await self._client.put(
            destination, path("/_matrix/federation/v1/exchange_third_party_invite/{}", room_id), None, event
        )


def _objects(destination: str, answer: JsonObject, key: str) -> list[JsonObject]:
    values = answer.get(key, [])
    if not isinstance(values, list):
        raise RemoteNonsense(destination, f"answered with {key} that is no array")
    return [value for value in values if isinstance(value, dict)]
