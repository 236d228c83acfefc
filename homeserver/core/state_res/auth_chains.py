"""The auth difference of states: a walk down the graph of auth events, which stops where the chains have met.

Specification: rooms/v2 and rooms/v12, "Definitions" of state resolution.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush
from math import inf

from homeserver.core.ids import EventId
from homeserver.core.state_res.questions import AuthNode, MissingEvents


def auth_difference(
    heads_per_state: Sequence[Collection[EventId]],
    nodes: Mapping[EventId, AuthNode],
    heads_of_all: Collection[EventId] = (),
) -> set[EventId]:
    """The events (heads included) that stand in the auth chains of some of the states but not of all of them.

    `heads_of_all` are heads that every state has. All nodes down to where the chains meet must be given.
    """
    meeting = Meeting(len(heads_per_state))
    for index, heads in enumerate(heads_per_state):
        for event_id in heads:
            meeting.add(event_id, 1 << index)
    for event_id in heads_of_all:
        meeting.add(event_id, meeting.everyone)
    if missing := meeting.advance(nodes):
        raise MissingEvents(missing)
    return meeting.difference()


class Meeting:
    """Walks down the auth chains of several states together, highest rank first, and stops where all have met.

    Each event carries a mask: bit i says that it is in the chain of state i. A mask only ever grows; an event whose
    mask grows is passed on to its auth events again. The walk is over when no event that waits can change the
    difference any more: all that wait are in every chain, and none has a higher rank than an event in the difference,
    so none can stand on one.
    """

    def __init__(self, states: int) -> None:
        self.everyone = (1 << states) - 1
        self._masks: dict[EventId, int] = {}
        self._ranks: dict[EventId, float] = {}
        self._waiting: list[tuple[float, EventId]] = []  # heap of events to pass on: negative rank, event id
        self._unranked: dict[
            EventId, float
        ] = {}  # events to pass on once their node is known: the rank they have at most
        self._partial: set[EventId] = set()  # in some chains but not in all: the difference, as far as is known
        self._partial_waiting: set[EventId] = set()
        self._floor: float | None = None
        self._to_the_ground = False

    def add(self, event_id: EventId, mask: int, highest_rank: float = inf) -> None:
        """An event is in the chains of the states in the mask."""
        old = self._masks.get(event_id, 0)
        new = old | mask
        if new == old:
            return
        self._masks[event_id] = new
        if new == self.everyone:
            self._partial.discard(event_id)
            self._partial_waiting.discard(event_id)
        else:
            self._partial.add(event_id)
            self._partial_waiting.add(event_id)
            self._floor = None
        rank = self._ranks.get(event_id)
        if rank is None:
            self._unranked[event_id] = min(highest_rank, self._unranked.get(event_id, inf))
        else:
            heappush(self._waiting, (-rank, event_id))

    def difference(self) -> set[EventId]:
        """The events in some chains but not in all, once the walk is over."""
        return set(self._partial)

    def advance(self, nodes: Mapping[EventId, AuthNode]) -> set[EventId]:
        """Go on as far as the nodes reach; gives the events whose nodes are needed next, none when the walk is over."""
        for event_id in [event_id for event_id in self._unranked if event_id in nodes]:
            self._rank(event_id, nodes[event_id])
        # An event with at least the rank that an event we know nothing of can have may go before it.
        bound = max(self._unranked.values(), default=-inf)
        while self._waiting and -self._waiting[0][0] >= bound and not self._is_over(bound):
            event_id = heappop(self._waiting)[1]
            self._partial_waiting.discard(event_id)
            mask, rank = self._masks[event_id], self._ranks[event_id]
            for other in nodes[event_id].auth_events:
                self.add(other, mask, rank - 1)
                if other in self._unranked:
                    if other in nodes:
                        self._rank(other, nodes[other])
                    else:
                        bound = max(bound, self._unranked[other])
        return set() if self._is_over(bound) else set(self._unranked)

    def _rank(self, event_id: EventId, node: AuthNode) -> None:
        del self._unranked[event_id]
        if node.rank is None:
            self._to_the_ground = True
        rank = self._ranks[event_id] = inf if node.rank is None else node.rank
        heappush(self._waiting, (-rank, event_id))

    def _is_over(self, highest_unranked: float) -> bool:
        if self._partial_waiting:
            return False
        if not self._partial:
            return True
        if self._to_the_ground:
            return not self._waiting and not self._unranked
        if self._floor is None:
            # Goes stale when an event leaves the difference; it is then too low, which is safe.
            self._floor = min(self._ranks[event_id] for event_id in self._partial)
        highest_waiting = -self._waiting[0][0] if self._waiting else -inf
        return max(highest_waiting, highest_unranked) <= self._floor
