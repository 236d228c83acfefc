"""A world in which one server lies: it forges events, their past, and the states that it is asked for.

What it may not do is break signatures and hashes, so it can only invent events of its own users.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft, build
from homeserver.core.event import Event
from homeserver.core.ids import EventId, UserId, server_name_of
from homeserver.rooms.gaps import StateIds
from homeserver.rooms.incoming import RoomOfEvents
from homeserver.rooms.state import StateKey
from tests.simulate.servers import Simulated
from tests.simulate.world import Wires, World

LIAR: Final = "s3.example"
LEVELS: Final = ("m.room.power_levels", "")


class LyingWorld(World):
    """The last server lies."""

    must_know_all = False

    def __post_init__(self) -> None:
        self.forged: dict[EventId, Event] = {}
        self.grabs: set[EventId] = set()
        self.told: dict[str, StateIds] = {}
        """The liar remembers what it told of an event: all are told the same."""
        super().__post_init__()
        self.liar = self.servers[LIAR]

    def wires(self, asking: str) -> Wires:
        return LyingWires(self, asking)

    def honest(self) -> list[Simulated]:
        return [server for server in self.servers.values() if server.name != LIAR]

    def moderators(self) -> list[UserId]:
        # Who has power in a room can split it: they send what is right by one past and wrong by another.
        return [user_id for user_id in super().moderators() if server_name_of(user_id) != LIAR]

    def _levels(self, server: Simulated, user_id: UserId) -> Draft:
        draft = super()._levels(server, user_id)
        users = draft.content["users"]
        assert isinstance(users, dict)
        kept: JsonObject = {each: level for each, level in users.items() if not each.endswith(LIAR)}
        return Draft(draft.room_id, draft.type, user_id, {**draft.content, "users": kept}, "")

    def _act(self, user_id: UserId) -> None:
        if server_name_of(user_id) != LIAR or self.random.random() < 0.3:
            super()._act(user_id)
            return
        event = self._forgery(user_id)
        self._tell(f"{user_id} forges {event.event_id} {event.type} {event.content} after {event.prev_events}")
        for destination in self.servers:
            if destination != LIAR and self.random.random() < 0.7:
                self._letters += 1
                self.mail.append((self.time + 1, self._letters, LIAR, destination, event.json))

    def _draft(self, server: Simulated, user_id: UserId) -> Draft:
        draft = super()._draft(server, user_id)
        if user_id == self.users[0] and draft.state_key == user_id:
            # Whoever made the room stays, so that it can be told at the end whether the liar has driven them out.
            return Draft(draft.room_id, "m.room.message", user_id, {"body": "I stay"})
        return draft

    def _forgery(self, user_id: UserId) -> Event:
        choose = self.random.choice
        known = list(self.liar.rows)
        some = self.random.sample(known, min(len(known), self.random.randrange(1, 4)))
        prev: list[EventId] = choose(
            (some, list(self.liar.room.extremity_ids), [*some, *self._forged(2)], self._forged(3))
        )
        grab: JsonObject = {"users": {user_id: 100}, "users_default": 100, "state_default": 0}
        draft = choose(
            (
                Draft(self.liar.room.room_id, "m.room.power_levels", user_id, grab, ""),
                Draft(self.liar.room.room_id, "m.room.name", user_id, {"name": "mine"}, ""),
                Draft(self.liar.room.room_id, "m.room.member", user_id, {"membership": "ban"}, self.users[0]),
                Draft(self.liar.room.room_id, "m.room.member", user_id, {"membership": "join"}, user_id),
                Draft(self.liar.room.room_id, "m.room.message", user_id, {"body": "a lie"}),
            )
        )
        state = self._state_for(user_id)
        auth = [event_id for key, event_id in state.items() if self._is_needed(draft, key)]
        return self._build(draft, prev or some, auth)

    def _forged(self, count: int) -> list[EventId]:
        """Events that nobody else has; some of them stand on others of their kind."""
        made = list(self.forged)
        if len(made) < 40:
            user_id = UserId(f"@u0:{LIAR}")
            below = self.random.sample(made, min(len(made), 2)) or [EventId("$nothing:nowhere.example")]
            state = self._state_for(user_id)
            keys = (LEVELS, ("m.room.member", user_id))
            auth = [state[key] for key in keys if key in state]
            if self.liar.rules.create_in_auth_events:
                auth.append(state["m.room.create", ""])
            draft = Draft(self.liar.room.room_id, "m.room.message", user_id, {"body": f"forged {len(made)}"})
            made.append(self._build(draft, below, auth).event_id)
        return self.random.sample(made, min(len(made), count))

    def _build(self, draft: Draft, prev: Sequence[EventId], auth: Sequence[EventId]) -> Event:
        event_id = EventId(f"$f{len(self.forged)}:{LIAR}")
        event = build(
            draft,
            self.liar.rules,
            list(dict.fromkeys(prev)),
            list(dict.fromkeys(auth)),
            self.random.choice((1, 10, 50, 2**40)),
            self.liar.clock_ms,
            self.liar.signer,
            event_id,
        )
        self.forged[event.event_id] = event
        if event.type == "m.room.power_levels":
            self.grabs.add(event.event_id)
        return event

    def _state_for(self, user_id: UserId) -> dict[StateKey, EventId]:
        """The state as the liar wants it: often with power levels of its own making."""
        state = self.liar.state()
        if self.grabs and self.random.random() < 0.6:
            state[LEVELS] = self.random.choice(sorted(self.grabs))
        return state

    @staticmethod
    def _is_needed(draft: Draft, key: StateKey) -> bool:
        if key[0] in ("m.room.create", "m.room.power_levels", "m.room.join_rules"):
            return key[0] != "m.room.join_rules" or draft.type == "m.room.member"
        return key == ("m.room.member", draft.sender) or key == (draft.type, draft.state_key)


class LyingWires(Wires):
    """What the liar is asked for is false."""

    @property
    def _lying(self) -> LyingWorld:
        assert isinstance(self._world, LyingWorld)
        return self._world

    def _lies(self, server: str) -> bool:
        self._server(server)
        return server == LIAR and self._lying.random.random() < 0.8

    async def missing_events(
        self, server: str, room: RoomOfEvents, earliest: Sequence[str], latest: Sequence[str], limit: int
    ) -> list[Event]:
        if not self._lies(server):
            return await super().missing_events(server, room, earliest, latest, limit)
        forged = list(self._lying.forged.values())
        return self._lying.random.sample(forged, min(len(forged), limit, 5))

    async def state_ids(self, server: str, room: RoomOfEvents, event_id: str) -> StateIds:
        if not self._lies(server):
            return await super().state_ids(server, room, event_id)
        told = self._lying.told.get(event_id)
        if told is None:
            state = list(self._lying._state_for(UserId(f"@u0:{LIAR}")).values())
            if self._lying.random.random() < 0.3:
                state = self._lying.random.sample(state, len(state) // 2)
            told = self._lying.told[event_id] = StateIds(state, list(self._lying.forged)[:5])
        return told

    async def events(self, server: str, room: RoomOfEvents, event_ids: Sequence[str]) -> list[Event]:
        asked: Simulated = self._server(server)
        here = self._lying.servers[self._asking]
        forged = self._lying.forged if server == LIAR else {}
        found = [forged.get(EventId(each)) or asked.rows.get(EventId(each)) for each in event_ids]
        events = [each if isinstance(each, Event) else each.event for each in found if each is not None]
        return [here.read(event.json) for event in events]
