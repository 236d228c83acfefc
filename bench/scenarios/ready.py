"""How long it takes from the start of the server to its first answer, with its database there and running."""

from bench.figures import Figure, Stage

STARTS = 3


async def run(stage: Stage) -> list[Figure]:
    """Measure the median of some starts."""
    times = sorted(stage.server.restart() for _ in range(STARTS))
    return [Figure("ready", "time to the first answer", times[STARTS // 2], "s")]
