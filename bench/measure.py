"""What processes cost: CPU time and memory of a process with its descendants, read from the kernel."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stretch of work took: wall time, and the CPU time of server, database and load generator, in seconds."""

    wall_s: float
    server_s: float
    database_s: float
    client_s: float

    @property
    def cpu_s(self) -> float:
        """CPU time of the server and its database together."""
        return self.server_s + self.database_s

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.wall_s + other.wall_s,
            self.server_s + other.server_s,
            self.database_s + other.database_s,
            self.client_s + other.client_s,
        )


NOTHING = Cost(0, 0, 0, 0)


class Meter:
    """Runs from when it is made; `read` tells the cost since then."""

    def __init__(self, server_pid: int, database_pid: int) -> None:
        self._server_pid = server_pid
        self._database_pid = database_pid
        self._begin = self._now()

    def read(self, wall_s: float | None = None) -> Cost:
        """The cost since the meter was made. `wall_s`: the wall time, where the work ended before now."""
        begin, now = self._begin, self._now()
        return Cost(
            now.wall_s - begin.wall_s if wall_s is None else wall_s,
            now.server_s - begin.server_s,
            now.database_s - begin.database_s,
            now.client_s - begin.client_s,
        )

    def _now(self) -> Cost:
        return Cost(
            time.perf_counter(), cpu_seconds(self._server_pid), cpu_seconds(self._database_pid), time.process_time()
        )


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its descendants so far, those that ended and were waited for included."""
    return sum(_own_cpu_seconds(each) + _ended_children_cpu_seconds(each) for each in descendants(pid))


def memory_bytes(pid: int) -> int:
    """Memory of a process and its descendants, shared pages counted in parts (PSS; RSS where that is not told)."""
    return sum(_process_memory_bytes(each) for each in descendants(pid))


def descendants(pid: int) -> Sequence[int]:
    """The process and everything below it."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and (fields := _stat_fields(int(process.name))):
            children.setdefault(int(fields[1]), []).append(int(process.name))
    found = [pid]
    for each in found:
        found.extend(children.get(each, ()))
    return found


def _own_cpu_seconds(pid: int) -> float:
    # The clock of another process, as clock_getcpuclockid(3) builds its number: in nanoseconds, ended threads included,
    # where /proc tells hundredths of a second.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _ended_children_cpu_seconds(pid: int) -> float:
    fields = _stat_fields(pid)
    return (int(fields[13]) + int(fields[14])) / TICKS_PER_SECOND if fields else 0.0


def _stat_fields(pid: int) -> list[str]:
    # proc(5): the fields after the command's name, which may itself hold spaces and parentheses: state, parent, ...;
    # cutime and cstime, fields 16 and 17 there, are the fourteenth and fifteenth here.
    return _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def _process_memory_bytes(pid: int) -> int:
    for source, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        for line in _text(Path(f"/proc/{pid}/{source}")).splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # The process ended meanwhile, or belongs to someone else.
        return ""
