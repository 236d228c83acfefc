"""`python -m tests.simulate SEED [STEPS]`: the story of a seed, and how it ends."""

from __future__ import annotations

import sys

from tests.simulate.agreement import disagreement
from tests.simulate.world import World

world = World(int(sys.argv[1]))
world.run(int(sys.argv[2]) if len(sys.argv) > 2 else 60)
problem = disagreement(world)
print("\n".join(world.story))
print(f"room version {world.version}: {problem or 'all agree'}")
sys.exit(problem is not None)
