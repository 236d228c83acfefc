"""States where the history forks, once resolved, remembered by the events that they come after.

The state after some events does not depend on when it is asked for, so what came out once holds for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from homeserver.core.ids import EventId
from homeserver.core.state_res import Key
from homeserver.core.state_trie import NodeId
from homeserver.runtime.lru import Lru
from storage.rows import EventRow

MOST_REMEMBERED = 2_000

StateChanges = Mapping[Key, EventId | None]
"""What makes any one of several states the resolved one."""

Resolutions = Lru[frozenset[str], StateChanges]
"""By the ids of the events that the states come after."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """What is about to be written: a resolution that leans on it must not look for it in the database."""

    rows: Mapping[str, EventRow] = field(default_factory=dict)
    """Events by id."""
    nodes: Mapping[NodeId, bytes] = field(default_factory=dict)


def no_resolutions() -> Resolutions:
    """An empty memory."""
    return Lru(MOST_REMEMBERED)
