"""Servers agree in the end, whatever the network did. `python -m tests.simulate SEED` tells the story of a seed."""

from __future__ import annotations

import pytest

from tests.simulate.agreement import disagreement, overthrow
from tests.simulate.latecomer import LateWorld
from tests.simulate.liar import LyingWorld
from tests.simulate.world import World

SEEDS = 240
LYING_SEEDS = 120
LATE_SEEDS = 200
SEEDS_A_TEST = 20
STEPS = 60


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_A_TEST))
def test_servers_agree_in_the_end(first: int) -> None:
    for seed in range(first, first + SEEDS_A_TEST):
        world = World(seed)
        world.run(STEPS)
        assert disagreement(world) is None, f"seed {seed}, room version {world.version}"


@pytest.mark.parametrize("first", range(0, LYING_SEEDS, SEEDS_A_TEST))
def test_a_server_that_lies_gains_no_power_and_drives_nobody_out(first: int) -> None:
    for seed in range(first, first + SEEDS_A_TEST):
        world = LyingWorld(seed)
        world.run(STEPS)
        assert overthrow(world) is None, f"seed {seed}, room version {world.version}"


@pytest.mark.parametrize("first", range(0, LATE_SEEDS, SEEDS_A_TEST))
def test_a_server_that_joined_without_the_members_agrees_in_the_end(first: int) -> None:
    for seed in range(first, first + SEEDS_A_TEST):
        world = LateWorld(seed)
        world.run(STEPS)
        assert disagreement(world) is None, f"seed {seed}, room version {world.version}"
