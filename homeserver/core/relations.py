"""Relations between events: `m.relates_to`, threads, and the aggregations bundled with an event.

Specification: Client-Server API, "Forming relationships between events", "Threading", "Event replacements", "Event
annotations and reactions", "Reference relations", "Rich replies".
"""

from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import dataclass

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.ids import EventId

RELATES_TO = "m.relates_to"
ANNOTATION = "m.annotation"
REFERENCE = "m.reference"
REPLACEMENT = "m.replace"
THREAD = "m.thread"

MAX_THREAD_HOPS = 3
"""How many parents are looked at to find the thread of an event, as the specification recommends."""

_MAX_ID_BYTES = 255


@dataclass(frozen=True, slots=True)
class Relation:
    """What an event says about its parent. `in_reply_to` and `is_falling_back` belong to threads."""

    rel_type: str
    event_id: EventId
    key: str | None = None
    in_reply_to: EventId | None = None
    is_falling_back: bool = False


def relation_of(content: JsonObject) -> Relation | None:
    """The relation in an event's content; None if there is none or it does not fit the schema, which is the same.

    A plain reply has no `rel_type`, so it is no relation: see reply_target_of.
    """
    relates_to = content.get(RELATES_TO)
    if not isinstance(relates_to, dict):
        return None
    rel_type = relates_to.get("rel_type")
    event_id = _event_id(relates_to.get("event_id"))
    if not isinstance(rel_type, str) or not rel_type or event_id is None:
        return None
    key = relates_to.get("key")
    return Relation(
        rel_type=rel_type,
        event_id=event_id,
        key=key if isinstance(key, str) else None,
        in_reply_to=reply_target_of(content),
        is_falling_back=relates_to.get("is_falling_back") is True,
    )


def reply_target_of(content: JsonObject) -> EventId | None:
    """The event that this one replies to (specification, "Rich replies"), also where that is a thread's fallback."""
    relates_to = content.get(RELATES_TO)
    if not isinstance(relates_to, dict):
        return None
    reply = relates_to.get("m.in_reply_to")
    return _event_id(reply.get("event_id")) if isinstance(reply, dict) else None


def thread_of(relation: Relation | None, parent: Callable[[EventId], Relation | None]) -> EventId | None:
    """The root of the thread to which an event with this relation belongs; None for the main timeline.

    `parent` tells the relation of an event by its ID. What relates to a thread root by another relation than
    m.thread is in the main timeline, as the root itself is.
    """
    for _ in range(MAX_THREAD_HOPS):
        if relation is None or relation.rel_type == THREAD:
            break
        relation = parent(relation.event_id)
    return relation.event_id if relation is not None and relation.rel_type == THREAD else None


async def find_thread_of(
    relation: Relation | None, parent: Callable[[EventId], Awaitable[Relation | None]]
) -> EventId | None:
    """As thread_of, where looking up a parent takes time."""
    for _ in range(MAX_THREAD_HOPS):
        if relation is None or relation.rel_type == THREAD:
            break
        relation = await parent(relation.event_id)
    return relation.event_id if relation is not None and relation.rel_type == THREAD else None


def may_start_thread(root_content: JsonObject) -> bool:
    """Whether an event with this content may be the root of a thread: it must not itself be the child of a relation."""
    return relation_of(root_content) is None


def may_be_annotated(target_content: JsonObject) -> bool:
    """Whether an event with this content may be annotated: annotations and replacements may not."""
    relation = relation_of(target_content)
    return relation is None or relation.rel_type not in (ANNOTATION, REPLACEMENT)


@dataclass(frozen=True, slots=True)
class AnnotationKey:
    """What no user should say twice. Specification: "Avoiding duplicate annotations", M_DUPLICATE_ANNOTATION."""

    event_id: EventId
    type: str
    key: str


def annotation_key(event_type: str, content: JsonObject) -> AnnotationKey | None:
    """The annotation that an event of this type and content makes, if it is one."""
    relation = relation_of(content)
    if relation is None or relation.rel_type != ANNOTATION or relation.key is None:
        return None
    return AnnotationKey(relation.event_id, event_type, relation.key)


def is_valid_replacement(original: Event, replacement: Event) -> bool:
    """Whether this edit counts. Specification: "Validity of replacement events"."""
    relation = relation_of(replacement.content)
    if relation is None or relation.rel_type != REPLACEMENT or relation.event_id != original.event_id:
        return False
    its_relation = relation_of(original.content)
    return (
        original.room_id == replacement.room_id
        and original.sender == replacement.sender
        and original.type == replacement.type
        and original.state_key is None
        and replacement.state_key is None
        and (its_relation is None or its_relation.rel_type != REPLACEMENT)
        # In an encrypted event the new content is where only clients can see it.
        and (replacement.type == "m.room.encrypted" or isinstance(replacement.content.get("m.new_content"), dict))
    )


def latest_replacement(original: Event, replacements: Iterable[Event]) -> Event | None:
    """The valid edit that counts: the one with the latest timestamp, and of equal ones with the largest event ID."""
    valid = (replacement for replacement in replacements if is_valid_replacement(original, replacement))
    return max(valid, key=lambda event: (event.origin_server_ts, event.event_id), default=None)


@dataclass(frozen=True, slots=True)
class ThreadSummary:
    """What a reader is told of a thread, without the events of those whom the reader ignores."""

    latest_event: JsonObject
    count: int
    current_user_participated: bool

    def to_json(self) -> JsonObject:
        """The summary as it stands under `m.thread`."""
        return {
            "latest_event": self.latest_event,
            "count": self.count,
            "current_user_participated": self.current_user_participated,
        }


def bundled_relations(
    *,
    references: Sequence[EventId] = (),
    replacement: JsonObject | None = None,
    thread: ThreadSummary | None = None,
) -> JsonObject | None:
    """What stands under `unsigned` → `m.relations` of a parent; None if there is nothing to say.

    A redacted event gets no replacement: the caller leaves it out.
    """
    bundled: dict[str, JsonValue] = {}
    if references:
        bundled[REFERENCE] = {"chunk": [{"event_id": event_id} for event_id in references]}
    if replacement is not None:
        bundled[REPLACEMENT] = replacement
    if thread is not None:
        bundled[THREAD] = thread.to_json()
    return bundled or None


def participated(user_id: str, root_sender: str, thread_senders: Container[str]) -> bool:
    """Whether the user took part in a thread: by its root, or by an event in it."""
    return root_sender == user_id or user_id in thread_senders


def _event_id(value: JsonValue) -> EventId | None:
    if isinstance(value, str) and value.startswith("$") and len(value.encode("utf-8", "replace")) <= _MAX_ID_BYTES:
        return EventId(value)
    return None
