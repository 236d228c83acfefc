"""A policy server, played by a test: it signs what it likes, and is a member of the rooms that it guards.

guard = PolicyServer(authority)
guard.joins(here.server_name, room)
alice.sets_state(room, "m.room.policy", guard.content)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.core.policy import KEY_ID
from homeserver.core.room_rules import ROOM_RULES
from homeserver.core.signatures import SigningKey, event_signed_bytes
from tests.cast import Actor, Device
from tests.federated import Federated, TestAuthority
from tests.stranger import Asked, Refuses, Stranger, Visit
from tests.wire import Json

SIGN: Final = "/_matrix/policy/v1/sign"


class PolicyServer:
    """A policy server for rooms of version 12."""

    def __init__(self, authority: TestAuthority) -> None:
        self.server = Stranger(authority)
        self.key = SigningKey.generate("policy_server")
        self.signs_with = self.key
        self.asked: list[Event] = []
        self.thinks: Callable[[Event], object] = lambda event: None
        """May raise Refuses, or take its time."""
        self.server.answers["send/"] = lambda asked: {"pdus": {}}
        self.server.answers[SIGN] = self._sign
        self.user = self.server.user("guard")

    @property
    def name(self) -> str:
        """The name of the server."""
        return self.server.name

    @property
    def content(self) -> Json:
        """What names it in m.room.policy."""
        return {"via": self.name, "public_keys": {"ed25519": self.key.verify_key_base64}}

    def joins(self, server: str, room: str) -> Visit:
        """Have its user join a room."""
        return self.server.joins(server, room, self.user)

    def stop(self) -> None:
        """Answer no more."""
        self.server.stop()

    def asked_for(self, event_id: str) -> int:
        """How often somebody wanted this event to be signed."""
        return sum(event.event_id == event_id for event in self.asked)

    def refuses(self, text: str) -> None:
        """Sign nothing in which this text is."""

        def think(event: Event) -> None:
            if text in str(event.content):
                raise Refuses(400, "M_FORBIDDEN", "The message appears to contain possible spam", org_guard="strict")

        self.thinks = think

    def signature_of(self, event: Event) -> JsonObject:
        """Its signature on an event."""
        return {self.name: {KEY_ID: self.signs_with.sign_bytes(event_signed_bytes(event))}}

    def _sign(self, asked: Asked) -> Json:
        event = Event.parse(asked.body, ROOM_RULES["12"])
        self.asked.append(event)
        self.thinks(event)
        return self.signature_of(event)


def guarded(here: Federated, guard: PolicyServer, **room: Json) -> tuple[Actor, str, Visit]:
    """A room of Alice's that uses the policy server."""
    alice = here.cast("alice")
    room_id = alice.creates_room(preset="public_chat", room_version="12", **room)
    visit = guard.joins(here.server_name, room_id)
    alice.sets_state(room_id, "m.room.policy", guard.content)
    return alice, room_id, visit


def pdu_of(guard: PolicyServer, server: Federated, event_id: str) -> Json:
    """An event as a server has it."""
    status, answer = guard.server.reads(server.server_name, "event", event_id)
    assert status == 200, answer
    return answer["pdus"][0]


def arrives(who: Device, room: str, event_id: str) -> None:
    """Wait until somebody has an event in the timeline."""
    seen = who.sync()
    if event_id not in seen.timeline(room):
        who.syncs_until(seen, lambda seen: event_id in seen.timeline(room))
