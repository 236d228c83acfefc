"""Unread counts. Specification: Client-Server API, "Receipts" (the room of events A to I) and "Push notifications"."""

from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.ids import EventId
from homeserver.core.push.unread import (
    NOTHING_UNREAD,
    Count,
    Notification,
    PlacedReceipt,
    ReadUpTo,
    UnreadCounts,
    count_unread,
    read_up_to,
)

A, B = EventId("$A"), EventId("$B")

# The example of the specification: C, E and with them G, H are in the thread of A; D, F in that of B.
THREADS: dict[str, EventId | None] = {
    "A": None,
    "B": None,
    "C": A,
    "D": B,
    "E": A,
    "F": B,
    "G": A,
    "H": A,
    "I": None,
}
AT = {name: position for position, name in enumerate(THREADS, start=10)}
ROOM = [Notification(AT[name], thread, highlight=name in "EI") for name, thread in THREADS.items()]


def read(*receipts: tuple[str, str | None], receipt_type: str = "m.read") -> ReadUpTo:
    return read_up_to(PlacedReceipt(receipt_type, thread, AT[name]) for name, thread in receipts)


def already_read(up_to: ReadUpTo) -> str:
    return "".join(name for name, note in zip(THREADS, ROOM, strict=True) if up_to.has_read(note))


def test_a_receipt_for_the_main_timeline_reads_only_that() -> None:
    assert already_read(read(("I", "main"))) == "ABI"


def test_a_receipt_for_a_thread_reads_only_that_up_to_its_event() -> None:
    assert already_read(read(("E", A))) == "CE"
    assert already_read(read(("A", "main"))) == "A"


def test_a_receipt_without_thread_reads_all_that_came_before() -> None:
    assert already_read(read(("D", None))) == "ABCD"


def test_receipts_of_all_kinds_add_up() -> None:
    assert already_read(read(("D", None), ("H", A), ("A", "main"), ("B", B))) == "ABCDEGH"


def test_of_a_public_and_a_private_receipt_the_one_ahead_counts() -> None:
    private = PlacedReceipt("m.read.private", None, AT["B"])
    public = PlacedReceipt("m.read", None, AT["D"])
    assert already_read(read_up_to([private, public])) == "ABCD"
    assert already_read(read_up_to([PlacedReceipt("m.read.private", None, AT["F"]), public])) == "ABCDEF"


def test_the_fully_read_marker_reads_nothing() -> None:
    assert already_read(read(("I", None), receipt_type="m.fully_read")) == ""


def test_what_came_before_the_user_joined_does_not_count() -> None:
    assert already_read(read_up_to([], since=AT["C"])) == "ABC"


def test_counts_are_split_by_thread_and_add_up_to_the_room() -> None:
    counts = count_unread(ROOM, read_up_to([]))
    assert counts == UnreadCounts(Count(3, 1), {A: Count(4, 1), B: Count(2, 0)})
    assert counts.room == Count(9, 2)


def test_threads_that_are_read_are_left_out() -> None:
    counts = count_unread(ROOM, read(("I", "main"), ("F", B), ("E", A)))
    assert counts == UnreadCounts(Count(), {A: Count(2, 0)})
    assert count_unread(ROOM, read(("I", None))) is NOTHING_UNREAD


def test_counting_one_after_the_other_comes_to_the_same() -> None:
    up_to = read(("A", "main"), ("C", A))
    counts = NOTHING_UNREAD
    for note in ROOM:
        if not up_to.has_read(note):
            counts = counts.plus(note)
    assert counts == count_unread(ROOM, up_to)


receipts = st.builds(
    PlacedReceipt,
    st.sampled_from(["m.read", "m.read.private"]),
    st.sampled_from([None, "main", "$A", "$B"]),
    st.integers(8, 20),
)


@given(st.lists(receipts, max_size=6), receipts)
def test_a_further_receipt_never_makes_anything_unread(before: list[PlacedReceipt], further: PlacedReceipt) -> None:
    older, newer = read_up_to(before), read_up_to([*before, further])
    assert set(already_read(older)) <= set(already_read(newer))
    assert count_unread(ROOM, newer).room.notifications == len(ROOM) - len(already_read(newer))
