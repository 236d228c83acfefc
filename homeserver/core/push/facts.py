"""What push rules may ask about one event in its room, answered at most once for all the users concerned.

An EventFacts is made once an event and handed to the evaluators of all users in the room. It remembers each property
that was asked for, and for the rules that many users share (a Plan) which of them are still in question.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.property_path import Absent, Path, value_at


class RoomContext(msgspec.Struct, frozen=True):
    """What push rules may ask about the room, at the event. Levels as the room's power levels give them."""

    joined_members: int
    sender_power: float = 0  # infinite for a creator in the rooms where creators have no limit
    notification_levels: Mapping[str, int] = msgspec.field(default_factory=dict)

    def sender_may_notify(self, key: str) -> bool:
        """Whether the sender may notify all, by the `notifications` of the power levels; 50 where they say nothing."""
        return self.sender_power >= self.notification_levels.get(key, 50)


class Narrowing(Protocol):
    """Something that can say, from the event alone, what is left to ask of each user: a Plan of rules."""

    def narrow(self, facts: "EventFacts") -> "tuple[CompiledRule, ...]": ...


SharedCheck = Callable[["EventFacts"], bool]
"""A condition whose answer is the same for every user."""


@dataclass(frozen=True, slots=True)
class Person:
    """What conditions may ask about the user whose rules they are."""

    user_id: str
    display_name: str | None


PersonalCheck = Callable[["EventFacts", Person], bool]
"""A condition whose answer depends on the user."""


@dataclass(frozen=True, slots=True)
class Actions:
    """What is to be done about an event for one user. `tweaks` go to the push gateway as they are."""

    notify: bool
    highlight: bool
    tweaks: Mapping[str, JsonValue]

    @property
    def sound(self) -> str | None:
        """The sound to be played, if any."""
        sound = self.tweaks.get("sound")
        return sound if isinstance(sound, str) else None

    def to_json(self) -> list[JsonValue]:
        """The actions as a list, as `/notifications` gives them."""
        notify: list[JsonValue] = ["notify"] if self.notify else []
        return notify + [{"set_tweak": name, "value": value} for name, value in self.tweaks.items()]


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """An enabled rule, ready to be asked. All checks must hold."""

    shared: tuple[SharedCheck, ...]
    personal: tuple[PersonalCheck, ...]
    actions: Actions


class EventFacts:
    """One event, as push rules see it."""

    __slots__ = ("event", "room", "room_id", "sender", "_json", "_values", "_lowered", "_narrowed")

    def __init__(self, event: Event, room: RoomContext) -> None:
        self.event = event
        self.room = room
        self.room_id: str = event.room_id
        self.sender: str = event.sender
        self._json: JsonObject | None = None
        self._values: dict[Path, JsonValue | Absent] = {}
        self._lowered: dict[Path, str | None] = {}
        self._narrowed: dict[Narrowing, tuple[CompiledRule, ...]] = {}

    def value(self, path: Path) -> JsonValue | Absent:
        """The property at this path, or ABSENT."""
        try:
            return self._values[path]
        except KeyError:
            value = self._values[path] = value_at(self._json or self._as_json(), path)
            return value

    def lowered(self, path: Path) -> str | None:
        """The property at this path in lower case, or None if it is not a text."""
        try:
            return self._lowered[path]
        except KeyError:
            value = self.value(path)
            lowered = self._lowered[path] = value.lower() if isinstance(value, str) else None
            return lowered

    def narrowed(self, plan: Narrowing) -> tuple[CompiledRule, ...]:
        """The rules of a plan that this event leaves in question; found out once an event."""
        rules = self._narrowed.get(plan)
        if rules is None:
            rules = self._narrowed[plan] = plan.narrow(self)
        return rules

    def _as_json(self) -> JsonObject:
        if self._json is None:
            event = self.event
            self._json = {
                "type": event.type,
                "sender": event.sender,
                "room_id": event.room_id,
                "event_id": event.event_id,
                "origin_server_ts": event.origin_server_ts,
                "content": event.content,
            }
            if event.state_key is not None:
                self._json["state_key"] = event.state_key
            if event.redacts is not None:
                self._json["redacts"] = event.redacts
        return self._json
