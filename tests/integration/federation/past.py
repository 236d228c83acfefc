"""A stranger tells of the past of events: the states before some."""

from __future__ import annotations

from collections.abc import Mapping

from homeserver.core.event import Event
from tests.stranger import Asked, NotHere, Stranger, Visit
from tests.wire import Json


def answers_states(stranger: Stranger, seen: Visit, states: Mapping[str, list[Event]]) -> None:
    """The stranger tells no events in between, but the states at some."""

    def state_ids(asked: Asked) -> Json:
        state = states.get(asked.query["event_id"][0])
        if state is None:
            raise NotHere
        return {"pdu_ids": [event.event_id for event in state], "auth_chain_ids": []}

    def event(asked: Asked) -> Json:
        if asked.last not in seen.events:
            raise NotHere
        return {"pdus": [seen.events[asked.last].to_pdu()]}

    nothing: Json = {"events": []}
    stranger.answers.update({"get_missing_events/": lambda asked: nothing, "state_ids/": state_ids, "event/": event})
