"""What becomes of an event of another server: the checks of the specification, in their order.

Specification: server-server API, "Checks performed on receipt of a PDU". Checks 1 to 3 (format, signatures, content
hash) need nothing of the room and come before, in homeserver.rooms.incoming; 7, for which the room's policy server may
have to be asked, comes last, in homeserver.rooms.recommended.
Pure: whoever calls has looked up the states.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from homeserver.core.auth import Rejected, StateMap, check, check_auth_events
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from storage.rows import Status

FORMAT: Final = "1. format of the room version"
SIGNATURES: Final = "2. signatures"
HASH: Final = "3. content hash"
AUTH_EVENTS: Final = "4. authorisation rules, by its auth events"
STATE_BEFORE: Final = "5. authorisation rules, by the state before it"
CURRENT_STATE: Final = "6. authorisation rules, by the current state of the room"
POLICY_SERVER: Final = "7. policy server of the room"
SERVER_ACL: Final = "server access control list of the room"
PAST: Final = "its past cannot be fetched"
AWAITED: Final = "it stands on an event that waits for the keys of its signers"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided, and which check decided it, with a reason where it was not accepted."""

    status: Status
    rule: str = ""
    reason: str = ""

    @property
    def is_accepted(self) -> bool:
        """Whether there is nothing to object to."""
        return self.status is Status.ACCEPTED


ACCEPTED: Final = Verdict(Status.ACCEPTED)


def judge_by_auth_events(
    event: Event, auth_events: Sequence[Event], rejected: Collection[EventId], create: Event | None
) -> Verdict:
    """Check 4. `auth_events` are those that the event names; `rejected` the ids of those of them that were rejected."""
    return _judged_by_auth_events(event, auth_events, rejected, auth_state(auth_events, create))


def _judged_by_auth_events(
    event: Event, auth_events: Sequence[Event], rejected: Collection[EventId], state: StateMap
) -> Verdict:
    try:
        check_auth_events(event, auth_events, rejected)
        check(event, state)
    except Rejected as refusal:
        return Verdict(Status.REJECTED, AUTH_EVENTS, refusal.reason)
    return ACCEPTED


def judge(
    event: Event,
    auth_events: Sequence[Event],
    rejected: Collection[EventId],
    create: Event | None,
    before: StateMap,
    current: StateMap | None,
) -> Verdict:
    """Checks 4 to 6. `before` and `current` hold what the event leans on; `current` is None for what is history."""
    by_auth_events = auth_state(auth_events, create)
    verdict = _judged_by_auth_events(event, auth_events, rejected, by_auth_events)
    if not verdict.is_accepted:
        return verdict
    # The same events give the same answer again; mostly all three states are one.
    if before != by_auth_events:
        verdict = _judged(event, before, Verdict(Status.REJECTED, STATE_BEFORE))
        if not verdict.is_accepted:
            return verdict
    if current is None or current == before:
        return ACCEPTED
    return _judged(event, current, Verdict(Status.SOFT_FAILED, CURRENT_STATE))


def auth_state(auth_events: Sequence[Event], create: Event | None) -> dict[tuple[str, str], Event]:
    """The state that the auth events make; the create event belongs to it also where none of them may name it."""
    state = {auth_event.key: auth_event for auth_event in auth_events}
    if create is not None:
        state.setdefault(create.key, create)
    return state


def _judged(event: Event, state: StateMap, otherwise: Verdict) -> Verdict:
    try:
        check(event, state)
    except Rejected as refusal:
        return Verdict(otherwise.status, otherwise.rule, refusal.reason)
    return ACCEPTED
