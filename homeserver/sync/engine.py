"""Answers /sync: what is new for a user since a position, or everything where there is none.

Specification: client-server API, "Syncing" and GET /_matrix/client/v3/sync.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from homeserver.core.filters import Filter
from homeserver.encryption.key_counts import KeyCounts
from homeserver.rooms.heads import Heads
from homeserver.rooms.memberships import Memberships, UserRooms
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Ring
from homeserver.sync.account_data_part import AccountDataPart
from homeserver.sync.changes import ChangeReader, Changes, OwnMembership, RoomNews
from homeserver.sync.device_lists_part import DeviceListsPart
from homeserver.sync.feeds import Feeds
from homeserver.sync.invite_part import InvitePart
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.presence_part import PresencePart
from homeserver.sync.reader import STATE, Reader
from homeserver.sync.room_part import RoomPart, Span
from homeserver.sync.to_device import MOST_AT_START, ToDeviceQueue
from storage.rows import AccountDataRow

_NO_NEWS = RoomNews()


class SyncRequest(msgspec.Struct, frozen=True):
    """What a client asks. `since` None: everything."""

    user_id: str
    device: int
    since: int | None
    filter: Filter
    full_state: bool = False
    state_as: bytes = STATE
    timeout_ms: int = 0


class Delta(msgspec.Struct, frozen=True):
    """What is new up to `upto`, as members of the answer.

    `key_counts` are members that every answer has; alone they are news only where they are urgent.
    """

    upto: int
    members: Sequence[bytes]
    key_counts: bytes
    is_urgent: bool = False

    @property
    def is_news(self) -> bool:
        """Whether there is anything that this client wants to know."""
        return bool(self.members) or self.is_urgent

    def encoded(self) -> bytes:
        """The whole answer."""
        return b"{" + b",".join([b'"next_batch":"s%d"' % self.upto, *self.members, self.key_counts]) + b"}"


@dataclass(frozen=True, slots=True)
class Parts:
    """What an answer is put together from."""

    rooms: RoomPart
    invites: InvitePart
    account_data: AccountDataPart
    to_device: ToDeviceQueue
    device_lists: DeviceListsPart
    key_counts: KeyCounts
    presence: PresencePart


class SyncEngine:
    """Computes deltas, and waits for them."""

    def __init__(
        self,
        ring: Ring,
        feeds: Feeds,
        changes: ChangeReader,
        memberships: Memberships,
        heads: Heads,
        parts: Parts,
        clock: Clock,
    ) -> None:
        self._ring = ring
        self._feeds = feeds
        self._changes = changes
        self._memberships = memberships
        self._heads = heads
        self._parts = parts
        self._clock = clock
        self._lazy_members = LazyMembers()

    async def answer(self, ask: SyncRequest) -> bytes:
        """The answer to a /sync request; waits for news for up to its time-out where there are none yet."""
        feed = await self._feeds.of(ask.user_id)
        if ask.since is not None:
            await self._parts.to_device.acknowledge(ask.device, ask.since)
        deadline_s = self._clock.monotonic_s() + ask.timeout_ms / 1000
        at_once = ask.since is None or ask.full_state
        while True:
            if at_once or ask.since is None or feed.touched > ask.since:
                delta = await self.delta(ask)
                if delta.is_news or at_once:
                    return delta.encoded()
                seen = delta.upto
            else:
                seen = self._ring.head
            if not await self._feeds.wait(feed, seen, deadline_s - self._clock.monotonic_s()):
                # Whatever came meanwhile does not concern this client.
                return Delta(max(seen, ask.since or 0), (), await self._key_counts(ask.device)).encoded()

    async def delta(self, ask: SyncRequest) -> Delta:
        """What is new for this client between `ask.since` and now."""
        upto = self._ring.head
        user_rooms = await self._memberships.of_user(ask.user_id)
        reader = Reader(
            user_id=ask.user_id,
            device=ask.device,
            filter=ask.filter,
            ignored=await self._parts.account_data.ignored(ask.user_id),
            memory=self._lazy_members.of(ask.device, ask.since) if ask.filter.lazy_load_members else None,
            state_as=ask.state_as,
            now_ms=self._clock.now_ms(),
        )
        if ask.since is None:
            delta = await self._everything(reader, user_rooms, upto)
        else:
            delta = await self._news(reader, user_rooms, ask.since, upto, full_state=ask.full_state)
        if reader.memory is not None:
            self._lazy_members.answered(reader.memory, delta.upto)
        return delta

    async def _everything(self, reader: Reader, user_rooms: UserRooms, upto: int) -> Delta:
        overall, by_room = await self._parts.account_data.everything(reader.user_id)
        answer = _Answer()
        for number, (membership, position) in user_rooms.items():
            if (membership == "leave" or membership == "ban") and not reader.filter.include_leave:
                continue
            await self._add_room(reader, answer, Span(None, upto), number, membership, position, _NO_NEWS, by_room)
        answer.account_data = await self._parts.account_data.encode(overall, reader.filter.account_data)
        messages = await self._parts.to_device.waiting(reader.device, upto)
        answer.to_device = self._parts.to_device.encode(messages)
        if len(messages) >= MOST_AT_START:
            # The token acknowledges all messages up to it. What happened in rooms since then is told once more.
            upto = messages[-1].position
        answer.presence = await self._parts.presence.everything(reader, user_rooms.joined)
        return Delta(upto, answer.members(), await self._key_counts(reader.device))

    async def _news(self, reader: Reader, user_rooms: UserRooms, since: int, upto: int, *, full_state: bool) -> Delta:
        changes = await self._changes.between(reader.user_id, reader.device, user_rooms.joined, since, upto)
        if changes.more_to_device:
            # The token acknowledges all messages up to it, so the answer ends with the last one that is in it.
            upto = changes.to_device[-1].position
            changes = await self._changes.between(reader.user_id, reader.device, user_rooms.joined, since, upto)
        answer = _Answer()
        by_room: dict[str, list[AccountDataRow]] = {}
        for row in changes.account_data:
            if row.room_id:
                by_room.setdefault(row.room_id, []).append(row)
        moved = {change.room: change for change in changes.memberships}
        all_by_room: dict[str, list[AccountDataRow]] | None = None
        for number in await self._rooms_to_tell(user_rooms, changes, by_room, full_state=full_state):
            change = moved.get(number)
            span, account_data = Span(since, upto, whole_state=full_state), by_room
            if change is not None and await self._began(reader, changes, number, since):
                span = Span(None, upto)
                if all_by_room is None:
                    _, all_by_room = await self._parts.account_data.everything(reader.user_id)
                account_data = all_by_room
            membership, position = (change.membership, change.position) if change else user_rooms.get(number)
            if change is None and membership != "join" and position > upto:
                # Left while we were at it: the next answer tells it.
                continue
            news = changes.rooms.get(number, _NO_NEWS)
            await self._add_room(reader, answer, span, number, membership, position, news, account_data)
        overall = [row for row in changes.account_data if not row.room_id]
        if overall:
            answer.account_data = await self._parts.account_data.encode(overall, reader.filter.account_data)
        answer.to_device = self._parts.to_device.encode(changes.to_device)
        if changes.device_lists or changes.members_moved or changes.memberships or changes.signed_others:
            lists = await self._parts.device_lists.of(reader.user_id, user_rooms, changes, since, upto)
            answer.device_lists = lists.encoded()
        if changes.presence or changes.came or changes.memberships or changes.presence_since:
            answer.presence = await self._parts.presence.news(reader, user_rooms.joined, changes, since)
        key_counts = await self._key_counts(reader.device)
        return Delta(upto, answer.members(), key_counts, changes.key_counts_urgent)

    async def _key_counts(self, device: int) -> bytes:
        return self._parts.key_counts.cached(device) or await self._parts.key_counts.of(device)

    async def _rooms_to_tell(
        self, user_rooms: UserRooms, changes: Changes, by_room: dict[str, list[AccountDataRow]], *, full_state: bool
    ) -> dict[int, None]:
        """Numbers of the rooms that have news, or all joined ones for `full_state`; in a stable order."""
        numbers = dict.fromkeys(changes.rooms)
        numbers.update(dict.fromkeys([change.room for change in changes.memberships]))
        if full_state:
            numbers.update(dict.fromkeys(user_rooms.joined))
        for room_id in by_room:
            room = await self._heads.if_known(room_id)
            if room is not None and room.number in user_rooms.joined:
                numbers[room.number] = None
        return numbers

    async def _began(self, reader: Reader, changes: Changes, number: int, since: int) -> bool:
        """Whether the user was not in the room at `since`, or was out of it at some time after."""
        own = [change for change in changes.memberships if change.room == number]
        if any(change.membership != "join" for change in own[:-1]):
            return True
        if own[-1].membership == "join":
            return await self._memberships.at(reader.user_id, number, since) != "join"
        return False

    async def _add_room(
        self,
        reader: Reader,
        answer: _Answer,
        span: Span,
        number: int,
        membership: str,
        position: int,
        news: RoomNews,
        by_room: dict[str, list[AccountDataRow]],
    ) -> None:
        room = await self._heads.by_number(number)
        if room is None:
            answer.add(membership, await self._parts.invites.encode(reader, number, membership))
            return
        if not reader.filter.includes_room(room.room_id):
            return
        if membership == "join":
            account_data = await self._room_account_data(reader, by_room, room.room_id)
            joined_at = await self._memberships.joined_at(reader.user_id, number)
            answer.add("join", await self._parts.rooms.joined(reader, room, span, joined_at, news, account_data))
        elif membership in ("invite", "knock"):
            answer.add(membership, await self._parts.invites.encode(reader, number, membership))
        else:
            account_data = await self._room_account_data(reader, by_room, room.room_id)
            answer.add("leave", await self._parts.rooms.left(reader, room, span, position, account_data))

    async def _room_account_data(self, reader: Reader, by_room: dict[str, list[AccountDataRow]], room_id: str) -> bytes:
        rows = by_room.get(room_id)
        if not rows:
            return b"[]"
        return await self._parts.account_data.encode(rows, reader.filter.room_account_data)


class _Answer:
    """An answer in the making."""

    def __init__(self) -> None:
        self._rooms: dict[str, list[bytes]] = {}
        self.account_data = b"[]"
        self.to_device = b"[]"
        self.presence = b"[]"
        self.device_lists = b""

    def add(self, section: str, room: bytes | None) -> None:
        """Add a room to a section of `rooms`."""
        if room is not None:
            self._rooms.setdefault(section, []).append(room)

    def members(self) -> list[bytes]:
        """The members of the answer that are not empty."""
        members: list[bytes] = []
        if self._rooms:
            sections = [b'"%s":{%s}' % (section.encode(), b",".join(rooms)) for section, rooms in self._rooms.items()]
            members.append(b'"rooms":{' + b",".join(sections) + b"}")
        if self.account_data != b"[]":
            members.append(b'"account_data":{"events":' + self.account_data + b"}")
        if self.to_device != b"[]":
            members.append(b'"to_device":{"events":' + self.to_device + b"}")
        if self.presence != b"[]":
            members.append(b'"presence":{"events":' + self.presence + b"}")
        if self.device_lists:
            members.append(self.device_lists)
        return members


__all__ = ["Delta", "OwnMembership", "Parts", "SyncEngine", "SyncRequest"]
