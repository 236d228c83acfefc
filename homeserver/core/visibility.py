"""History visibility: which events of a room a user may see.

Specification: client-server API, "Room History Visibility". Everything that shows events to a user asks here: /sync,
/messages, /event, /context, /relations, search. What counts is the state at the event, so the caller looks up at most
two entries of the state before it (`state_trie.get`): m.room.history_visibility and the user's m.room.member.

    seen = may_see(View(visibility, membership), after, joined_later=joined_later(position, joined_now, stay_ended_at))

- `after` is needed for two kinds of event only, of which `changes_view` tells: there the state after the event counts
  too.
- Where `membership_matters` says no, the membership at the event need not be looked up at all. For somebody who is in
  the room now that is every event while the visibility is "shared" (the default) or "world_readable".
- Events with the same state have the same answer (but for those of `changes_view`), so a page of messages is one
  question a root, not one an event.

Whether an event was soft-failed or rejected is not asked here: the former is never shown, the latter is no part of the
room. May another server see an event? The same question, with the strongest membership that any of its users had at the
event, and with joined_later for any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

HistoryVisibility = Literal["world_readable", "shared", "invited", "joined"]

DEFAULT_VISIBILITY: Final = "shared"

_KNOWN: Final[Mapping[object, HistoryVisibility]] = {
    "world_readable": "world_readable",
    "shared": "shared",
    "invited": "invited",
    "joined": "joined",
}


class View(NamedTuple):
    """What of a room's state decides what a user sees; membership None where the user has no m.room.member."""

    visibility: HistoryVisibility
    membership: str | None


def history_visibility_of(content: Mapping[str, object] | None) -> HistoryVisibility:
    """What the content of a room's m.room.history_visibility says; "shared" if there is no event or no known value."""
    value = None if content is None else content.get("history_visibility")
    # A list or an object is no key of a mapping.
    return _KNOWN.get(value, DEFAULT_VISIBILITY) if isinstance(value, str) else DEFAULT_VISIBILITY


def may_see(before: View, after: View | None = None, *, joined_later: bool) -> bool:
    """Whether a user may see an event.

    `before` is of the state before the event. `after`, of the state after it, counts only where `changes_view`: a user
    sees an event which opens or closes the view, if one of the sides lets them see it. `joined_later`: whether the user
    was in the room at any time after the event.
    """
    return _allows(before, joined_later) or (after is not None and _allows(after, joined_later))


def changes_view(event_type: str, state_key: str | None, user_id: str) -> bool:
    """Whether an event may change what the user sees, so that the state after it counts as well."""
    if event_type == "m.room.history_visibility":
        return state_key == ""
    return event_type == "m.room.member" and state_key == user_id


def membership_matters(visibility: HistoryVisibility, joined_later: bool) -> bool:
    """Whether `may_see` depends on the membership at the event; where it does not, the answer is yes."""
    return not (visibility == "world_readable" or (visibility == "shared" and joined_later))


def joined_later(event_position: int, joined_now: bool, last_stay_ended_at: int | None) -> bool:
    """Whether the user was in the room at any time after the event.

    `last_stay_ended_at` is the position of the event by which the user last ceased to be joined (left, was kicked or
    banned); None if they are joined now, or never were. Somebody who left may go on seeing what they could see until
    then.
    """
    return joined_now or (last_stay_ended_at is not None and event_position < last_stay_ended_at)


def _allows(view: View, joined_later: bool) -> bool:
    """The five rules of "Server behaviour", in order."""
    if view.visibility == "world_readable":
        return True
    if view.membership == "join":
        return True
    if view.visibility == "shared" and joined_later:
        return True
    return view.membership == "invite" and view.visibility == "invited"
