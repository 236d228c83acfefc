"""The conditions of push rules, made into checks.

A condition that depends on the event and its room alone is a SharedCheck: its answer holds for every user. One that
speaks of the user is a PersonalCheck. A condition of an unknown kind, or one that lacks what it needs, never holds.

Specification: Client-Server API, "Push notifications", "Conditions".
"""

import operator
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from homeserver.core import glob
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.property_path import Path, parse_path
from homeserver.core.push.default_rules import THE_USER
from homeserver.core.push.facts import EventFacts, Person, PersonalCheck, SharedCheck

BODY = ("content", "body")

_MEMBER_COUNT = re.compile(r"(==|<=|>=|<|>)?([0-9]{1,15})")
_COMPARE: Mapping[str, Callable[[int, int], bool]] = MappingProxyType(
    {"==": operator.eq, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}
)


def never(_facts: EventFacts) -> bool:
    """The check of a condition that we do not know."""
    return False


def shared_check(condition: JsonObject) -> SharedCheck:
    """The check for a condition that is the same for every user."""
    kind, key = condition.get("kind"), condition.get("key")
    if kind == "room_member_count":
        return _member_count(condition.get("is"))
    if not isinstance(key, str):
        return never
    if kind == "event_match":
        pattern = condition.get("pattern")
        return event_match(parse_path(key), pattern) if isinstance(pattern, str) else never
    if kind == "event_property_is" and "value" in condition:
        return _property_is(parse_path(key), condition["value"])
    if kind == "event_property_contains" and "value" in condition:
        return _property_contains(parse_path(key), condition["value"])
    if kind == "sender_notification_permission":
        return lambda facts: facts.room.sender_may_notify(key)
    return never


def personal_check(condition: JsonObject, *, default: bool) -> PersonalCheck | None:
    """The check for a condition that depends on the user, or None if this one does not.

    Only in default rules does THE_USER stand for the user.
    """
    kind, key = condition.get("kind"), condition.get("key")
    if kind == "contains_display_name":
        return contains_display_name
    if not default or not isinstance(key, str):
        return None
    path = parse_path(key)
    # A user ID is not a pattern and its case matters, although patterns in general ignore case.
    if kind == "event_match" and condition.get("pattern") == THE_USER:
        return lambda facts, person: facts.value(path) == person.user_id
    if kind == "event_property_contains" and condition.get("value") == THE_USER:
        return lambda facts, person: _holds(facts.value(path), person.user_id)
    return None


def concerns_any_user(condition: JsonObject) -> SharedCheck | None:
    """For a personal condition of a default rule: a shared check which says whether it can hold for anybody."""
    kind, key = condition.get("kind"), condition.get("key")
    if not isinstance(key, str):
        return None
    path = parse_path(key)
    if kind == "event_match" and condition.get("pattern") == THE_USER:
        return lambda facts: isinstance(facts.value(path), str)
    if kind == "event_property_contains" and condition.get("value") == THE_USER:
        return lambda facts: isinstance(values := facts.value(path), list) and bool(values)
    return None


def event_match(path: Path, pattern: str) -> SharedCheck:
    """The text at `path` fits the glob, whatever its case; in the body of a message some words of it have to fit."""
    pattern = pattern.lower()
    if path == BODY:
        fits = glob.within_words(pattern)
    elif not glob.has_wildcard(pattern):
        return lambda facts: facts.lowered(path) == pattern
    else:
        fits = glob.whole(pattern)

    def check(facts: EventFacts) -> bool:
        text = facts.lowered(path)
        return text is not None and fits(text)

    return check


def contains_display_name(facts: EventFacts, person: Person) -> bool:
    """The body of the message holds the user's display name in the room."""
    body = facts.lowered(BODY)
    if not body or not person.display_name:
        return False
    return glob.contains_words(body, person.display_name.lower())


def _property_is(path: Path, value: JsonValue) -> SharedCheck:
    if not _is_simple(value):
        return never
    value_type = type(value)

    def check(facts: EventFacts) -> bool:
        found = facts.value(path)
        # The types must agree: in Python True == 1, in JSON it is not.
        return type(found) is value_type and found == value

    return check


def _property_contains(path: Path, value: JsonValue) -> SharedCheck:
    if not _is_simple(value):
        return never
    return lambda facts: _holds(facts.value(path), value)


def _holds(values: object, value: JsonValue) -> bool:
    value_type = type(value)
    return isinstance(values, list) and any(type(found) is value_type and found == value for found in values)


def _is_simple(value: JsonValue) -> bool:
    return value is None or isinstance(value, (str, int))  # booleans are ints to Python


def _member_count(wanted: JsonValue) -> SharedCheck:
    parsed = _MEMBER_COUNT.fullmatch(wanted) if isinstance(wanted, str) else None
    if parsed is None:
        return never
    compare, count = _COMPARE[parsed[1] or "=="], int(parsed[2])
    return lambda facts: compare(facts.room.joined_members, count)
