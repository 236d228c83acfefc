"""What a scenario reports: figures with a name, a value and a unit; and the stage on which it runs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from bench.cast import Cast
from bench.measure import Cost
from bench.servers import Server

Unit = Literal["ms", "s", "µs", "/s", "B", "kB", "MB", "%", ""]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. Scenario and name together say what it is, on every server the same."""

    scenario: str
    name: str
    value: float
    unit: Unit


@dataclass(frozen=True, slots=True)
class Stage:
    """The server under test and how large a run is wanted."""

    server: Server
    cast: Cast
    scale: float

    def count(self, full: int, least: int = 1) -> int:
        """A number of things at this scale."""
        return max(least, round(full * self.scale))

    def seconds(self, full: float) -> float:
        """A time at this scale, but long enough to measure something."""
        return max(1.0, full * self.scale)


Scenario = Callable[[Stage], Awaitable[list[Figure]]]


def costs(scenario: str, cost: Cost, operations: int, per: str) -> list[Figure]:
    """The figures of an operation that was done so many times: rate, and CPU of each side."""
    return [
        Figure(scenario, f"{per}s a second", operations / cost.wall_s, "/s"),
        *cpu(scenario, cost, operations, per),
    ]


def cpu(scenario: str, cost: Cost, operations: int, per: str) -> list[Figure]:
    """The CPU figures of an operation that was done so many times."""
    return [
        Figure(scenario, f"CPU per {per}", cost.cpu_s * 1000 / operations, "ms"),
        Figure(scenario, f"server CPU per {per}", cost.server_s * 1000 / operations, "ms"),
        Figure(scenario, f"database CPU per {per}", cost.database_s * 1000 / operations, "ms"),
    ]


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
