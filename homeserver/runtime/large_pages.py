"""Large pages for what stays in memory: the processor then finds its way in it with a few entries instead of thousands.

A server that has little to do forgets between two requests where its memory is; that is a good part of what a request
costs it. Where the system has no such pages, or an admin wants none, nothing changes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAPPINGS: Final = Path("/proc/self/smaps")
HUGE_PAGES: Final = Path("/sys/kernel/mm/transparent_hugepage")
MADV_COLLAPSE: Final = 25
"""madvise(2): put what is there into large pages now. Linux 6.1 and later."""
LEAST_USED: Final = 0.75
"""Memory that is only mapped, such as a thread's stack, would become real by it."""


def use_large_pages() -> int:
    """Move what is in memory now to large pages; how many bytes that were."""
    try:
        page_bytes = int((HUGE_PAGES / "hpage_pmd_size").read_text())
        if "[never]" in (HUGE_PAGES / "enabled").read_text():
            return 0
        mappings = list(used_mappings(MAPPINGS.read_text()))
    except (OSError, ValueError):
        return 0
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    moved = 0
    for begin, end in mappings:
        first = -(-begin // page_bytes) * page_bytes
        for page in range(first, end - page_bytes + 1, page_bytes):
            if madvise(page, page_bytes, MADV_COLLAPSE) == 0:
                moved += page_bytes
    return moved


def used_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """Begin and end of the process's own memory that is mostly in use. `smaps` as of proc(5)."""
    span: tuple[int, int] | None = None
    for line in smaps.splitlines():
        first, *fields = line.split()
        if not first.endswith(":"):
            is_own = fields[0] == "rw-p" and (len(fields) == 4 or fields[4] == "[heap]")
            begin, _, end = first.partition("-")
            span = (int(begin, 16), int(end, 16)) if is_own else None
        elif first == "Rss:" and span is not None and int(fields[0]) * 1024 >= LEAST_USED * (span[1] - span[0]):
            yield span
