"""What must hold at the end of a simulation."""

from __future__ import annotations

from tests.simulate.liar import LEVELS, LyingWorld
from tests.simulate.world import World


def disagreement(world: World) -> str | None:
    """Bring a world to its end; what is wrong then, None if nothing is."""
    present = world.end()
    if not present:
        return "nobody is left in the room"
    first, *others = present
    for other in others:
        if world.must_know_all and (first.waiting or other.waiting):
            return f"{first.name} or {other.name} still waits for the past of events"
        mine, theirs = first.state(), other.state()
        if mine != theirs:
            keys = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
            return f"{first.name} and {other.name} differ in {[(key, mine.get(key), theirs.get(key)) for key in keys]}"
        if set(first.room.extremity_ids) != set(other.room.extremity_ids):
            return f"{first.name} and {other.name} go on from different events"
    return None


def overthrow(world: LyingWorld) -> str | None:
    """Bring a world with a liar to its end; what the liar has achieved that it must not.

    Who tells false states at events of its own can have the others differ about what follows these: that is in the
    nature of the protocol. It must not come to power by it, nor drive others out.
    """
    world.end()
    creator = world.users[0]
    for server in world.honest():
        state = server.state()
        if state.get(LEVELS) in world.grabs:
            return f"{server.name} believes in power levels that the liar has made"
        event = server.event_at(("m.room.member", creator))
        if event is None or event.sender != creator:
            return f"{server.name} has lost {creator}"
    return None
