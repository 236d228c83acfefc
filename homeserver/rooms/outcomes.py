"""What became of events of other servers, and the steps that lead there: all on a plan, nothing waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from homeserver.core import state_trie
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.state_trie import NodeId
from homeserver.rooms.append import sentence
from homeserver.rooms.gaps import Filling
from homeserver.rooms.missing import Unplaceable
from homeserver.rooms.placed import GivenState, Placed
from homeserver.rooms.placing import Placer
from storage.rows import EventRow, Status


class Fate(StrEnum):
    """What became of an event."""

    ACCEPTED = "accepted"
    SOFT_FAILED = "soft-failed"
    REJECTED = "rejected"
    DROPPED = "dropped"
    """Not stored: it is as if it had not come."""
    UNDECIDED = "undecided"
    """Not stored, as its past or the keys of its signers cannot be had now. It may be judged another time."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of an event, the check that decided it, and the reason. `row` where it is stored.

    `event` where it was fetched with the past of another, and may be judged another time.
    """

    fate: Fate
    rule: str = ""
    reason: str = ""
    row: EventRow | None = None
    event: Event | None = None

    @property
    def error(self) -> str | None:
        """What the sending server is told; None where all went well."""
        if self.fate is Fate.ACCEPTED or self.fate is Fate.SOFT_FAILED:
            return None
        return sentence(f"{self.fate} by {self.rule}: {self.reason}")


Outcomes = dict[EventId, Outcome]

FATES: Final = (Fate.ACCEPTED, Fate.SOFT_FAILED, Fate.REJECTED)


@dataclass(slots=True)
class Batch:
    """What came of placing some events."""

    placed: list[Placed] = field(default_factory=list)
    unplaced: list[Unplaceable] = field(default_factory=list)
    given: list[GivenState] = field(default_factory=list)

    def outcomes(self) -> Outcomes:
        """By event id."""
        return {each.row.event.event_id: outcome_of(each) for each in self.placed}

    def not_accepted(self) -> list[tuple[EventId, Outcome]]:
        """Those that are new and were not simply accepted."""
        return [
            (each.row.event.event_id, outcome_of(each))
            for each in self.placed
            if each.is_new and not each.verdict.is_accepted
        ]


def outcome_of(placed: Placed) -> Outcome:
    """The outcome for an event that has its place."""
    verdict = placed.verdict
    return Outcome(FATES[verdict.status], verdict.rule, verdict.reason, placed.row)


def place_events(placer: Placer, events: Sequence[Event]) -> Batch:
    """Place events, as far as what they follow is here."""
    batch = Batch()
    placer.prefetch(events)
    _want_signatures(placer, events)
    for event in events:
        try:
            batch.placed.append(placer.add(event))
        except Unplaceable as gap:
            batch.unplaced.append(gap)
    batch.given = list(placer.given.values())
    return batch


def place_filling(placer: Placer, filling: Filling, *, is_history: bool = False) -> Batch:
    """Place what was fetched."""
    batch = Batch()
    claimed = [event_id for step in filling.steps for event_id in step.claim or ()]
    placer.prefetch([*filling.outliers, *(step.event for step in filling.steps)], claimed)
    if not is_history:
        _want_signatures(placer, [step.event for step in filling.steps])
    for event in filling.outliers:
        try:
            placer.add_outlier(event)
        except Unplaceable as gap:
            batch.unplaced.append(gap)
    for step in filling.steps:
        try:
            before = None
            if step.claim is not None:
                found = placer.find(step.claim)
                before = claimed_state(placer, step.event, [row for row in found.values() if row is not None])
            batch.placed.append(placer.add(step.event, is_history=is_history, before=before))
        except Unplaceable as gap:
            batch.unplaced.append(gap)
    batch.given = list(placer.given.values())
    return batch


def _want_signatures(placer: Placer, events: Sequence[Event]) -> None:
    """Have the room's policy server asked, at once, for those of the events that are new and not signed by it."""
    room, recommending = placer.room, placer.room.plan.recommending
    if room.policy is not None and recommending is not None:
        found = placer.find(event.event_id for event in events)
        recommending.want(room, [event for event in events if found[event.event_id] is None])


def claimed_state(placer: Placer, event: Event, rows: Sequence[EventRow]) -> NodeId:
    """Root of the state before an event as another server tells it. Raises Unplaceable if it cannot be true.

    No state is without the event that made the room, and none has an event that is against the rules by itself.
    What the event leans on was in the state when it was made, or something else at the same places.
    """
    slot, number = placer.room.plan.inputs.state.slot, placer.room.room.number
    state = [row for row in rows if row.event.is_state and row.room == number]
    if placer.create is None or all(row.event.event_id != placer.create.event_id for row in state):
        raise Unplaceable(event, event.prev_events, ())
    if any(row.status is Status.REJECTED and row.state_root is None for row in state):
        raise Unplaceable(event, event.prev_events, ())
    leaning = [row.event.key for row in placer.find(event.auth_events).values() if row is not None]
    if not {row.event.key for row in state}.issuperset(leaning):
        raise Unplaceable(event, event.prev_events, ())
    entries = {slot(*row.event.key): row.position for row in state if row.status is not Status.REJECTED}
    root, nodes = state_trie.build(entries)
    placer.room.nodes.update(nodes)
    placer.given_nodes.update(nodes)
    return root
