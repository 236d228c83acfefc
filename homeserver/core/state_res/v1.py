"""State resolution of room version 1.

Specification: rooms/v1, "State resolution". Known to reset state to older versions; rooms of version 1 live with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha1

from homeserver.core import auth
from homeserver.core.auth.selection import needed_auth_keys_of
from homeserver.core.ids import EventId
from homeserver.core.state_res.questions import Asking, Key, Known

AUTH_TYPES_IN_ORDER = ("m.room.power_levels", "m.room.join_rules", "m.room.member")


def resolve_v1(conflicted: Mapping[Key, Sequence[EventId | None]]) -> Asking[dict[Key, EventId | None]]:
    """What the resolved state has at each key at which the states differ."""
    options = {key: {event_id for event_id in ids if event_id is not None} for key, ids in conflicted.items()}
    # Here a state without an entry is not in conflict with one that has it.
    result = {key: next(iter(ids)) for key, ids in options.items() if len(ids) == 1}
    options = {key: ids for key, ids in options.items() if len(ids) > 1}

    known = Known(conflicted)
    yield from known.ask(events={event_id for ids in options.values() for event_id in ids})
    keys = {key for ids in options.values() for event_id in ids for key in needed_auth_keys_of(known.events[event_id])}
    yield from known.ask(unconflicted=keys)
    in_all = {key: event_id for key in keys if (event_id := known.unconflicted(key)) is not None}
    yield from known.ask(events={*in_all.values(), *(result[key] for key in keys if key in result)})

    def allowed(event_id: EventId) -> bool:
        event = known.events[event_id]
        now = {key: result.get(key) or in_all.get(key) for key in needed_auth_keys_of(event)}
        try:
            auth.check(event, {key: known.events[other] for key, other in now.items() if other is not None})
        except auth.Rejected:
            return False
        return True

    def age(event_id: EventId) -> tuple[int, int]:
        return known.events[event_id].depth, -int(sha1(event_id.encode(), usedforsecurity=False).hexdigest(), 16)

    for type in AUTH_TYPES_IN_ORDER:
        picked: dict[Key, EventId] = {}
        for key in (key for key in options if key[0] == type):
            # Conflicts of one type do not see each other's outcome.
            first, *later = sorted(options[key], key=age)
            result[key] = first
            for event_id in later:
                if not allowed(event_id):
                    break
                result[key] = event_id
            picked[key] = result.pop(key)
        result.update(picked)
    others: dict[Key, EventId] = {}
    for key in (key for key in options if key[0] not in AUTH_TYPES_IN_ORDER):
        newest_first = sorted(options[key], key=age, reverse=True)
        others[key] = next((event_id for event_id in newest_first if allowed(event_id)), newest_first[-1])
    return {**result, **others}
