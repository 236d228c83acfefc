"""What the placer decided about events, and what it found out about those that we had already; how that is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import msgspec

from homeserver.core.state_trie import NodeId
from homeserver.rooms.judge_remote import Verdict
from homeserver.runtime.writer import Also
from storage import room_log
from storage.rows import EventRow, Status


class Placed(msgspec.Struct, frozen=True):
    """An event with what we decided about it. Not `is_new`: we had it already."""

    row: EventRow
    verdict: Verdict
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class GivenState:
    """An event of which another state than before is known: one that came as a part of some state has its own now."""

    row: EventRow
    root: NodeId
    status: Status


@dataclass(frozen=True, slots=True)
class GivenEdges:
    """A membership that came before its room, whose auth events are known now: their positions."""

    row: EventRow
    auth: tuple[int, ...]
    rank: int
    status: Status


def write_edges(given: Iterable[GivenEdges]) -> list[Also]:
    """What is written in the same transaction as the events that were placed."""
    edges = [(each.row.position, each.auth, each.rank, int(each.status)) for each in given]
    return [partial(room_log.give_edges, given=edges)] if edges else []


def take_edges(given: Iterable[GivenEdges]) -> None:
    """They are committed: the rows in memory have them too."""
    for each in given:
        each.row.rank, each.row.status = each.rank, each.status
