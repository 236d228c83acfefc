"""How many notifications a user has not read yet, for the main timeline of a room and for each thread.

Positions are places in one order of all events of the server. Specification: Client-Server API, "Push notifications",
"Marking notifications as read"; "Receipts", "Threaded read receipts".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from homeserver.core.ids import EventId
from homeserver.core.receipts import MAIN, READ, READ_PRIVATE


class Notification(msgspec.Struct, frozen=True):
    """An event that the user is notified of. `thread_id` is the root of its thread, None for the main timeline."""

    position: int
    thread_id: EventId | None = None
    highlight: bool = False


@dataclass(frozen=True, slots=True)
class PlacedReceipt:
    """A receipt of the user, with the position of the event that it names.

    `thread_id` is None for the whole room, "main" for the main timeline, or the root of a thread.
    """

    receipt_type: str
    thread_id: str | None
    position: int


@dataclass(frozen=True, slots=True)
class ReadUpTo:
    """The positions up to which a user has read: in the room at large, in its main timeline, in its threads."""

    room: int
    main: int
    threads: Mapping[str, int] = field(default_factory=dict)

    def of(self, thread_id: EventId | None) -> int:
        """The position up to which this thread (None: the main timeline) is read."""
        if thread_id is None:
            return max(self.room, self.main)
        return max(self.room, self.threads.get(thread_id, self.room))

    def has_read(self, notification: Notification) -> bool:
        """Whether the user has read this event: a receipt means up to and including."""
        return notification.position <= self.of(notification.thread_id)


class Count(msgspec.Struct, frozen=True):
    """How many unread notifications there are, and how many of these are highlights."""

    notifications: int = 0
    highlights: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.notifications + other.notifications, self.highlights + other.highlights)


NONE = Count()


class UnreadCounts(msgspec.Struct, frozen=True):
    """The counts of a room. Threads without unread notifications are left out."""

    main: Count = NONE
    threads: Mapping[EventId, Count] = msgspec.field(default_factory=dict)

    @property
    def room(self) -> Count:
        """The count for the whole room, which is what clients get who do not ask for threads."""
        return sum(self.threads.values(), self.main)

    def plus(self, notification: Notification) -> "UnreadCounts":
        """The counts with one more unread notification, so that a new event does not mean to count all again."""
        one = Count(1, int(notification.highlight))
        thread = notification.thread_id
        if thread is None:
            return UnreadCounts(self.main + one, self.threads)
        return UnreadCounts(self.main, {**self.threads, thread: self.threads.get(thread, NONE) + one})


NOTHING_UNREAD = UnreadCounts()


def read_up_to(receipts: Iterable[PlacedReceipt], since: int = 0) -> ReadUpTo:
    """Where a user has read up to. Of m.read and m.read.private the one that is further ahead counts.

    `since` is a position before which nothing counts: where the user joined the room.
    """
    room, main = since, since
    threads: dict[str, int] = {}
    for receipt in receipts:
        if receipt.receipt_type not in (READ, READ_PRIVATE):
            continue
        if receipt.thread_id is None:
            room = max(room, receipt.position)
        elif receipt.thread_id == MAIN:
            main = max(main, receipt.position)
        else:
            threads[receipt.thread_id] = max(threads.get(receipt.thread_id, since), receipt.position)
    return ReadUpTo(room, main, threads)


def count_unread(notifications: Iterable[Notification], read: ReadUpTo) -> UnreadCounts:
    """Count the notifications that are not read yet. Their order does not matter."""
    in_main = highlights_in_main = 0
    threads: dict[EventId, list[int]] = {}
    for notification in notifications:
        if read.has_read(notification):
            continue
        if notification.thread_id is None:
            in_main += 1
            highlights_in_main += notification.highlight
        else:
            thread = threads.setdefault(notification.thread_id, [0, 0])
            thread[0] += 1
            thread[1] += notification.highlight
    if not in_main and not threads:
        return NOTHING_UNREAD
    return UnreadCounts(Count(in_main, highlights_in_main), {root: Count(*thread) for root, thread in threads.items()})
