"""Servers agree in the end, whatever the network did. `python -m tests.simulate SEED` tells the story of a seed."""

from __future__ import annotations

import pytest

from tests.simulate.agreement import disagreement
from tests.simulate.world import World

SEEDS = 300
SEEDS_A_TEST = 20
STEPS = 60


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_A_TEST))
def test_servers_agree_in_the_end(first: int) -> None:
    for seed in range(first, first + SEEDS_A_TEST):
        world = World(seed)
        world.run(STEPS)
        assert disagreement(world) is None, f"seed {seed}, room version {world.version}"
