"""The ring: recent entries in memory."""

from collections.abc import Sequence

import pytest

from homeserver.runtime.log import Ring
from storage.rows import AccountDataRow, Entry, ToDeviceRow, TypingRow


def entry_at(position: int, room: int = 0) -> Entry:
    entry: Entry = TypingRow(room, ()) if room else AccountDataRow("@romeo:localhost", "", "m.test", b"{}")
    entry.position = position
    return entry


def positions(entries: Sequence[Entry]) -> list[int]:
    return [entry.position for entry in entries]


def test_a_new_ring_covers_its_beginning_and_has_nothing_after_it() -> None:
    ring = Ring()
    ring.begin(floor=100, head=110)
    assert ring.head == 110
    assert ring.covers(100) and ring.covers(105)
    assert not ring.covers(99)
    assert list(ring.after(100)) == []


def test_what_comes_after_a_position_is_found_also_where_positions_are_missing() -> None:
    ring = Ring()
    ring.publish([entry_at(3), entry_at(4), entry_at(9)])
    assert ring.head == 9
    assert positions(ring.after(0)) == [3, 4, 9]
    assert positions(ring.after(4)) == [9]
    assert positions(ring.after(7)) == [9]
    assert positions(ring.after(9)) == []
    assert positions(ring.after(50)) == []


def test_old_entries_fall_out_and_the_ring_says_that_it_no_longer_covers_them() -> None:
    ring = Ring(capacity_entries=100)
    for position in range(1, 1001):
        ring.publish([entry_at(position, room=1 + position % 3)])
    oldest = positions(ring.after(0))[0]
    assert 100 <= 1001 - oldest <= 125
    assert ring.covers(oldest - 1)
    assert not ring.covers(oldest - 2)
    assert positions(ring.after(oldest - 1)) == list(range(oldest, 1001))


def test_a_batch_larger_than_the_ring_leaves_its_last_entries() -> None:
    ring = Ring(capacity_entries=10)
    ring.publish([entry_at(position, room=7) for position in range(1, 51)])
    assert positions(ring.after(40)) == list(range(41, 51))
    assert not ring.covers(39)
    assert positions(ring.room_after(7, 0)) == list(range(41, 51))


def test_what_is_heavy_makes_the_ring_hold_less() -> None:
    ring = Ring(capacity_entries=1_000, capacity_bytes=1_000_000)
    for position in range(1, 501):
        heavy = AccountDataRow("@romeo:localhost", "", "m.test", b"x" * 60_000)
        heavy.position = position
        ring.publish([heavy])
        assert ring.size_bytes <= 1_250_000
    assert 16 <= len(ring) <= 21
    oldest = positions(ring.after(0))[0]
    assert ring.covers(oldest - 1) and not ring.covers(oldest - 2)
    # A batch that is too heavy alone reaches those who follow, and is in the tables.
    told: list[int] = []
    ring.subscribe(lambda entries: told.extend(positions(entries)))
    batch = [AccountDataRow("@romeo:localhost", "", "m.test", b"x" * 60_000) for _ in range(100)]
    for number, each in enumerate(batch):
        each.position = 501 + number
    ring.publish(batch)
    assert told == list(range(501, 601))
    assert ring.head == 600 and 16 <= len(ring) <= 17
    for position in range(601, 2_001):
        ring.publish([entry_at(position)])
    assert len(ring) >= 1_000


def test_the_entries_of_a_room_are_found_alone() -> None:
    ring = Ring()
    ring.publish([entry_at(1, room=5), entry_at(2, room=6), entry_at(3), entry_at(4, room=5)])
    assert positions(ring.room_after(5, 0)) == [1, 4]
    assert positions(ring.room_after(5, 1)) == [4]
    assert positions(ring.room_after(5, 4)) == []
    assert positions(ring.room_after(99, 0)) == []
    assert (ring.room_last(5), ring.room_last(6), ring.room_last(99)) == (4, 2, 0)


def test_a_room_whose_entries_fell_out_is_unknown_again() -> None:
    ring = Ring(capacity_entries=10)
    ring.publish([entry_at(1, room=5)])
    ring.publish([entry_at(position, room=6) for position in range(2, 30)])
    assert ring.room_last(5) == 0
    assert ring.room_after(5, 0) == []


def test_an_answer_does_not_change_when_more_is_published() -> None:
    ring = Ring(capacity_entries=4)
    ring.publish([entry_at(1), entry_at(2)])
    before = ring.after(0)
    ring.publish([entry_at(position) for position in range(3, 20)])
    assert positions(before) == [1, 2]


def test_who_wants_some_kinds_of_entries_is_told_of_batches_that_hold_one() -> None:
    ring = Ring()
    told: list[list[int]] = []
    ring.subscribe(lambda entries: told.append(positions(entries)), TypingRow, ToDeviceRow)
    ring.publish([entry_at(1), entry_at(2, room=5)])
    ring.publish([entry_at(3), entry_at(4)])
    assert told == [[1, 2]]


def test_subscribers_are_told_once_a_batch_until_they_end_it() -> None:
    ring = Ring()
    told: list[list[int]] = []
    end = ring.subscribe(lambda entries: told.append(positions(entries)))
    ring.publish([entry_at(1), entry_at(2)])
    ring.publish([])
    ring.publish([entry_at(3)])
    end()
    end()
    ring.publish([entry_at(4)])
    assert told == [[1, 2], [3]]


def test_a_subscriber_that_fails_keeps_nothing_from_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    ring = Ring()
    told: list[list[int]] = []

    def fails(_: Sequence[Entry]) -> None:
        raise RuntimeError("a mistake")

    ring.subscribe(fails)
    ring.subscribe(lambda entries: told.append(positions(entries)))
    ring.publish([entry_at(1)])
    assert told == [[1]]


def test_a_subscriber_may_end_itself_while_it_is_told() -> None:
    ring = Ring()
    told: list[str] = []

    def once(_: Sequence[Entry]) -> None:
        told.append("once")
        end()

    end = ring.subscribe(once)
    ring.subscribe(lambda _: told.append("always"))
    ring.publish([entry_at(1)])
    ring.publish([entry_at(2)])
    assert told == ["once", "always", "always"]


def test_who_follows_one_kind_gets_batches_with_it_and_no_others_from_the_moment_of_asking() -> None:
    ring = Ring()
    got: list[tuple[str, list[int]]] = []
    ring.publish([entry_at(1, room=7)])
    ring.subscribe(lambda entries: got.append(("typing", positions(entries))), TypingRow)
    ring.publish([entry_at(2, room=7)])
    end = ring.subscribe(lambda entries: got.append(("account data", positions(entries))), AccountDataRow)

    ring.publish([entry_at(3, room=7)])
    ring.publish([entry_at(4)])
    ring.publish([entry_at(5), entry_at(6, room=7)])
    end()
    ring.publish([entry_at(7)])

    assert got == [
        ("typing", [2]),
        ("typing", [3]),
        ("account data", [4]),
        ("typing", [5, 6]),
        ("account data", [5, 6]),
    ]
