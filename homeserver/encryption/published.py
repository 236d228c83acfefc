"""The public keys of local users as everybody sees them, encoded once until they change.

What only some see (signatures on keys of others, for who made them) is read each time, see `local_keys`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from homeserver.encryption.local_keys import PublishedKeys, read_published
from homeserver.runtime.log import Ring
from homeserver.runtime.remembered import Remembered
from storage import cross_signing as cross_signing_table
from storage.database import Cursor, Database
from storage.rows import DeviceListRow, Entry, SignedOthersRow

MEMORY_BYTES: Final = 32 * 1024 * 1024
MOST_SIGNERS: Final = 20_000

Answer = dict[str, dict[str, object]]
"""The sections of an answer of /keys/query, each with users."""


@dataclass(frozen=True, slots=True)
class _Signed:
    """Whose keys a user has signed."""

    user_ids: frozenset[str]


class PublishedKeysCache:
    """A follower of the ring, which tells of each change of a user's devices and keys."""

    def __init__(self, database: Database, ring: Ring) -> None:
        self._database = database
        self._users: Remembered[str, PublishedKeys] = Remembered(MEMORY_BYTES, lambda _, keys: keys.weight_bytes)
        self._signed: Remembered[str, _Signed] = Remembered(MOST_SIGNERS)
        ring.subscribe(self._published, DeviceListRow, SignedOthersRow)

    async def of(self, user_ids: Collection[str]) -> Mapping[str, PublishedKeys]:
        """The keys of those users that there are."""
        return await self._users.of(user_ids, lambda missing: self._database.read(read_published, missing))

    async def signed_by(self, signer: str) -> frozenset[str]:
        """The other users whose keys a user has signed, or had signed."""

        def read(tx: Cursor, _: Sequence[str]) -> dict[str, _Signed]:
            return {signer: _Signed(frozenset(cross_signing_table.signed_others(tx, signer, -1)))}

        found = await self._signed.of([signer], lambda missing: self._database.read(read, missing))
        return found[signer].user_ids

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, DeviceListRow):
                self._users.changed(entry.user_id)
            elif isinstance(entry, SignedOthersRow):
                self._signed.changed(entry.user_id)


def add_published(answer: Answer, keys: Mapping[str, PublishedKeys], wanted: Mapping[str, Sequence[str]]) -> None:
    """Add the keys of users to an answer; of the devices that are named, or of all."""
    devices, masters, self_signing = answer["device_keys"], answer["master_keys"], answer["self_signing_keys"]
    for user_id, published in keys.items():
        names = wanted[user_id]
        if names:
            devices[user_id] = {name: json for name in names if (json := published.devices.get(name)) is not None}
        else:
            devices[user_id] = published.all_devices
        if published.master is not None:
            masters[user_id] = published.master
        if published.self_signing is not None:
            self_signing[user_id] = published.self_signing
