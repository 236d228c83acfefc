"""Which rooms each user is in, as far as this server knows.

Kept current by following the ring, so most questions read nothing.

Constructed before those who wake readers, so that they find it current.
"""

from __future__ import annotations

from collections.abc import ItemsView, Sequence, Set

from twisted.internet.defer import Deferred

from homeserver.runtime.lru import Lru
from homeserver.runtime.ring import Ring
from storage import memberships as membership_table
from storage.database import Cursor, Database
from storage.rows import ChangesMembers, Entry, EventRow, StateRow

MOST_USERS = 20_000

_NOBODY: Set[int] = frozenset()


class UserRooms:
    """The rooms of one user: room number → membership and position of the member event.

    Forgotten rooms are not here.
    """

    __slots__ = ("_rooms", "joined", "stays")

    def __init__(self, rooms: Sequence[tuple[int, str, int]], stays: dict[int, int]) -> None:
        self._rooms = {room: (membership, position) for room, membership, position in rooms}
        self.joined = {room for room, membership, _ in rooms if membership == "join"}
        self.stays = stays
        """Room → position at which the present stay began."""

    def items(self) -> ItemsView[int, tuple[str, int]]:
        """Room number, then membership and position of the member event."""
        return self._rooms.items()

    def get(self, room: int) -> tuple[str, int]:
        """Membership and position of the member event; ("leave", 0) where the user never was, or has forgotten it."""
        return self._rooms.get(room, ("leave", 0))

    def membership(self, room: int) -> str | None:
        """The membership; None for a room that the user was never in, or has forgotten."""
        found = self._rooms.get(room)
        return None if found is None else found[0]

    def __contains__(self, room: object) -> bool:
        return room in self._rooms

    def __len__(self) -> int:
        return len(self._rooms)

    def _changed(self, room: int, membership: str, member_event: int, position: int) -> None:
        if membership == "join":
            if room not in self.joined:
                self.joined.add(room)
                self.stays[room] = position
        else:
            self.joined.discard(room)
            self.stays.pop(room, None)
        self._rooms[room] = (membership, member_event)

    def _forgotten(self, room: int) -> None:
        self._rooms.pop(room, None)


class Memberships:
    """The rooms of the users who were lately of interest."""

    def __init__(self, database: Database, ring: Ring) -> None:
        self._database = database
        self._users: Lru[str, UserRooms] = Lru(MOST_USERS)
        self._loading: dict[str, _Loading] = {}
        ring.subscribe(self._published, ChangesMembers)

    async def of_user(self, user_id: str) -> UserRooms:
        """The rooms of a user, also of one of another server as far as they are rooms of ours."""
        rooms = self._users.get(user_id)
        return await self._load(user_id) if rooms is None else rooms

    def cached(self, user_id: str) -> UserRooms | None:
        """The rooms of a user if they are in memory."""
        return self._users.get(user_id)

    def joined_if_known(self, user_id: str) -> Set[int]:
        """The rooms that a user is in, if they are in memory; else none."""
        rooms = self._users.get(user_id)
        return _NOBODY if rooms is None else rooms.joined

    async def shares_room(self, one: str, other: str) -> bool:
        """Whether two users are in a room together."""
        first = await self.of_user(one)
        return not first.joined.isdisjoint((await self.of_user(other)).joined)

    async def joined_at(self, user_id: str, room: int) -> int:
        """Position at which a local user's present stay in a room began; 0 if they are not in it."""
        return (await self.of_user(user_id)).stays.get(room, 0)

    async def stay_ended_at(self, user_id: str, room: int) -> int | None:
        """Position at which a local user's last stay in a room ended; None if there was none, or it lasts."""
        return await self._database.read(membership_table.stay_ended_at, user_id, room)

    async def at(self, user_id: str, room: int, position: int) -> str | None:
        """A local user's membership as it was after a position of the log; None if they had none yet."""
        before = await self._database.read(membership_table.before, user_id, room, position)
        return None if before is None else before[1]

    def forgotten(self, user_id: str, room: int) -> None:
        """The user has forgotten a room (and it is written down)."""
        rooms = self._users.get(user_id)
        if rooms is not None:
            rooms._forgotten(room)

    async def _load(self, user_id: str) -> UserRooms:
        loading = self._loading.get(user_id)
        if loading is not None:
            turn: Deferred[None] = Deferred()
            loading.waiting.append(turn)
            await turn
            return await self.of_user(user_id)
        loading = self._loading[user_id] = _Loading()
        try:
            rooms = UserRooms(*await self._database.read(_read, user_id))
            # What was published while we read may be in the answer or not; taken once more in order it does no harm.
            for change in loading.changes:
                rooms._changed(*change)
            self._users.put(user_id, rooms)
        finally:
            del self._loading[user_id]
            for turn in loading.waiting:
                turn.callback(None)
        return rooms

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, (EventRow, StateRow)):
                for change in entry.members:
                    rooms = self._users.peek(change.user_id)
                    if rooms is not None:
                        rooms._changed(entry.room, change.membership, change.position, entry.position)
                    loading = self._loading.get(change.user_id)
                    if loading is not None:
                        loading.changes.append((entry.room, change.membership, change.position, entry.position))


class _Loading:
    """A user whose rooms are being read: changes meanwhile, and others who wait for the same."""

    __slots__ = ("changes", "waiting")

    def __init__(self) -> None:
        self.changes: list[tuple[int, str, int, int]] = []
        self.waiting: list[Deferred[None]] = []


def _read(tx: Cursor, user_id: str) -> tuple[list[tuple[int, str, int]], dict[int, int]]:
    return membership_table.of_user(tx, user_id), membership_table.stays_of(tx, user_id)
