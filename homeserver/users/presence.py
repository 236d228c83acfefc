"""Presence: who is there, who is idle, and what they say of it.

What a user's devices say (by /sync, the stream, PUT /presence) is put together to one presence. Time does the rest:
idle users become unavailable, those whose last request has ended go offline after a while.
Specification: client-server API, "Presence"; server-server API, "Presence".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import ServerName, UserId, server_name_of
from homeserver.core.presence import GRACE_S, OFFLINE, ONLINE, UNAVAILABLE, read_updates
from homeserver.rooms.memberships import Memberships
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Ring
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.wheel import Wheel
from homeserver.users.presence_news import PresenceListener, PresenceNews
from homeserver.users.presence_records import RETURNING, DeviceState, Record, Records
from homeserver.web.access import Requester
from homeserver.web.errors import Forbidden, InvalidParam
from storage.rows import Entry, EventRow, ReceiptRow, SentHere

STEP_S: Final = 5.0
SAVE_EVERY_S: Final = 10.0
SAY_AGAIN_S: Final = 25 * 60.0
"""Other servers hear of those who are there at least so often: some let a presence end that they do not hear of."""
REMOTE_LASTS_S: Final = 30 * 60.0
"""A user of another server whom we have not heard of for so long is taken for offline."""
MAX_STATUS_MSG: Final = 2_000


class Presence:
    """The presence of all users. Where it is not `enabled`, everybody is offline, and nothing is told."""

    def __init__(
        self,
        records: Records,
        news: PresenceNews,
        memberships: Memberships,
        clock: Clock,
        server_name: ServerName,
        *,
        enabled: bool,
    ) -> None:
        self._records = records
        self._news = news
        self._memberships = memberships
        self._clock = clock
        self._server_name = server_name
        self._wheel = Wheel(STEP_S)
        self.enabled = enabled

    async def start(self, tasks: Tasks, ring: Ring) -> None:
        """Go on where the last run ended."""
        if not self.enabled:
            return
        ring.subscribe(self._published, ReceiptRow, SentHere)
        await self._records.begin(lambda record: self._wheel.at(record.user_id, self._clock.monotonic_s() + GRACE_S))
        tasks.keep("tell who is there", self._news.run)
        tasks.every("see who is idle or gone", STEP_S, self.look)
        tasks.every("save who is there", SAVE_EVERY_S, self._records.save)

    async def save(self) -> None:
        """Write what is not written; at the stop."""
        await self._records.save_all()

    def listen(self, listener: PresenceListener) -> None:
        """Tell a listener of local users, in batches. For those who send EDUs to other servers."""
        self._news.listen(listener)

    # What devices do

    def begin(self, user_id: str, device: int, says: str) -> None:
        """A request or a stream of a device begins; it says ONLINE, UNAVAILABLE or OFFLINE. `end` must follow."""
        record = self._records.made(user_id)
        state = record.devices.get(device)
        if state is not None and state.says == says:
            state.under_way += 1
            return
        self._say(record, device, says).under_way += 1
        self._judge(record)

    def end(self, user_id: str, device: int) -> None:
        """What began has ended."""
        record = self._records.get(user_id)
        state = None if record is None else record.devices.get(device)
        if state is None:
            return
        state.under_way = max(0, state.under_way - 1)
        state.seen_s = self._clock.monotonic_s()
        if not state.under_way:
            self._wheel.at(user_id, state.seen_s + GRACE_S)

    def _published(self, entries: Sequence[Entry]) -> None:
        """Who sends or reads is active."""
        for entry in entries:
            if isinstance(entry, EventRow):
                if entry.device is not None:
                    self._active(entry.event.sender)
            elif isinstance(entry, ReceiptRow):
                self._active(entry.user_id)

    async def set(self, who: Requester, user_id: UserId, presence: str, status_msg: str | None) -> None:
        """A user says how it is. PUT /presence/{userId}/status."""
        if user_id != who.user_id:
            raise Forbidden("You can only set your own presence.")
        if status_msg is not None and len(status_msg) > MAX_STATUS_MSG:
            raise InvalidParam(f"A status message may have at most {MAX_STATUS_MSG} characters.")
        if not self.enabled:
            return
        record = self._records.made(user_id)
        await self._records.read([record])
        state = self._say(record, who.device_number, presence)
        # "When setting the status, the activity time is updated to reflect that activity".
        record.active_s = state.seen_s
        record.status_msg = status_msg or None
        self._wheel.at(user_id, state.seen_s + GRACE_S)
        self._judge(record)
        self._records.changed(record)
        self._news.changed(record, themselves=True)

    # What others see

    async def status(self, who: Requester, user_id: UserId) -> JsonObject:
        """How a user is. GET /presence/{userId}/status."""
        if user_id != who.user_id and not await self._memberships.shares_room(who.user_id, user_id):
            raise Forbidden("You are not allowed to see their presence: you are in no room with them.")
        if not self.enabled:
            return {"presence": OFFLINE}
        record = await self.known(user_id)
        return {"presence": OFFLINE} if record is None else record.content(self._clock.monotonic_s())

    async def known(self, user_id: str) -> Record | None:
        """What is known of a user; None for a user of another server whom we have not heard of."""
        record = self._records.get(user_id)
        if record is None:
            if server_name_of(user_id) != self._server_name:
                return None
            record = self._records.made(user_id)
        if not record.is_read:
            await self._records.read([record])
        return record

    async def received(self, origin: str, content: JsonObject) -> None:
        """An m.presence EDU has come from another server. What is unsound in it is passed over."""
        if not self.enabled:
            return
        now_s = self._clock.monotonic_s()
        for update in read_updates(content, origin):
            # Only those are kept whom somebody here may see.
            if not (await self._memberships.of_user(update.user_id)).joined:
                continue
            record = self._records.made(update.user_id, is_local=False)
            record.presence = update.presence
            record.status_msg = update.status_msg
            record.active_s = now_s - update.active_ms_ago / 1000
            record.currently_active = update.currently_active
            record.announced_s = now_s
            self._records.changed(record)
            if record.told != (record.presence, record.status_msg):
                self._news.changed(record)
            if record.presence != OFFLINE:
                self._wheel.at(record.user_id, now_s + REMOTE_LASTS_S)

    async def look(self) -> None:
        """Time has passed."""
        now_s = self._clock.monotonic_s()
        for user_id in self._wheel.due(now_s):
            record = self._records.get(user_id)
            if record is None:
                continue
            if record.is_local:
                gone = [
                    device
                    for device, state in record.devices.items()
                    if not state.under_way and state.seen_s + GRACE_S <= now_s
                ]
                for device in gone:
                    del record.devices[device]
                self._judge(record)
            elif record.presence != OFFLINE:
                if record.announced_s + REMOTE_LASTS_S > now_s:
                    self._wheel.at(user_id, record.announced_s + REMOTE_LASTS_S)
                    continue
                record.presence = OFFLINE
                self._records.changed(record)
                self._news.changed(record)

    def _say(self, record: Record, device: int, says: str) -> DeviceState:
        """A device says something else than before."""
        now_s = self._clock.monotonic_s()
        if says == OFFLINE:
            # Whoever comes back unseen after a restart is not to be held for present.
            record.devices.pop(RETURNING, None)
        state = record.devices.get(device)
        if state is None:
            state = record.devices[device] = DeviceState(says, now_s)
        state.says = says
        state.seen_s = now_s
        if says == ONLINE:
            # "A pro-active event may be sending a message to a room or changing presence state to online."
            record.active_s = now_s
        return state

    def _active(self, user_id: str) -> None:
        record = self._records.get(user_id)
        if record is None or record.presence == OFFLINE or not record.is_local:
            return
        record.active_s = self._clock.monotonic_s()
        if record.presence == UNAVAILABLE:
            # "Any activity ... will cause the server to automatically set their presence to online."
            for state in record.devices.values():
                if state.says == UNAVAILABLE:
                    state.says = ONLINE
            self._judge(record)

    def _judge(self, record: Record) -> None:
        now_s = self._clock.monotonic_s()
        presence, until_s = record.judged(now_s)
        if presence != OFFLINE:
            if record.announced_s + SAY_AGAIN_S <= now_s and presence == record.presence == record.told[0]:
                self._news.again(record)
            again_s = record.announced_s + SAY_AGAIN_S
            until_s = min(until_s, again_s if again_s > now_s else now_s + SAY_AGAIN_S)
        self._wheel.at(record.user_id, until_s)
        if presence != record.presence:
            record.presence = presence
            self._records.changed(record)
            self._news.changed(record)
