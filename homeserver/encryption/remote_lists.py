"""Device lists of other servers' users with whom somebody of ours is in a room: kept, and followed by EDUs.

Each EDU names the one before it. Where we do not have that one, the list is stale and read anew, at growing distances
as long as the other server does not answer. Specification: server-server API, "Device Management".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeGuard

import structlog
from twisted.internet.defer import Deferred, gatherResults

from homeserver.core import canonical_json
from homeserver.core.canonical_json import MAX_INTEGER, JsonObject, JsonValue, NotCanonical
from homeserver.core.device_keys import MASTER, SELF_SIGNING, BadKeys, check_user_key, of_own
from homeserver.core.ids import InvalidId, ServerName, parse_user_id, server_name_of
from homeserver.encryption.local_keys import FoundKeys, add_user_keys
from homeserver.encryption.remote import RemoteKeys, RemoteKeysFailed
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Ring, Writer
from homeserver.runtime.lru import Lru
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.turns import Turns
from storage import cross_signing as cross_signing_table
from storage import memberships as membership_table
from storage import remote_devices as remote_table
from storage.cross_signing import CrossSigningKey
from storage.database import Cursor, Database
from storage.remote_devices import RemoteList
from storage.rows import ChangesMembers, DeviceListRow, Entry, EventRow, MemberChange, StateRow
from storage.statements import Statements

RESYNC_EVERY_S: Final = 30.0
PAGE: Final = 100
MOST_READS: Final = 3
"""How often a list is read at once that changes while it is read."""
READ_AT_ONCE: Final = 8
FIRST_PAUSE_S: Final = 30.0
LONGEST_PAUSE_S: Final = 3600.0
MOST_PAUSED: Final = 10_000
MAX_NAME: Final = 255
MOST_DEVICES: Final = 1_000
"""Devices of one user; a list that is longer is cut."""

log: Final = structlog.get_logger("homeserver.encryption")


class RemoteLists:
    """Keeps and follows the lists."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        ring: Ring,
        remote: RemoteKeys,
        tasks: Tasks,
        clock: Clock,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._writer = writer
        self._remote = remote
        self._tasks = tasks
        self._clock = clock
        self._reading: dict[str, list[Deferred[None]]] = {}
        self._paused: Lru[str, tuple[float, float]] = Lru(MOST_PAUSED)
        """User → when they may be asked for again, and the pause until then, in seconds."""
        self._back: Lru[str, float] = Lru(MOST_PAUSED)
        """Server → when it was heard from after it had failed: pauses from before that are over."""
        self._heard: dict[str, int] = {}
        """Newest stream_id that came while the list of a user was being read."""
        self._keys_heard: set[str] = set()
        """Users of whose keys there was news while their list was being read."""
        self._turns: Turns[str] = Turns()
        self._server_name = server_name
        ring.subscribe(self._published, ChangesMembers)

    # Readers

    async def read(self, wanted: Mapping[str, Sequence[str]], found: FoundKeys) -> Collection[str]:
        """Add what we keep of these users; answers with those whose lists are current."""
        users, fresh = await self._database.read(_read, wanted)
        found.device_keys.update(users.device_keys)
        found.master_keys.update(users.master_keys)
        found.self_signing_keys.update(users.self_signing_keys)
        return fresh

    async def near(self, user_ids: Collection[str]) -> set[str]:
        """Those of some users with whom somebody of ours is in a room: they can be followed."""
        return await self._database.read(remote_table.near_among, list(user_ids), self._server_name)

    async def begin(self, user_ids: Collection[str], timeout_ms: int) -> None:
        """Read the lists of users who are near, and follow them from now on.

        Raises RemoteKeysFailed if not all came in time; what is still under way then goes on, for those who ask later.
        """
        done: Deferred[RemoteKeysFailed | None] = Deferred()

        def finish(failed: RemoteKeysFailed | None) -> None:
            if not done.called:
                done.callback(failed)

        late = RemoteKeysFailed("The other server did not answer in time.")
        timer = self._clock.call_later(timeout_ms / 1000, lambda: finish(late))
        self._tasks.start("read device lists", self._read_several(user_ids, finish))
        try:
            failed = await done
        finally:
            timer.cancel()
        if failed is not None:
            raise failed

    async def _read_several(self, user_ids: Collection[str], finish: Callable[[RemoteKeysFailed | None], None]) -> None:
        """Read lists, some at once, until one fails."""
        waiting = list(user_ids)
        failed: RemoteKeysFailed | None = None

        async def read_on() -> None:
            nonlocal failed
            while waiting and failed is None:
                try:
                    await self._read_anew(waiting.pop())
                except RemoteKeysFailed as error:
                    failed = error

        try:
            await gatherResults([Deferred.fromCoroutine(read_on()) for _ in range(READ_AT_ONCE)], consumeErrors=True)
        except BaseException:
            failed = RemoteKeysFailed("The lists could not be read.")
            raise
        finally:
            finish(failed)

    # What other servers tell

    async def device_changed(self, origin: str, content: JsonObject) -> None:
        """Take an m.device_list_update."""
        user_id, device_id = content.get("user_id"), content.get("device_id")
        stream_id, previous = content.get("stream_id"), content.get("prev_id", [])
        if (
            not _is_user_of(user_id, origin)
            or not _is_name(device_id)
            or not _is_number(stream_id)
            or not isinstance(previous, list)
        ):
            log.info("a device list update makes no sense", origin=origin)
            return
        if user_id in self._reading:
            # What is being read may have been written down before this.
            self._heard[user_id] = max(stream_id, self._heard.get(user_id, stream_id))
        async with self._turns.at(user_id):
            await self._apply(user_id, device_id, stream_id, previous, content)

    async def _apply(
        self, user_id: str, device_id: str, stream_id: int, previous: Sequence[JsonValue], content: JsonObject
    ) -> None:
        """Apply a change to the list that we keep, if it is the next one; else the list is to be read anew."""
        known = (await self._database.read(remote_table.lists_of, [user_id])).get(user_id)
        entry = DeviceListRow(user_id, device_id)
        if known is None:
            # Nobody has asked for this list: readers hear that it changed, and it is read when they ask.
            if await self._is_near(user_id):
                await self._writer.append([entry])
            return
        if known.stream_id is not None and stream_id <= known.stream_id and not known.is_stale:
            return
        if known.is_stale or not _follows(known, previous):
            # Readers hear of it once it is read: until then there is nothing else to be shown.
            await self._writer.append(
                [], also=[lambda tx: remote_table.note(tx, user_id, known.stream_id, is_stale=True)]
            )
            self._tasks.start("read a device list anew", self._try_again(user_id))
            return
        keys, name = content.get("keys"), content.get("device_display_name")
        is_gone = content.get("deleted") is True

        def change(tx: Statements) -> None:
            remote_table.note(tx, user_id, stream_id, is_stale=False)
            if is_gone:
                remote_table.delete_device(tx, user_id, device_id)
            else:
                remote_table.put_device(tx, user_id, device_id, _device_json(user_id, device_id, keys, name))

        await self._writer.append([entry], also=[change])

    async def user_keys_changed(self, origin: str, content: JsonObject) -> None:
        """Take an m.signing_key_update."""
        user_id = content.get("user_id")
        if not _is_user_of(user_id, origin):
            log.info("a signing key update makes no sense", origin=origin)
            return
        if not await self._is_near(user_id):
            return
        if user_id in self._reading:
            # The answer may have been written down before this.
            self._keys_heard.add(user_id)
        held = await self._database.read(cross_signing_table.keys_of, [user_id])
        known = {key.usage: key for key in held}
        given = {key.usage: key for key in _user_keys(user_id, content)}
        new = [key for usage, key in given.items() if usage not in known or known[usage].json != key.json]
        # Another master key makes void what the one before had signed, unless it comes with it.
        is_other = any(
            key.usage == MASTER and MASTER in known and known[MASTER].public_key != key.public_key for key in new
        )
        void = [usage for usage in known if usage not in given] if is_other else []
        if new:
            await self._writer.append(
                [DeviceListRow(user_id)], also=[lambda tx: _put_user_keys(tx, user_id, new, void)]
            )

    # Who is followed

    async def start(self) -> None:
        """Forget those who left while nobody looked. To be called before requests are answered."""
        await self._database.write(remote_table.forget_strangers, self._server_name, None)

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, (EventRow, StateRow)) and any(change.membership != "join" for change in entry.members):
                gone = [change for change in entry.members if change.membership != "join"]
                self._tasks.start("forget device lists", self._forget_strangers(entry.room, gone))

    async def _forget_strangers(self, room: int, gone: Sequence[MemberChange]) -> None:
        """Somebody left a room: with them, or with the last of ours in it, some may be in no room with us any more."""
        if any(change.is_local for change in gone):
            left = await self._database.read(membership_table.joined_of_server, room, self._server_name)
            if not left:
                here = await self._database.read(membership_table.members, room, ("join",))
                await self._database.write(
                    remote_table.forget_strangers, self._server_name, [user_id for user_id, _, _ in here]
                )
        remote = [change.user_id for change in gone if not change.is_local]
        if remote:
            await self._database.write(remote_table.forget_strangers, self._server_name, remote)

    async def _is_near(self, user_id: str) -> bool:
        return await self._database.read(remote_table.is_near, user_id, self._server_name)

    # Reading anew

    async def resync(self, server: str | None = None) -> None:
        """Read the stale lists anew that are due, of one server or of all; called now and then."""
        after = ""
        while users := await self._database.read(remote_table.stale, after, PAGE):
            after = users[-1]
            for user_id in users:
                if server is None or server_name_of(user_id) == server:
                    await self._try_again(user_id)

    def is_back(self, server: str) -> None:
        """A server is heard from that had failed: what is stale of its users is read at once."""
        self._back.put(server, self._clock.monotonic_s())
        self._tasks.start("read device lists of a server that is back", self.resync(server))

    async def _try_again(self, user_id: str) -> None:
        try:
            await self._read_anew(user_id)
        except RemoteKeysFailed as error:
            log.info("a device list could not be read anew", user=user_id, reason=str(error))

    async def _read_anew(self, user_id: str) -> None:
        """Read a list, once for all who want it at the same time. Raises RemoteKeysFailed."""
        waiting = self._reading.get(user_id)
        if waiting is not None:
            turn: Deferred[None] = Deferred()
            waiting.append(turn)
            await turn
            return
        due_s, pause_s = self._paused.get(user_id) or (0.0, 0.0)
        was_back_s = self._back.get(server_name_of(user_id))
        if was_back_s is not None and was_back_s > due_s - pause_s:
            due_s, pause_s = 0.0, 0.0
        if self._clock.monotonic_s() < due_s:
            raise RemoteKeysFailed("The other server did not answer lately; it will be asked again later.")
        waiting = self._reading[user_id] = []
        failed: RemoteKeysFailed | None = None
        try:
            for _ in range(MOST_READS):
                self._keys_heard.discard(user_id)
                answer = await self._remote.devices(user_id)
                heard = self._heard.pop(user_id, 0)
                async with self._turns.at(user_id):
                    is_current = await self._keep(user_id, answer, heard)
                if is_current and user_id not in self._keys_heard:
                    break
            self._paused.discard(user_id)
        except RemoteKeysFailed as error:
            pause_s = min(max(FIRST_PAUSE_S, pause_s * 2), LONGEST_PAUSE_S)
            self._paused.put(user_id, (self._clock.monotonic_s() + pause_s, pause_s))
            failed = error
            raise
        finally:
            del self._reading[user_id]
            self._heard.pop(user_id, None)
            self._keys_heard.discard(user_id)
            for turn in waiting:
                if failed is None:
                    turn.callback(None)
                else:
                    turn.errback(failed)

    async def _keep(self, user_id: str, answer: JsonObject, heard: int) -> bool:
        """Keep a list; False if there was news of something newer in the meantime."""
        stream_id, devices = answer.get("stream_id"), answer.get("devices")
        if not isinstance(devices, list) or not _is_number(stream_id):
            raise RemoteKeysFailed("The other server's list of devices makes no sense.")
        kept: dict[str, bytes] = {}
        for device in devices[:MOST_DEVICES]:
            device_id = device.get("device_id") if isinstance(device, dict) else None
            if isinstance(device, dict) and _is_name(device_id):
                name = device.get("device_display_name")
                kept[device_id] = _device_json(user_id, device_id, device.get("keys"), name)
        keys = _user_keys(user_id, answer)
        void = {MASTER, SELF_SIGNING} - {key.usage for key in keys}

        def change(tx: Statements) -> None:
            remote_table.replace(tx, user_id, stream_id, kept, is_stale=heard > stream_id)
            _put_user_keys(tx, user_id, keys, void)

        # Who asks for a list for the first time has the answer; one that is read anew is news to those who have it.
        known = await self._database.read(remote_table.lists_of, [user_id])
        await self._writer.append([DeviceListRow(user_id)] if known else [], also=[change])
        return heard <= stream_id


def _follows(known: RemoteList, previous: Sequence[JsonValue]) -> bool:
    """Whether we have all that an update builds upon."""
    if known.stream_id is None:
        return False
    return bool(previous) and all(isinstance(each, int) and each <= known.stream_id for each in previous)


def _is_user_of(value: JsonValue, origin: str) -> TypeGuard[str]:
    """Whether this is the id of a user of that server: it speaks for nobody else."""
    try:
        return isinstance(value, str) and server_name_of(parse_user_id(value)) == origin
    except InvalidId:
        return False


def _is_name(value: JsonValue) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= MAX_NAME and "\0" not in value


def _is_number(value: JsonValue) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER


def _device_json(user_id: str, device_id: str, keys: JsonValue, name: JsonValue) -> bytes:
    """What is kept of a device; `{}` where it has no keys, or keys that claim to be of another device."""
    if not isinstance(keys, dict) or keys.get("user_id") != user_id or keys.get("device_id") != device_id:
        return b"{}"
    unsigned: JsonObject = {"device_display_name": name} if isinstance(name, str) else {}
    value: JsonObject = {**of_own(keys, user_id), **({"unsigned": unsigned} if unsigned else {})}
    try:
        return canonical_json.encode(value)
    except NotCanonical:
        return b"{}"


def _user_keys(user_id: str, content: JsonObject) -> list[CrossSigningKey]:
    """The master key and the self-signing key that another server tells of, as far as they are in order."""
    found = []
    for usage in (MASTER, SELF_SIGNING):
        value = content.get(f"{usage}_key")
        if isinstance(value, dict):
            try:
                key = check_user_key(value, user_id, usage)
            except BadKeys as error:
                log.info("a cross-signing key makes no sense", user=user_id, reason=str(error))
            else:
                found.append(CrossSigningKey(user_id, usage, key.public_key, key.json))
    return found


def _put_user_keys(tx: Statements, user_id: str, keys: Sequence[CrossSigningKey], void: Collection[str]) -> None:
    if void:
        cross_signing_table.delete_keys(tx, user_id, sorted(void))
    for key in keys:
        cross_signing_table.put_key(tx, key)


def _read(tx: Cursor, wanted: Mapping[str, Sequence[str]]) -> tuple[FoundKeys, set[str]]:
    """What we keep of some users, and whose lists are current."""
    lists = remote_table.lists_of(tx, list(wanted))
    fresh = {user_id for user_id, kept in lists.items() if not kept.is_stale}
    found = FoundKeys()
    if not lists:
        return found, fresh
    # Also of users without devices: clients forget those that they knew only if they are told.
    found.device_keys.update((user_id, {}) for user_id in lists)
    # A stale list is better than none, should its server not answer.
    for user_id, device_id, json in remote_table.devices_of(tx, list(lists)):
        devices = found.device_keys.setdefault(user_id, {})
        if isinstance(devices, dict) and json != b"{}" and (not wanted[user_id] or device_id in wanted[user_id]):
            devices[device_id] = canonical_json.decode_object(json)
    add_user_keys(tx, found, list(lists), {}, None)
    return found, fresh
