"""Power levels as the rules read them.

Specification: client-server API, "m.room.power_levels"; rooms/v1, "Deprecated event content schemas" for levels that
are strings or fractions.
"""

from __future__ import annotations

import math
import re
from typing import Final

from homeserver.core.auth.state import CREATE, POWER_LEVELS, StateMap, creators_of
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.room_rules import RoomRules

INFINITE_POWER: Final = math.inf
"""The power of creators from room version 12 on. Levels are compared, never sent, so this is a level like others."""

DEFAULT_LEVELS: Final = {
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
    "ban": 50,
    "kick": 50,
    "redact": 50,
    "invite": 0,
}
CREATOR_LEVEL_WITHOUT_EVENT: Final = 100
DEFAULT_NOTIFICATION_LEVEL: Final = 50

_INTEGER_TEXT: Final = re.compile(r"\s*[+-]?[0-9]{1,400}\s*", re.ASCII)
_NOTHING: Final[JsonObject] = {}


class PowerLevels:
    """Who may do what in a room. Reads the content when asked, so that making one costs nothing."""

    __slots__ = ("_content", "_users", "_creators", "_rules", "_default")

    def __init__(self, content: JsonObject | None, creators: frozenset[str], rules: RoomRules) -> None:
        self._content = _NOTHING if content is None else content
        self._users = object_in(self._content, "users")
        self._rules = rules
        # Creators have a level of their own: always where it is infinite, else only while nobody has set levels.
        self._creators = creators if content is None or rules.infinite_creators else frozenset()
        self._default = INFINITE_POWER if rules.infinite_creators else CREATOR_LEVEL_WITHOUT_EVENT

    @classmethod
    def of(cls, create: Event | None, power_levels: Event | None, rules: RoomRules) -> PowerLevels:
        """The power levels that these two state events make."""
        if create is None or (power_levels is not None and not rules.infinite_creators):
            creators: frozenset[str] = frozenset()
        else:
            creators = creators_of(create)
        return cls(None if power_levels is None else power_levels.content, creators, rules)

    @classmethod
    def of_state(cls, state: StateMap, rules: RoomRules) -> PowerLevels:
        """The power levels of a room state."""
        return cls.of(state.get(CREATE), state.get(POWER_LEVELS), rules)

    def of_user(self, user_id: str) -> float:
        """A user's power level: an integer, or INFINITE_POWER."""
        if user_id in self._creators:
            return self._default
        level = read_level(self._users[user_id], self._rules) if user_id in self._users else None
        return self._named("users_default") if level is None else level

    def needed_for_event(self, event_type: str, is_state: bool) -> int:
        """The power level that sending such an event takes; memberships have rules of their own."""
        events = object_in(self._content, "events")
        level = read_level(events[event_type], self._rules) if event_type in events else None
        if level is None:
            return self._named("state_default" if is_state else "events_default")
        return level

    @property
    def ban(self) -> int:
        """The level for banning; unbanning takes `kick` too."""
        return self._named("ban")

    @property
    def kick(self) -> int:
        """The level for removing others."""
        return self._named("kick")

    @property
    def invite(self) -> int:
        """The level for inviting."""
        return self._named("invite")

    @property
    def redact(self) -> int:
        """The level for redacting what others have sent."""
        return self._named("redact")

    @property
    def users_default(self) -> int:
        """The level of users that are not named."""
        return self._named("users_default")

    @property
    def named_users(self) -> list[str]:
        """The users that have a level of their own by the event, without regard to creators."""
        return list(self._users)

    def needed_for_notification(self, name: str) -> int:
        """The level for notifying, such as `room` for everybody in the room."""
        notifications = object_in(self._content, "notifications")
        level = read_level(notifications[name], self._rules) if name in notifications else None
        return DEFAULT_NOTIFICATION_LEVEL if level is None else level

    def _named(self, name: str) -> int:
        value = self._content.get(name)
        level = None if value is None else read_level(value, self._rules)
        return DEFAULT_LEVELS[name] if level is None else level


def read_level(value: JsonValue, rules: RoomRules) -> int | None:
    """The power level that a value stands for in this room version; None if it stands for none."""
    if type(value) is int:
        return value
    if rules.integer_power_levels:
        return None
    if isinstance(value, str):
        return int(value) if _INTEGER_TEXT.fullmatch(value) else None
    if isinstance(value, float) and rules.float_power_levels and math.isfinite(value):
        return int(value)
    return None


def object_in(content: JsonObject, name: str) -> JsonObject:
    """The object under a name; an empty one if there is none."""
    value = content.get(name)
    return value if isinstance(value, dict) else _NOTHING
