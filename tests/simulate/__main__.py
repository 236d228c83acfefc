"""`python -m tests.simulate SEED [STEPS] [liar]`: the story of a seed, and how it ends."""

from __future__ import annotations

import sys

from tests.simulate.agreement import disagreement, overthrow
from tests.simulate.liar import LyingWorld
from tests.simulate.world import World

seed, steps = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60
world = LyingWorld(seed) if "liar" in sys.argv else World(seed)
world.run(steps)
problem = overthrow(world) if isinstance(world, LyingWorld) else disagreement(world)
print("\n".join(world.story))
print(f"room version {world.version}: {problem or 'all is well'}")
sys.exit(problem is not None)
