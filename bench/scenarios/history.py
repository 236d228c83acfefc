"""Comparing what was acknowledged with what a history holds. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

# A room and a user in it.
Place = tuple[str, str]


class Said(NamedTuple):
    """A numbered message, as it stands in a history."""

    sender: str
    number: int
    event_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many faults of each kind, and what they are."""

    lost: int
    twice: int
    out_of_order: int
    faults: tuple[str, ...]

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(
            self.lost + other.lost,
            self.twice + other.twice,
            self.out_of_order + other.out_of_order,
            self.faults + other.faults,
        )


def said_in(events: Iterable[Mapping[str, Any]]) -> list[Said]:
    """The numbered messages among some client events."""
    return [
        Said(event["sender"], event["content"]["number"], event["event_id"])
        for event in events
        if event["type"] == "m.room.message" and "number" in event["content"]
    ]


def judge(acknowledged: Mapping[Place, list[str]], histories: Mapping[str, list[Said]]) -> Verdict:
    """Whether each writer's messages 0, 1, 2, ... are in the room's history once, in order, under their event ids."""
    lost = twice = out_of_order = 0
    faults: list[str] = []
    for (room_id, sender), event_ids in acknowledged.items():
        mine = [said for said in histories.get(room_id, []) if said.sender == sender]
        found = [said.event_id for said in mine]
        missing = [event_id for event_id in event_ids if event_id not in set(found)]
        numbers = [said.number for said in mine]
        repeated = len(numbers) - len(set(numbers))
        disorder = sum(later < earlier for earlier, later in zip(numbers, numbers[1:], strict=False))
        lost += len(missing)
        twice += repeated
        out_of_order += disorder
        if missing or repeated or disorder:
            faults.append(
                f"{sender} in {room_id}: of {len(event_ids)} acknowledged {len(missing)} lost {missing[:3]},"
                f" {repeated} twice, {disorder} out of order"
            )
    return Verdict(lost, twice, out_of_order, tuple(faults))
