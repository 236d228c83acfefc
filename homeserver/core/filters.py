"""Filters: which events a client wants to see, and how much of them.

A filter is checked and compiled once (Filter.parse) and then asked for each event. Most filters leave most of their
parts open, so each part says `matches_everything` where it need not be asked at all.

Specification: Client-Server API, "Filtering"; definitions `sync_filter`, `room_event_filter`, `event_filter`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from homeserver.core import glob
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.property_path import Path, parse_path, select

MAX_WILDCARDS = 100
"""How many wildcards a list of types may hold: each one is asked for every event."""


class FilterError(ValueError):
    """The filter is malformed. Its text is for the client: M_BAD_JSON for a body, M_INVALID_PARAM for a parameter."""


@dataclass(frozen=True, slots=True)
class TypePatterns:
    """Event types, some with the wildcard `*`."""

    exact: frozenset[str]
    patterns: tuple[glob.Matcher, ...] = ()

    def match(self, event_type: str) -> bool:
        """Whether one of them fits."""
        return event_type in self.exact or any(fits(event_type) for fits in self.patterns)


NO_TYPES = TypePatterns(frozenset())


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A filter for events of one section. None means: all of them. Room keys are only in filters for rooms."""

    limit: int | None = None
    types: TypePatterns | None = None
    not_types: TypePatterns = NO_TYPES
    senders: frozenset[str] | None = None
    not_senders: frozenset[str] = frozenset()
    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False
    # Not in the specification any more, but sent by clients to list threads: parents of such children only.
    related_by_rel_types: frozenset[str] | None = None
    related_by_senders: frozenset[str] | None = None
    matches_everything: bool = field(init=False)
    """Every event passes: nothing needs to be asked. (Relations are asked apart, see needs_relations.)"""

    def __post_init__(self) -> None:
        everything = (
            self.types is None
            and self.senders is None
            and self.rooms is None
            and self.contains_url is None
            and self.not_types == NO_TYPES
            and not self.not_senders
            and not self.not_rooms
        )
        object.__setattr__(self, "matches_everything", everything)

    @property
    def matches_nothing(self) -> bool:
        """No event passes, as with an empty list of types: nothing needs to be loaded."""
        return self.types == NO_TYPES or self.senders == frozenset() or self.rooms == frozenset() or self.limit == 0

    @property
    def needs_relations(self) -> bool:
        """Whether an event passes only if `matches_children` agrees too."""
        return self.related_by_rel_types is not None or self.related_by_senders is not None

    def limit_or(self, default: int, maximum: int) -> int:
        """How many events to answer with."""
        return min(default if self.limit is None else self.limit, maximum)

    def matches(self, event: Event) -> bool:
        """Whether a room event passes."""
        if self.matches_everything:
            return True
        return self.matches_parts(event.type, event.sender, event.room_id, event.content)

    def matches_parts(
        self, event_type: str, sender: str | None, room_id: str | None = None, content: JsonObject | None = None
    ) -> bool:
        """Whether something with this type, sender, room and content passes; None where it has no such thing."""
        if self.not_types is not NO_TYPES and self.not_types.match(event_type):
            return False
        if self.types is not None and not self.types.match(event_type):
            return False
        if sender in self.not_senders or (self.senders is not None and sender not in self.senders):
            return False
        if room_id is not None and not self.includes_room(room_id):
            return False
        return self.contains_url is None or self.contains_url == ("url" in (content or {}))

    def includes_room(self, room_id: str) -> bool:
        """Whether events of this room can pass."""
        return room_id not in self.not_rooms and (self.rooms is None or room_id in self.rooms)

    def matches_children(self, children: Iterable[tuple[str, str]]) -> bool:
        """Whether one of an event's children, given as (rel_type, sender), is of a kind and by a user asked for."""
        return any(
            (self.related_by_rel_types is None or rel_type in self.related_by_rel_types)
            and (self.related_by_senders is None or sender in self.related_by_senders)
            for rel_type, sender in children
        )

    @classmethod
    def parse(cls, json: JsonValue, where: str = "filter") -> "EventFilter":
        """A filter for room events, such as the `filter` of `/messages`; raises FilterError."""
        return _event_filter(_object(json, where), where, room=True)


EVERYTHING = EventFilter()


@dataclass(frozen=True, slots=True)
class Filter:
    """A whole filter, as for `/sync`. `json` is what the client gave."""

    json: JsonObject
    event_fields: tuple[Path, ...] | None = None
    event_format: str = "client"
    presence: EventFilter = EVERYTHING
    account_data: EventFilter = EVERYTHING
    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    include_leave: bool = False
    room_timeline: EventFilter = EVERYTHING
    room_state: EventFilter = EVERYTHING
    room_ephemeral: EventFilter = EVERYTHING
    room_account_data: EventFilter = EVERYTHING

    @property
    def lazy_load_members(self) -> bool:
        """Whether only the members who matter are wanted: clients ask for it in either section."""
        return self.room_state.lazy_load_members or self.room_timeline.lazy_load_members

    @property
    def include_redundant_members(self) -> bool:
        """Whether members are wanted again that were sent before."""
        return self.room_state.include_redundant_members or self.room_timeline.include_redundant_members

    @property
    def unread_thread_notifications(self) -> bool:
        """Whether unread counts are wanted thread by thread."""
        return self.room_timeline.unread_thread_notifications

    @property
    def matches_everything(self) -> bool:
        """No event and no room is left out, and nothing of an event. (Limits may still be set.)"""
        return (
            self.event_fields is None
            and self.rooms is None
            and not self.not_rooms
            and self.presence.matches_everything
            and self.account_data.matches_everything
            and self.room_timeline.matches_everything
            and self.room_state.matches_everything
            and self.room_ephemeral.matches_everything
            and self.room_account_data.matches_everything
        )

    def includes_room(self, room_id: str) -> bool:
        """Whether this room is wanted at all; asked before any filter of a section."""
        return room_id not in self.not_rooms and (self.rooms is None or room_id in self.rooms)

    def select_fields(self, event: JsonObject) -> JsonObject:
        """The event with only the fields asked for."""
        return event if self.event_fields is None else select(event, self.event_fields)

    @classmethod
    def parse(cls, json: JsonValue) -> "Filter":
        """The filter that this JSON describes, or FilterError. Unknown keys are kept and mean nothing."""
        given = _object(json, "filter")
        room = _object(given.get("room"), "room")
        fields = _texts(given, "event_fields", "")
        event_format = given.get("event_format")
        if event_format is None:
            event_format = "client"
        if event_format not in ("client", "federation") or not isinstance(event_format, str):
            raise FilterError("event_format must be 'client' or 'federation'.")

        def section(outer: JsonObject, name: str, where: str, *, is_room: bool) -> EventFilter:
            return _event_filter(_object(outer.get(name), where), where, room=is_room)

        return cls(
            json=given,
            event_fields=None if fields is None else tuple(parse_path(text) for text in fields),
            event_format=event_format,
            presence=section(given, "presence", "presence", is_room=False),
            account_data=section(given, "account_data", "account_data", is_room=False),
            rooms=_ids(room, "rooms", "room", "!"),
            not_rooms=_ids(room, "not_rooms", "room", "!") or frozenset(),
            include_leave=_boolean(room, "include_leave", "room") or False,
            room_timeline=section(room, "timeline", "room.timeline", is_room=True),
            room_state=section(room, "state", "room.state", is_room=True),
            room_ephemeral=section(room, "ephemeral", "room.ephemeral", is_room=True),
            room_account_data=section(room, "account_data", "room.account_data", is_room=True),
        )


NO_FILTER = Filter(json={})


def _event_filter(json: JsonObject, where: str, *, room: bool) -> EventFilter:
    if not json:
        return EVERYTHING
    not_types = _types(json, "not_types", where)
    common = EventFilter(
        limit=_limit(json, where),
        types=_types(json, "types", where),
        not_types=NO_TYPES if not_types is None else not_types,
        senders=_ids(json, "senders", where, "@"),
        not_senders=_ids(json, "not_senders", where, "@") or frozenset(),
    )
    if not room:
        return common
    threads = _boolean(json, "unread_thread_notifications", where)
    if threads is None:
        threads = _boolean(json, "org.matrix.msc3773.unread_thread_notifications", where)
    rel_types = _texts(json, "related_by_rel_types", where)
    return EventFilter(
        limit=common.limit,
        types=common.types,
        not_types=common.not_types,
        senders=common.senders,
        not_senders=common.not_senders,
        rooms=_ids(json, "rooms", where, "!"),
        not_rooms=_ids(json, "not_rooms", where, "!") or frozenset(),
        contains_url=_boolean(json, "contains_url", where),
        lazy_load_members=_boolean(json, "lazy_load_members", where) or False,
        include_redundant_members=_boolean(json, "include_redundant_members", where) or False,
        unread_thread_notifications=threads or False,
        related_by_rel_types=None if rel_types is None else frozenset(rel_types),
        related_by_senders=_ids(json, "related_by_senders", where, "@"),
    )


# The readers below take null for a key that is not there: some clients write all their keys.


def _object(value: JsonValue, where: str) -> JsonObject:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FilterError(f"{where} must be an object.")
    return value


def _limit(json: JsonObject, where: str) -> int | None:
    limit = json.get("limit")
    if limit is None:
        return None
    # Zero is not in the specification, but is what clients send that want no events of a section.
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise FilterError(f"{_name(where, 'limit')} must be an integer greater than zero.")
    return limit


def _boolean(json: JsonObject, key: str, where: str) -> bool | None:
    value = json.get(key)
    if value is not None and not isinstance(value, bool):
        raise FilterError(f"{_name(where, key)} must be true or false.")
    return value


def _texts(json: JsonObject, key: str, where: str) -> list[str] | None:
    values = json.get(key)
    if values is None:
        return None
    if not isinstance(values, list):
        raise FilterError(f"{_name(where, key)} must be a list of strings.")
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) != len(values):
        raise FilterError(f"{_name(where, key)} must be a list of strings.")
    return texts


def _ids(json: JsonObject, key: str, where: str, sigil: str) -> frozenset[str] | None:
    texts = _texts(json, key, where)
    if texts is None:
        return None
    for text in texts:
        if not text.startswith(sigil):
            raise FilterError(f"{_name(where, key)} must be a list of IDs that start with {sigil}, not {text[:80]!r}.")
    return frozenset(texts)


def _types(json: JsonObject, key: str, where: str) -> TypePatterns | None:
    texts = _texts(json, key, where)
    if texts is None:
        return None
    if sum("*" in text for text in texts) > MAX_WILDCARDS:
        raise FilterError(f"{_name(where, key)} may hold at most {MAX_WILDCARDS} types with a wildcard.")
    return TypePatterns(
        exact=frozenset(text for text in texts if "*" not in text),
        patterns=tuple(glob.whole(text, question_mark=False) for text in texts if "*" in text),
    )


def _name(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
