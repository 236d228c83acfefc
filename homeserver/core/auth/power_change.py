"""Rule 10: who may change power levels, and how.

Specification: rooms/v12, "Authorisation rules"; the numbers are those of that version.
"""

from __future__ import annotations

from typing import Final

from homeserver.core.auth.power import PowerLevels, object_in, read_level
from homeserver.core.auth.state import CREATE, POWER_LEVELS, Rejected, StateMap, creators_of
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.ids import InvalidId, parse_user_id
from homeserver.core.room_rules import RoomRules

NAMED_LEVELS: Final = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")


def check_power_levels(event: Event, state: StateMap, power: PowerLevels) -> None:
    """Raise Rejected unless the sender may set these power levels."""
    content, rules = event.content, event.rules
    # 10.1, 10.2 From room version 10 on all levels must be integers.
    if rules.integer_power_levels:
        _check_integers(content)
    # 10.3 The users property must be an object with keys that are valid user IDs with values that are levels.
    _check_users(content, rules)
    # 10.4 Creators whose power is infinite must not be named.
    if rules.infinite_creators:
        named = creators_of(state[CREATE]).intersection(object_in(content, "users"))
        if named:
            raise Rejected(f"{min(named)} is a creator of the room and has all power; the level cannot be set")
    # 10.5 If there is no previous m.room.power_levels event in the room, allow.
    current = state.get(POWER_LEVELS)
    if current is None:
        return
    old = current.content
    mine = power.of_user(event.sender)
    # 10.6 No named level may be changed from or to more than the sender's.
    _check_map({k: old[k] for k in NAMED_LEVELS if k in old}, _named(content), mine, rules, "")
    # 10.7, 10.8 The same for the levels of event types and, from room version 6 on, of notifications.
    _check_map(object_in(old, "events"), object_in(content, "events"), mine, rules, "events ")
    if rules.notifications_checked:
        name = "notifications"
        _check_map(object_in(old, name), object_in(content, name), mine, rules, "notifications ")
    # 10.9, 10.10
    _check_user_changes(object_in(old, "users"), object_in(content, "users"), event.sender, mine, rules)


def _named(content: JsonObject) -> JsonObject:
    return {name: content[name] for name in NAMED_LEVELS if name in content}


def _check_integers(content: JsonObject) -> None:
    for name, value in _named(content).items():
        if type(value) is not int:
            raise Rejected(f"the power level {name} must be an integer")
    for name in ("events", "notifications"):
        if name in content:
            levels = content[name]
            if not isinstance(levels, dict) or not all(type(level) is int for level in levels.values()):
                raise Rejected(f"{name} must be an object of integers")


def _check_users(content: JsonObject, rules: RoomRules) -> None:
    if "users" not in content:
        return
    users = content["users"]
    if not isinstance(users, dict):
        raise Rejected("users must be an object")
    for user_id, level in users.items():
        try:
            parse_user_id(user_id)
        except InvalidId:
            raise Rejected(f"users has {user_id[:300]!r}, which is no user ID") from None
        if read_level(level, rules) is None:
            raise Rejected(f"the power level of {user_id} is no integer")


def _check_map(old: JsonObject, new: JsonObject, mine: float, rules: RoomRules, kind: str) -> None:
    """No entry may be changed, removed or added with a level above the sender's, neither before nor after."""
    if old == new:
        return
    for name in {**old, **new}:
        before, after = _level(old, name, rules), _new_level(new, name, rules)
        if before == after:
            continue
        if before is not None and before > mine:
            raise Rejected(f"the power level {kind}{name[:100]!r} is above your own")
        if after is not None and after > mine:
            raise Rejected(f"you cannot set the power level {kind}{name[:100]!r} above your own")


def _check_user_changes(old: JsonObject, new: JsonObject, sender: str, mine: float, rules: RoomRules) -> None:
    if old == new:
        return
    for user_id in {**old, **new}:
        before, after = _level(old, user_id, rules), _new_level(new, user_id, rules)
        if before == after:
            continue
        # 10.9 Changed or removed, other than the sender's own entry: only of those with less power.
        if before is not None and user_id != sender and before >= mine:
            raise Rejected(f"{user_id} has as much power as you")
        # 10.10 Added or changed: at most to the sender's own level.
        if after is not None and after > mine:
            raise Rejected(f"you cannot give {user_id} more power than you have")


def _level(levels: JsonObject, name: str, rules: RoomRules) -> int | None:
    return read_level(levels[name], rules) if name in levels else None


def _new_level(levels: JsonObject, name: str, rules: RoomRules) -> int | None:
    if name not in levels:
        return None
    value: JsonValue = levels[name]
    level = read_level(value, rules)
    if level is None:
        raise Rejected(f"the power level of {name[:100]!r} is no integer")
    return level
