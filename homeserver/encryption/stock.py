"""The one-time keys of local devices, given out from memory, each of them once.

This is their owner: which key somebody gets is decided here at once, and is written with the log before they get it.
Devices that nobody asks for are forgotten, and read again when somebody does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import msgspec
from twisted.internet.defer import Deferred

from homeserver.runtime.log import Ring, Writer
from homeserver.runtime.lru import Lru
from storage import one_time_keys as one_time_key_table
from storage.database import Cursor, Database
from storage.one_time_keys import Given, KeyBatch, KeyChanged, NewKey
from storage.rows import Entry, KeyCountsRow
from storage.statements import Statements

MEMORY_BYTES: Final = 32 * 1024 * 1024
GIVEN_KEPT: Final = 200
"""Keys of a device that are remembered at least, after they were given out."""
_KEY_WEIGHT: Final = 150
"""What a key takes in memory besides its JSON, in bytes."""

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Batch:
    """Keys of one algorithm that came together. Until they are written, nobody gets them."""

    number: int
    algorithm: str
    keys: Mapping[str, msgspec.Raw]
    given: int
    is_written: bool
    order: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.order = tuple(self.keys)

    @property
    def left(self) -> int:
        """How many are not given out."""
        return len(self.keys) - self.given

    def has_given(self, key_id: str) -> bool:
        """Whether this one of the keys is given out."""
        return key_id in self.order[: self.given]


class Taken(NamedTuple):
    """A key that is given out, the upload it is from, and how many of that are given out now."""

    name: str
    json: msgspec.Raw
    number: int
    given: int


class HeldKeys:
    """The one-time keys of one device, in the order of upload."""

    __slots__ = ("__weakref__", "_batches", "device", "weight_bytes")

    weight_bytes: int
    """What they took in memory when they were last weighed."""

    def __init__(self, device: int, batches: Iterable[KeyBatch]) -> None:
        self.device = device
        self._batches = [_Batch(each.number, each.algorithm, each.keys, each.given, True) for each in batches]
        self.weight_bytes = 0

    def counts(self) -> dict[str, int]:
        """How many keys are left, by algorithm."""
        found: dict[str, int] = {}
        for batch in self._batches:
            if batch.left and batch.is_written:
                found[batch.algorithm] = found.get(batch.algorithm, 0) + batch.left
        return dict(sorted(found.items()))

    @property
    def left(self) -> int:
        """How many keys are left, those included that are being written."""
        return sum(batch.left for batch in self._batches)

    def new_of(self, keys: Sequence[NewKey]) -> Sequence[NewKey]:
        """Those that were not uploaded before. Raises KeyChanged where another one waits under the same id."""
        if not self._batches:
            return keys
        return [key for key in keys if not self._has(key)]

    def add(self, keys: Sequence[NewKey]) -> list[_Batch]:
        """Take new keys in."""
        number = self._batches[-1].number if self._batches else 0
        added = [
            _Batch(each.number, each.algorithm, each.keys, 0, False)
            for each in one_time_key_table.batches(number, keys)
        ]
        self._batches += added
        return added

    def remove(self, batches: Sequence[_Batch]) -> None:
        """Forget keys that could not be written, or that are given out."""
        self._batches = [batch for batch in self._batches if batch not in batches]

    def take(self, algorithm: str) -> Taken | None:
        """Give the oldest key out."""
        for batch in self._batches:
            given = batch.given
            if batch.algorithm == algorithm and batch.is_written and given < len(batch.order):
                key_id = batch.order[given]
                batch.given = given + 1
                return Taken(f"{algorithm}:{key_id}", batch.keys[key_id], batch.number, given + 1)
        return None

    def used_up(self) -> list[_Batch]:
        """What need not be remembered any more."""
        remembered = 0
        found = []
        for batch in reversed(self._batches):
            if remembered >= GIVEN_KEPT and not batch.left:
                found.append(batch)
            remembered += batch.given
        return found

    def _has(self, key: NewKey) -> bool:
        is_same = False
        for batch in self._batches:
            json = batch.keys.get(key.key_id) if batch.algorithm == key.algorithm else None
            if json is not None:
                is_same = bytes(json) == key.json
                if not is_same and not batch.has_given(key.key_id):
                    raise KeyChanged(key)
        return is_same

    def weigh(self) -> None:
        """Set `weight_bytes`."""
        self.weight_bytes = 500 + sum(
            len(batch.keys) * _KEY_WEIGHT + sum(map(len, map(bytes, batch.keys.values()))) for batch in self._batches
        )


class OneTimeKeyStock:
    """Takes one-time keys of local devices in and gives them out."""

    def __init__(self, database: Database, writer: Writer, ring: Ring, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._database = database
        self._writer = writer
        self._recent: Lru[int, HeldKeys] = Lru(memory_bytes, lambda _, held: held.weight_bytes)
        # What is being written is held by the log at least, so that nothing older is read in the meantime.
        self._alive: WeakValueDictionary[int, HeldKeys] = WeakValueDictionary()
        self._loading: dict[int, list[Deferred[None]]] = {}
        self._unwritten: dict[Entry, tuple[HeldKeys, list[_Batch]]] = {}
        ring.subscribe(self._published, KeyCountsRow)
        writer.on_failure(self._not_written)

    def of(self, device: int) -> HeldKeys | None:
        """The keys of a device, if they are in memory."""
        return self._recent.get(device) or self._alive.get(device)

    def begin(self, device: int) -> HeldKeys | None:
        """The keys of a device that has never uploaded any: none. None: this device's keys are being read just now."""
        held = self.of(device)
        if held is None and device not in self._loading:
            held = HeldKeys(device, ())
            self._keep(held)
        return held

    async def load(self, devices: Iterable[int]) -> dict[int, HeldKeys]:
        """The keys of some devices, read where they are not in memory."""
        found, _ = await self.load_beside(devices, None)
        return found

    async def load_beside(
        self, devices: Iterable[int], work: Callable[[Cursor], T] | None
    ) -> tuple[dict[int, HeldKeys], T | None]:
        """The same, with some other work done on the way to the database; its result."""
        found: dict[int, HeldKeys] = {}
        result: T | None = None
        missing = list(self._not_in_memory(devices, found))
        while missing or work is not None:
            asked = [device for device in missing if device not in self._loading]
            if not asked and work is None:
                turn: Deferred[None] = Deferred()
                self._loading[missing[0]].append(turn)
                await turn
            else:
                result = await self._read(asked, work, found)
                work = None
            missing = list(self._not_in_memory(missing, found))
        return found, result

    def add(self, user_id: str, held: HeldKeys, keys: Sequence[NewKey]) -> tuple[Entry, Callable[[Statements], None]]:
        """Take new keys in. The entry and the statements are to be appended to the log, as they are, and at once."""
        added = held.add(keys)
        used_up = held.used_up()
        held.remove(used_up)
        self._keep(held)
        entry = KeyCountsRow({held.device: user_id})
        self._unwritten[entry] = held, added

        def write(tx: Statements) -> None:
            if used_up:
                one_time_key_table.forget(tx, held.device, [batch.number for batch in used_up])
            one_time_key_table.insert(
                tx, held.device, [KeyBatch(batch.number, batch.algorithm, batch.keys) for batch in added]
            )

        return entry, write

    async def give(self, users: Mapping[int, str], given: Sequence[Given], held: Mapping[int, HeldKeys]) -> None:
        """Write down what was taken, before anybody gets it. `users`: those of the devices."""
        # Of an upload from which several were taken, the last count holds.
        last = {(device, number): count for device, number, count in given}
        writing = _Giving([(*of, count) for of, count in last.items()], held)
        await self._writer.append([KeyCountsRow(users)], also=[writing])

    def _not_in_memory(self, devices: Iterable[int], found: dict[int, HeldKeys]) -> Iterator[int]:
        for device in devices:
            held = self.of(device)
            if held is None:
                yield device
            else:
                found[device] = held

    async def _read(
        self, devices: Sequence[int], work: Callable[[Cursor], T] | None, found: dict[int, HeldKeys]
    ) -> T | None:
        waiting: list[Deferred[None]] = []
        self._loading.update(dict.fromkeys(devices, waiting))
        try:
            read, result = await self._database.read(_read, devices, work)
            for device, batches in read.items():
                held = found[device] = HeldKeys(device, batches)
                self._keep(held)
        finally:
            for device in devices:
                del self._loading[device]
            for turn in waiting:
                turn.callback(None)
        return result

    def _keep(self, held: HeldKeys) -> None:
        self._alive[held.device] = held
        self._recent.discard(held.device)
        held.weigh()
        self._recent.put(held.device, held)

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries if self._unwritten else ():
            _, added = self._unwritten.pop(entry, (None, ()))
            for batch in added:
                batch.is_written = True

    def _not_written(self, entries: Sequence[Entry]) -> None:
        for entry in entries if self._unwritten else ():
            held, added = self._unwritten.pop(entry, (None, ()))
            if held is not None:
                held.remove(added)


@dataclass(frozen=True, slots=True)
class _Giving:
    """Writes down what was taken. For as long as this waits it holds the keys, so that nobody reads them anew."""

    given: Sequence[Given]
    held: Mapping[int, HeldKeys]

    def __call__(self, tx: Statements) -> None:
        one_time_key_table.give(tx, self.given)


def _read(
    tx: Cursor, devices: Sequence[int], work: Callable[[Cursor], T] | None
) -> tuple[dict[int, list[KeyBatch]], T | None]:
    held = one_time_key_table.of_devices(tx, devices) if devices else {}
    return held, None if work is None else work(tx)
