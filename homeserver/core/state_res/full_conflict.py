"""The full conflicted set of state resolution v2 and v2.1, found from the conflicted events alone.

Specification: rooms/v2 and rooms/v12, "Definitions" of state resolution.

Why the full state is never needed. Let U be the unconflicted events, D_i the conflicted events of state i, and cl(A)
the events of A with all of their auth chains. The full auth chain of state i is C_i = cl(U) ∪ cl(D_i). (As other
servers do, an event counts as part of its own chain here; by the letter of the text it does not, and servers of one
room must agree.) Then

    auth difference = ∪ C_i − ∩ C_i = (∪ cl(D_i) − ∩ cl(D_i)) − cl(U)

because an event of cl(U) is in every C_i, and outside of cl(U) each C_i is cl(D_i). The first part takes conflicted
events only, and its walk stops where the chains have met (`auth_chains`). It is not enough by itself: an old event
may stand in one fork's chains alone and also under an unconflicted event (as the join of somebody whom an
unconflicted ban has thrown out does). To count it in would replay it, and let pass what it allows. So cl(U) has to be
taken away, without a walk down from all of U:

1. The events that U has at the keys by which the conflicted events are authorised join the walk, as heads that all
   states have; so does what U has at the keys of the events suspected to be in the difference. The chains of members
   and of power levels go through their own keys, so this settles almost all suspects.
2. For those left it asks upwards: which events cite this one, and is one of them in U? A suspect under U meets an
   event of U within a few steps; above one that is not, there are only events of forks that lost or are in dispute.

Both ask about suspects only, so the cost grows with what the forks differ in, not with the state. Step 2 makes the set
exact, step 1 makes step 2 rare.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from homeserver.core.auth.selection import needed_auth_keys_of
from homeserver.core.ids import EventId
from homeserver.core.room_rules import RoomRules
from homeserver.core.state_res.auth_chains import Meeting
from homeserver.core.state_res.questions import CREATE, JOIN_RULES, POWER_LEVELS, Asking, Key, Known

Graph = Mapping[EventId, tuple[EventId, ...]]
"""Auth edges: event → its auth events. What cannot lead to an event of interest has no entry."""


def full_conflicted_set(
    known: Known, rules: RoomRules, states: Sequence[Collection[EventId]]
) -> Asking[tuple[set[EventId], Graph]]:
    """The full conflicted set, given the conflicted events of each state, and the auth edges among its events.

    All of its events are known afterwards.
    """
    conflicted = {event_id for state in states for event_id in state}
    full = conflicted | (yield from _auth_difference(known, states, conflicted))
    graph = yield from _graph_above(known, full)
    if rules.state_resolution == "2.1":
        # Room version 12, "conflicted state subgraph": all paths from one conflicted event to another.
        full |= standing_on(graph, conflicted) & under(graph, conflicted) | conflicted
        yield from known.ask(events=full)
    return full, graph


def under(graph: Graph, heads: Iterable[EventId]) -> set[EventId]:
    """The heads and the events in their auth chains, as far as the graph goes."""
    found = set(heads)
    stack = list(found)
    while stack:
        for other in graph.get(stack.pop(), ()):
            if other not in found:
                found.add(other)
                stack.append(other)
    return found


def standing_on(graph: Graph, grounds: Collection[EventId]) -> set[EventId]:
    """The events of the graph that have one of the grounds in their auth chain, and the grounds."""
    above: dict[EventId, list[EventId]] = {}
    for event_id, auth_events in graph.items():
        for other in auth_events:
            above.setdefault(other, []).append(event_id)
    return under({event_id: tuple(others) for event_id, others in above.items()}, grounds)


def _graph_above(known: Known, full: Collection[EventId]) -> Asking[Graph]:
    """The auth edges under the events, down to the lowest rank among them: what is lower cannot lead to one of them."""
    yield from known.ask(nodes=full)
    ranks = [known.nodes[event_id].rank for event_id in full]
    lowest = min(-1 if rank is None else rank for rank in ranks)
    graph: dict[EventId, tuple[EventId, ...]] = {}
    level = set(full)
    while level:
        yield from known.ask(nodes=level)
        next_level: set[EventId] = set()
        for event_id in level:
            node = known.nodes[event_id]
            if node.rank is None or node.rank > lowest:
                graph[event_id] = node.auth_events
                next_level.update(node.auth_events)
        level = next_level - graph.keys()
        # What is as low as the lowest is not in the graph; do not look at it again.
        level = {event_id for event_id in level if _may_be_above(known, event_id, lowest)}
    return graph


def _may_be_above(known: Known, event_id: EventId, lowest: int) -> bool:
    node = known.nodes.get(event_id)
    return node is None or node.rank is None or node.rank > lowest


def _auth_difference(
    known: Known, states: Sequence[Collection[EventId]], conflicted: Collection[EventId]
) -> Asking[set[EventId]]:
    """The auth difference of the states, less what is conflicted anyway."""
    meeting = Meeting(len(states))
    for index, state in enumerate(states):
        for event_id in state:
            meeting.add(event_id, 1 << index)
    keys: set[Key] = {CREATE, POWER_LEVELS, JOIN_RULES}
    yield from known.ask(events=conflicted, nodes=conflicted)
    for event_id in conflicted:
        keys.update(needed_auth_keys_of(known.events[event_id]))
    suspects: set[EventId] = set()
    looked_up: set[Key] = set()
    while keys:
        yield from known.ask(unconflicted=keys)
        looked_up |= keys
        for key in keys:
            if (in_all := known.unconflicted(key)) is not None:
                meeting.add(in_all, meeting.everyone)
        while wanted := meeting.advance(known.nodes):
            yield from known.ask(nodes=wanted)
        suspects = meeting.difference().difference(conflicted)
        yield from known.ask(events=suspects)
        keys = {known.events[event_id].key for event_id in suspects} - looked_up
    return suspects - (yield from _under_unconflicted(known, suspects))


def _under_unconflicted(known: Known, suspects: Collection[EventId]) -> Asking[set[EventId]]:
    """Which of the events are in the auth chain of an unconflicted event: a walk up, to the events that cite them."""
    settled: set[EventId] = set()
    seen = set(suspects)
    told = dict.fromkeys(suspects, 0)  # the events still to go up from, with how many of those citing them are told
    while told:
        answer = yield from known.ask(cited_by=told)
        citing = {event_id for cited in told for event_id in answer.get(cited, ())}
        yield from known.ask(events=citing)
        yield from known.ask(unconflicted={known.events[event_id].key for event_id in citing})
        stack = [event_id for event_id in citing if known.unconflicted(known.events[event_id].key) == event_id]
        settled.update(stack)
        while stack:
            below = (seen & set(known.events[stack.pop()].auth_events)) - settled
            settled |= below
            stack += below
        told = {cited: count + len(answer[cited]) for cited, count in told.items() if answer.get(cited)}
        # Go on only above what is not settled.
        told.update(
            dict.fromkeys(
                (
                    event_id
                    for event_id in citing - seen
                    if not settled.issuperset(seen.intersection(known.events[event_id].auth_events))
                ),
                0,
            )
        )
        seen |= told.keys()
        told = {cited: count for cited, count in told.items() if cited not in settled}
    return settled.intersection(suspects)
