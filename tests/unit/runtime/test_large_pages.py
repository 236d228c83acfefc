"""What is put into large pages, and that it stays what it was."""

from homeserver.runtime.large_pages import use_large_pages, used_mappings

SMAPS = """\
55d0c0a00000-55d0c0e00000 rw-p 00000000 00:00 0                          [heap]
Size:               4096 kB
Rss:                4000 kB
VmFlags: rd wr mr mw me ac
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
Size:               4096 kB
Rss:                4096 kB
7f0000400000-7f0000c00000 rw-p 00000000 00:00 0
Size:               8192 kB
Rss:                  16 kB
7f0000c00000-7f0001000000 r-xp 00000000 fe:00 5334198                    /usr/lib/libpython3.11.so.1.0
Size:               4096 kB
Rss:                4096 kB
7f0001000000-7f0001400000 rw-p 00000000 fe:00 5334198                    /usr/lib/libpython3.11.so.1.0
Size:               4096 kB
Rss:                4096 kB
7ffe00000000-7ffe00400000 rw-p 00000000 00:00 0                          [stack]
Size:               4096 kB
Rss:                4096 kB
"""


def test_the_heap_and_memory_of_the_interpreter_are_moved_but_no_files_and_no_stacks() -> None:
    assert list(used_mappings(SMAPS)) == [(0x55D0C0A00000, 0x55D0C0E00000), (0x7F0000000000, 0x7F0000400000)]


def test_what_is_in_memory_is_the_same_afterwards() -> None:
    held = [bytes([number % 256]) * 4_000 for number in range(5_000)]
    moved = use_large_pages()
    assert moved >= 0
    assert all(piece == bytes([number % 256]) * 4_000 for number, piece in enumerate(held))
