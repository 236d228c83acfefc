"""What state resolution asks, what it is told, and the loop between the two.

Resolution decides as a pure computation, but cannot know beforehand which events it will need. So it is a generator:
it yields a Question and is sent an Answer, until it returns. Whoever drives it looks things up in caches, in the
database, or in a dictionary in a test; a driver that must wait (for a thread, for a Deferred) is as short as `run`.

An answer may tell more than was asked. A driver that loads from a database should, because each question is a round
trip: the chain of power-levels events above the one asked for, or a few levels of auth edges at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from homeserver.core.event import Event
from homeserver.core.ids import EventId

Key = tuple[str, str]
"""Type and state key."""

T = TypeVar("T")

POWER_LEVELS: Key = ("m.room.power_levels", "")
JOIN_RULES: Key = ("m.room.join_rules", "")
CREATE: Key = ("m.room.create", "")


class AuthNode(NamedTuple):
    """An event as the graph of auth events sees it.

    `rank` is the length of the longest way down its auth events: 0 for an event that has none, else
    one more than the greatest rank among its auth events. We compute it ourselves when we accept an event
    (`rank_above`); unlike `depth` no sender has a say in it. It tells a walk where it may stop. None, if it is not
    known, costs time, not truth: walks then go to the ground.
    """

    auth_events: tuple[EventId, ...]
    rank: int | None = None


def rank_above(ranks_of_auth_events: Iterable[int]) -> int:
    """The rank of an event, from the ranks of its auth events."""
    return max(ranks_of_auth_events, default=-1) + 1


@dataclass(frozen=True, slots=True)
class Question:
    """What resolution needs next. At least one of the fields is not empty."""

    nodes: frozenset[EventId] = frozenset()
    """Auth edges of these events. Must be answered in full."""
    events: frozenset[EventId] = frozenset()
    """These events themselves. Must be answered in full."""
    unconflicted: frozenset[Key] = frozenset()
    """Which event all states have at these keys. No key that is conflicted is ever asked for."""
    cited_by: Mapping[EventId, int] = field(default_factory=dict)
    """Which state events of the room have these among their auth events; rare, see `full_conflict`.

    Half a room may cite one event, and a few of them nearly always settle the matter. So the answer may give any number
    of them at a time, in an order that does not change. The number here is how many it has given already; it gives the
    ones after those, or none if there are no more.
    """


@dataclass(frozen=True, slots=True)
class Answer:
    """What the driver found. Keys and events without an entry in the last two mappings: there is none."""

    nodes: Mapping[EventId, AuthNode] = field(default_factory=dict)
    events: Mapping[EventId, Event] = field(default_factory=dict)
    rejected: Collection[EventId] = ()
    """Those of `events` that were rejected when they came in."""
    unconflicted: Mapping[Key, EventId] = field(default_factory=dict)
    cited_by: Mapping[EventId, Collection[EventId]] = field(default_factory=dict)


Asking = Generator[Question, Answer, T]
"""A computation that asks on its way to a T."""


class MissingEvents(LookupError):
    """Events that an accepted event stands on are not stored, so the state of the room cannot be resolved."""

    def __init__(self, event_ids: Collection[EventId]) -> None:
        super().__init__(
            f"{len(event_ids)} events needed to resolve the room's state are not stored: {sorted(event_ids)[:5]}"
        )
        self.event_ids = frozenset(event_ids)


def run(asking: Asking[T], answer: Callable[[Question], Answer]) -> T:
    """Drive a computation to its end with answers that are at hand."""
    try:
        question = next(asking)
        while True:
            question = asking.send(answer(question))
    except StopIteration as stop:
        result: T = stop.value
        return result


class Known:
    """All that the answers of one resolution have told so far. Its asking methods ask only for what is not known."""

    def __init__(self, conflicted_keys: Collection[Key]) -> None:
        self.nodes: dict[EventId, AuthNode] = {}
        self.events: dict[EventId, Event] = {}
        self.rejected: set[EventId] = set()
        # A conflicted key has no unconflicted event; knowing that from the start keeps it out of every question.
        self._unconflicted: dict[Key, EventId | None] = dict.fromkeys(conflicted_keys)

    def unconflicted(self, key: Key) -> EventId | None:
        """The event that all states have at a key that has been asked for."""
        return self._unconflicted.get(key)

    def ask(
        self,
        *,
        nodes: Iterable[EventId] = (),
        events: Iterable[EventId] = (),
        unconflicted: Iterable[Key] = (),
        cited_by: Mapping[EventId, int] | None = None,
    ) -> Asking[Mapping[EventId, Collection[EventId]]]:
        """Learn what is not known yet. Gives what the answer says of `cited_by`, which is not kept."""
        question = Question(
            nodes=frozenset(event_id for event_id in nodes if event_id not in self.nodes),
            events=frozenset(event_id for event_id in events if event_id not in self.events),
            unconflicted=frozenset(key for key in unconflicted if key not in self._unconflicted),
            cited_by=cited_by or {},
        )
        if not (question.nodes or question.events or question.unconflicted or question.cited_by):
            return {}
        answer = yield question
        self._learn(question, answer)
        return answer.cited_by

    def _learn(self, question: Question, answer: Answer) -> None:
        self.nodes.update(answer.nodes)
        self.events.update(answer.events)
        self.rejected.update(answer.rejected)
        for key, event_id in answer.unconflicted.items():
            self._unconflicted.setdefault(key, event_id)
        for key in question.unconflicted:
            self._unconflicted.setdefault(key, None)
        missing = (question.nodes - self.nodes.keys()) | (question.events - self.events.keys())
        if missing:
            raise MissingEvents(missing)

    def auth_event(self, event: Event, key: Key) -> EventId | None:
        """Which of an event's auth events, all of them known, is at a key."""
        return next((other for other in event.auth_events if self.events[other].key == key), None)
