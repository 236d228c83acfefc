"""What is known of the presence of each user who matters now, and what of it outlives a restart.

Local users who are away are read from the table when somebody asks for them. Other servers' users live in memory alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final

from homeserver.core.canonical_json import JsonObject
from homeserver.core.presence import OFFLINE, ONLINE, DeviceSign, presence_of
from homeserver.runtime.clock import Clock
from storage import presence as presence_table
from storage.database import Database, DatabaseUnavailable
from storage.presence import Kept

MOST_AWAY: Final = 20_000
"""Users who are offline and stay in memory."""
RETURNING: Final = -1
"""In place of a device: a user who was there before the restart, and may come back."""


class DeviceState:
    """What a device said last, and how many requests of it are under way."""

    __slots__ = ("says", "seen_s", "under_way")

    def __init__(self, says: str, seen_s: float) -> None:
        self.says = says
        self.seen_s = seen_s
        self.under_way = 0


class Record:
    """One user's presence."""

    __slots__ = (
        "active_s",
        "announced_s",
        "currently_active",
        "devices",
        "encoded",
        "is_local",
        "is_read",
        "position",
        "presence",
        "status_msg",
        "told",
        "user_id",
    )

    def __init__(self, user_id: str, *, is_local: bool) -> None:
        self.user_id = user_id
        self.is_local = is_local
        self.is_read = not is_local
        """Whether what the table keeps is in it."""
        self.presence = OFFLINE
        self.status_msg: str | None = None
        self.active_s: float | None = None
        """When the user was last active, on the clock that never jumps; None if that is not known."""
        self.currently_active = False
        """As another server says; of local users it follows from the rest."""
        self.devices: dict[int, DeviceState] = {}
        self.told: tuple[str, str | None] = (OFFLINE, None)
        """Presence and status message as others have them."""
        self.position = 0
        """Where in the log the last change was told."""
        self.encoded: bytes | None = None
        """The start of the event for clients, kept by those who make it."""
        self.announced_s = 0.0
        """When other servers were last told of the user; of their own users, when we last heard of them."""

    def judged(self, now_s: float) -> tuple[str, float]:
        """The presence by what the devices say now, and when that may change by itself."""
        signs = (DeviceSign(each.says, each.under_way > 0, each.seen_s) for each in self.devices.values())
        return presence_of(signs, now_s if self.active_s is None else self.active_s, now_s)

    def content(self, now_s: float) -> JsonObject:
        """The content of an m.presence event."""
        content: JsonObject = {"presence": self.presence}
        if self.active_s is not None:
            content["last_active_ago"] = max(0, int((now_s - self.active_s) * 1000))
        if self.presence == ONLINE:
            # A local user who is online has been active lately, or would be unavailable.
            content["currently_active"] = self.is_local or self.currently_active
        if self.status_msg is not None:
            content["status_msg"] = self.status_msg
        return content


class Records:
    """All records. `save` is called every few seconds and at the stop."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._records: dict[str, Record] = {}
        self._there: dict[str, Record] = {}
        self._unsaved: dict[str, Record] = {}

    def get(self, user_id: str) -> Record | None:
        """A record that is in memory."""
        return self._records.get(user_id)

    def made(self, user_id: str, *, is_local: bool = True) -> Record:
        """The record of a user, an empty one where there is none."""
        record = self._records.get(user_id)
        if record is None:
            record = self._records[user_id] = Record(user_id, is_local=is_local)
            if len(self._records) - len(self._there) > MOST_AWAY:
                self._drop_away()
        return record

    @property
    def there(self) -> Collection[Record]:
        """Those of all users who are not offline."""
        return self._there.values()

    def changed_after(self, position: int) -> Iterable[Record]:
        """Those whose last change was told after a position of the log."""
        return [record for record in self._records.values() if record.position > position]

    def changed(self, record: Record) -> None:
        """Its presence or message is another: to be written."""
        record.encoded = None
        if record.presence == OFFLINE:
            self._there.pop(record.user_id, None)
        else:
            self._there[record.user_id] = record
        if record.is_local:
            self._unsaved[record.user_id] = record

    async def read(self, records: Iterable[Record]) -> None:
        """See to it that these have what the table keeps."""
        missing = {record.user_id: record for record in records if not record.is_read}
        if not missing:
            return
        kept = await self._database.read(presence_table.of_users, list(missing))
        for row in kept:
            self._take(missing[row.user_id], row)
        for record in missing.values():
            record.is_read = True

    async def begin(self, returned: Callable[[Record], None]) -> None:
        """After a start: those who were there have some time to come back."""
        now_s = self._clock.monotonic_s()
        for row in await self._database.read(presence_table.not_offline):
            record = self.made(row.user_id)
            self._take(record, row)
            record.is_read = True
            record.devices[RETURNING] = DeviceState(row.presence, now_s)
            record.presence = row.presence
            record.told = (row.presence, row.status_msg)
            self._there[row.user_id] = record
            returned(record)

    async def save_all(self) -> None:
        """Write what has changed, and when those who are there were last active."""
        self._unsaved |= {record.user_id: record for record in self._there.values() if record.is_local}
        await self.save()

    async def save(self) -> None:
        """Write what has changed."""
        unsaved = {user_id: record for user_id, record in self._unsaved.items() if record.is_read}
        if not unsaved:
            return
        for user_id in unsaved:
            del self._unsaved[user_id]
        now_s, now_ms = self._clock.monotonic_s(), self._clock.now_ms()
        rows = [
            Kept(
                record.user_id,
                record.presence,
                record.status_msg,
                now_ms if record.active_s is None else now_ms - int((now_s - record.active_s) * 1000),
            )
            for record in unsaved.values()
        ]
        try:
            await self._database.write(presence_table.put, rows)
        except BaseException as problem:
            # Also where the server stops in the middle: it is tried again with the next ones.
            self._unsaved = {**unsaved, **self._unsaved}
            if not isinstance(problem, DatabaseUnavailable):
                raise

    def _take(self, record: Record, row: Kept) -> None:
        if record.is_read:
            return
        record.status_msg = row.status_msg
        record.encoded = None
        record.told = (record.told[0], row.status_msg)
        if record.active_s is None:
            record.active_s = self._clock.monotonic_s() - (self._clock.now_ms() - row.last_active_ts) / 1000

    def _drop_away(self) -> None:
        """Forget half of those who are away; what they leave is in the table."""
        away = [
            user_id
            for user_id, record in self._records.items()
            if user_id not in self._there and user_id not in self._unsaved and not record.devices
        ]
        for user_id in away[: MOST_AWAY // 2]:
            del self._records[user_id]
