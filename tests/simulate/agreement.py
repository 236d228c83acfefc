"""What must hold at the end of a simulation."""

from __future__ import annotations

from tests.simulate.world import World


def disagreement(world: World) -> str | None:
    """Bring a world to its end; what is wrong then, None if nothing is."""
    present = world.end()
    if not present:
        return "nobody is left in the room"
    first, *others = present
    for other in others:
        if first.waiting or other.waiting:
            return f"{first.name} or {other.name} still waits for the past of events"
        mine, theirs = first.state(), other.state()
        if mine != theirs:
            keys = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
            return f"{first.name} and {other.name} differ in {[(key, mine.get(key), theirs.get(key)) for key in keys]}"
        if set(first.room.extremity_ids) != set(other.room.extremity_ids):
            return f"{first.name} and {other.name} go on from different events"
    return None
