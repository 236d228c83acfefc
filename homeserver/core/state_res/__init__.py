"""State resolution: which state a room has where its history forks.

How to use it, for the states (roots of the state trie) after the events that a new event follows:

1. `state_trie.differing(load, roots)` gives the places at which the states disagree, with each state's event number.
   If there are none, any of the roots is the answer.
2. Look up type, state key and event id of those events only, and make of them
   `conflicted`: (type, state_key) → one event id a state, None where a state has none, in the order of the roots.
3. `resolve(rules, conflicted)` is a generator of questions (`questions.Question`). Answer them until it returns: auth
   edges and events by id, what all states have at a key (a `state_trie.get` in any of the roots), rarely which events
   cite another. `run(generator, answer)` does so where the answers are at hand.
4. It returns the changes: (type, state_key) → event id, or None for no event. `state_trie.update` of any one of the
   roots with them makes the resolved state. Keys are those that were conflicted, and perhaps some that no state had.

The cost grows with what the states differ in and with the auth chains of that, not with the size of the state; why the
full state is not needed is proved in `full_conflict`.

The result does not depend on the order of the states. Two states or more; they must all be of one room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homeserver.core.ids import EventId
from homeserver.core.room_rules import RoomRules
from homeserver.core.state_res.auth_chains import auth_difference
from homeserver.core.state_res.questions import (
    Answer,
    Asking,
    AuthNode,
    Key,
    MissingEvents,
    Question,
    rank_above,
    run,
)
from homeserver.core.state_res.v1 import resolve_v1
from homeserver.core.state_res.v2 import resolve_v2

__all__ = [
    "Answer",
    "Asking",
    "AuthNode",
    "Key",
    "MissingEvents",
    "Question",
    "auth_difference",
    "rank_above",
    "resolve",
    "run",
]


def resolve(rules: RoomRules, conflicted: Mapping[Key, Sequence[EventId | None]]) -> Asking[dict[Key, EventId | None]]:
    """The changes that make any of the states the resolved one; see the module's description."""
    if not conflicted:
        return {}
    if rules.state_resolution == "1":
        return (yield from resolve_v1(conflicted))
    return (yield from resolve_v2(rules, conflicted))
