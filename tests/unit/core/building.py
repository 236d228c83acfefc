"""A small workshop for tests of the core: keys, servers, and rooms of any version made of real events."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from homeserver.core.auth import needed_auth_keys
from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft, build
from homeserver.core.event import Event
from homeserver.core.ids import EventId, RoomId, ServerName, UserId, server_name_of
from homeserver.core.room_rules import ROOM_RULES, RoomRules
from homeserver.core.signatures import Signer, SigningKey

ALICE, BOB, CAROL = UserId("@alice:a.example"), UserId("@bob:b.example"), UserId("@carol:c.example")
SEEDS = {"a.example": b"a" * 32, "b.example": b"b" * 32, "c.example": b"c" * 32}


def signer_of(server: str) -> Signer:
    return Signer(ServerName(server), SigningKey("1", SEEDS[server]))


class Workshop:
    """A room that grows by one event after the other; nothing is checked, so that tests can make bad events too."""

    def __init__(self, version: str, create_content: JsonObject | None = None, creator: UserId = ALICE) -> None:
        self.rules: RoomRules = ROOM_RULES[version]
        self.state: dict[tuple[str, str], Event] = {}
        self._numbers = count(1)
        self._last: Event | None = None
        content: JsonObject = {"room_version": version, **(create_content or {})}
        if self.rules.creator_in_content:
            content.setdefault("creator", creator)
        self.room_id = None if self.rules.room_id_is_create_hash else RoomId(f"!room:{server_name_of(creator)}")
        self.create = self.add("m.room.create", creator, content, "")
        self.room_id = self.create.room_id

    def make(
        self,
        event_type: str,
        sender: UserId,
        content: JsonObject,
        state_key: str | None = None,
        redacts: EventId | None = None,
        prev_events: Iterable[EventId] | None = None,
    ) -> Event:
        """An event that comes after the last one; it is not added."""
        number = next(self._numbers)
        keys = needed_auth_keys(event_type, sender, state_key, content, self.rules)
        prev = [self._last.event_id] if self._last else []
        return build(
            Draft(self.room_id, event_type, sender, content, state_key, redacts),
            self.rules,
            prev if prev_events is None else list(prev_events),
            [self.state[key].event_id for key in keys if key in self.state],
            number,
            1_700_000_000_000 + number,
            signer_of(server_name_of(sender)),
            EventId(f"$e{number}:{server_name_of(sender)}"),
        )

    def add(self, event_type: str, sender: UserId, content: JsonObject, state_key: str | None = None) -> Event:
        """Make an event and put it into the state."""
        event = self.make(event_type, sender, content, state_key)
        if event.is_state:
            self.state[event.key] = event
        self._last = event
        return event

    def member(self, user_id: UserId, membership: str, sender: UserId | None = None) -> Event:
        return self.add("m.room.member", sender or user_id, {"membership": membership}, user_id)


def room(version: str, create_content: JsonObject | None = None) -> Workshop:
    """A public room of Alice, with power levels as they usually are."""
    made = Workshop(version, create_content)
    made.member(ALICE, "join")
    users: JsonObject = {} if made.rules.infinite_creators else {ALICE: 100}
    made.add("m.room.power_levels", ALICE, {"users": users, "events": {}, "users_default": 0}, "")
    made.add("m.room.join_rules", ALICE, {"join_rule": "public"}, "")
    return made
