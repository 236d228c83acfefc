"""A room with many members on a server that a test plays: made, signed, and given to those who join through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft, build
from homeserver.core.event import Event
from homeserver.core.ids import EventId, RoomId, UserId
from homeserver.core.room_rules import ROOM_RULES
from tests.stranger import Asked, Stranger, now_ms
from tests.wire import Json

MEMBER: Final = "m.room.member"


class LargeRoom:
    """The room. Its members joined one after another; all lean on the same few events.

    Who joins gets `state` and `auth_chain` as they are then.
    """

    def __init__(self, stranger: Stranger, members: int, version: str = "11") -> None:
        self.stranger = stranger
        self.rules = ROOM_RULES[version]
        self.room_id = RoomId(f"!large:{stranger.name}")
        owner = stranger.user("owner")
        self.owners = {str(owner)}
        self.last: Event | None = None
        self.create = self.adds(owner, "m.room.create", {"room_version": version}, "", ())
        first = self.adds(owner, MEMBER, {"membership": "join"}, owner, (self.create,))
        self.levels = self.adds(owner, "m.room.power_levels", {"users": {owner: 100}}, "", (self.create, first))
        leaning = (self.create, self.levels, first)
        self.join_rules = self.adds(owner, "m.room.join_rules", {"join_rule": "public"}, "", leaning)
        self.name = self.adds(owner, "m.room.name", {"name": "A large room"}, "", leaning)
        self.auth_chain = [self.create, first, self.levels, self.join_rules]
        self.members = [self.joins(f"member{number}") for number in range(members)]
        self.state = [*self.auth_chain, self.name, *self.members]
        stranger.answers["make_join"] = self._make_join
        stranger.answers["/_matrix/federation/v2/send_join"] = self._send_join

    def joins(self, localpart: str) -> Event:
        """Another member."""
        user_id = self.stranger.user(localpart)
        content: JsonObject = {"membership": "join", "displayname": f"They call me {localpart}"}
        return self.adds(user_id, MEMBER, content, user_id, (self.create, self.join_rules, self.levels))

    def adds(self, sender: UserId, type: str, content: JsonObject, state_key: str, auth: Sequence[Event]) -> Event:
        """A state event after the last one."""
        self.last = build(
            Draft(self.room_id, type, sender, content, state_key),
            self.rules,
            [] if self.last is None else [self.last.event_id],
            [event.event_id for event in auth],
            1 if self.last is None else self.last.depth + 1,
            now_ms(),
            self.stranger.signer,
            EventId("$not_used_in_this_version"),
        )
        return self.last

    def pretends_to_be(self, other: LargeRoom) -> None:
        """Answer questions for another room, with what would be its events if it had begun here."""
        self.room_id, self.last = other.room_id, None
        owner = self.stranger.user("owner")
        self.create = self.adds(owner, "m.room.create", {"room_version": self.rules.version}, "", ())
        first = self.adds(owner, MEMBER, {"membership": "join"}, owner, (self.create,))
        self.auth_chain = self.state = [self.create, first]

    def _make_join(self, asked: Asked) -> Json:
        assert self.last is not None
        event = {
            "type": MEMBER,
            "room_id": self.room_id,
            "sender": asked.last,
            "state_key": asked.last,
            "content": {"membership": "join"},
            "prev_events": [self.last.event_id],
            "auth_events": [event.event_id for event in (self.create, self.join_rules, self.levels)],
            "depth": self.last.depth + 1,
            "origin_server_ts": now_ms(),
        }
        return {"room_version": self.rules.version, "event": event}

    def _send_join(self, asked: Asked) -> bytes:
        state, chain = (b",".join(event.json for event in part) for part in (self.state, self.auth_chain))
        return b'{"state":[%s],"members_omitted":false,"auth_chain":[%s]}' % (state, chain)
