"""The key ring: whose signatures are good. Keys come from memory, the table, the server itself, and notaries.

Specification: server-server API, "Retrieving server keys", "Validating hashes and signatures on received events";
rooms/v5, "Signing key validity period".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast

import msgspec

from federation.outbound.key_fetch import KeyFetcher, side_by_side
from federation.outbound.own_keys import OwnKeys
from federation.outbound.signature_checks import SignatureChecks
from federation.outbound.waiting import Together
from homeserver.core import backoff, canonical_json, signatures
from homeserver.core.backoff import Backoff
from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.core.received import Received
from homeserver.core.room_rules import RoomRules
from homeserver.core.server_keys import ServerKeys, VerifyKey, may_sign_at, may_sign_event, merged
from homeserver.core.signatures import BadSignature, KeysAway
from homeserver.runtime.clock import Clock
from homeserver.runtime.lru import Lru
from storage import server_keys as table
from storage.database import Database
from storage.server_keys import KeyResponse

KEPT_SERVERS: Final = 20_000
NOTARIES_FIRST_FROM: Final = 10
"""So many servers at once are asked for at the notaries first: many of them are gone for good."""
INLINE_EVENTS: Final = 20
ASK_AGAIN_MS: Final = 60_000
"""After an answer that did not have the key. Who invents key ids must not have us ask for each."""
FAILED: Final = Backoff(first_ms=5_000, longest_ms=600_000, jitter=0)


class Need(msgspec.Struct, frozen=True):
    """A signature that must be checked: by a server, with one of these keys, on something of this time."""

    server: str
    key_ids: tuple[str, ...]
    valid_until_ts: int
    rules: RoomRules | None = None
    """The room version, for an event; None for what is no event, where only keys in use count."""

    def usable(self, key: VerifyKey) -> bool:
        """Whether this key may be used."""
        if self.rules is None:
            return may_sign_at(key, self.valid_until_ts)
        return may_sign_event(key, self.valid_until_ts, self.rules)

    def keys_from(self, known: Mapping[str, VerifyKey]) -> list[VerifyKey]:
        """Those of the known keys that may be used."""
        found = []
        for key_id in self.key_ids:
            key = known.get(key_id)
            if key is not None and self.usable(key):
                found.append(key)
        return found


@dataclass(slots=True)
class _Server:
    """What is known of a server's keys, and when they were asked for last."""

    keys: dict[str, VerifyKey] = field(default_factory=dict)
    asked_ms: int | None = None
    failures: int = 0
    must_ask: bool = False

    def ask_again_ms(self, must_ask: bool) -> int:
        """When the server may be asked again."""
        if self.asked_ms is None:
            return 0
        if not self.failures:
            return self.asked_ms + ASK_AGAIN_MS
        return self.asked_ms + backoff.delay_ms(FAILED, 1 if must_ask else self.failures, 0)


class KeyRing:
    """Checks signatures of servers."""

    def __init__(
        self,
        own: OwnKeys,
        fetcher: KeyFetcher,
        checks: SignatureChecks,
        database: Database,
        clock: Clock,
        notaries: Sequence[str] = (),
    ) -> None:
        self._own = own
        self._server = own.server
        self._fetcher = fetcher
        self._checks = checks
        self._database = database
        self._clock = clock
        self._notaries = [notary for notary in notaries if notary != own.server]
        self._servers: Lru[str, _Server] = Lru(KEPT_SERVERS)
        self._ask_owner = Together(self._from_owner)

    async def verify_events(self, events: Sequence[Event], *, asks: bool = True) -> list[BadSignature | None]:
        """For each event, None if all servers that must have signed it did, and else what is wrong.

        KeysAway where that may come out another time. Not `asks`: no other server is waited for.
        """
        reads = [partial(_as_received, event) for event in events]
        received = [read() for read in reads] if len(reads) <= INLINE_EVENTS else await self._checks.all(reads)
        return await self.verify_received(received, asks=asks)

    async def verify_received(self, received: Sequence[Received], *, asks: bool = True) -> list[BadSignature | None]:
        """The same for events as they were received."""
        needs = [_needs_of(each) for each in received]
        work, unmet = self._work_on(received, needs)
        if unmet:
            if asks:
                await self._gather(unmet)
            else:
                await self._load([need.server for need in unmet])
            work, _ = self._work_on(received, needs)
        return await self._checks.all(work)

    def _work_on(
        self, received: Sequence[Received], needs: Sequence[list[Need] | BadSignature]
    ) -> tuple[list[Callable[[], BadSignature | None]], list[Need]]:
        """What checks each event with the keys that are known now, and for what there is none."""
        work: list[Callable[[], BadSignature | None]] = []
        unmet: list[Need] = []
        for each, found in zip(received, needs, strict=True):
            if isinstance(found, BadSignature):
                work.append(partial(_same, found))
                continue
            candidates = []
            for need in found:
                keys = need.keys_from(self._known(need.server))
                if not keys:
                    unmet.append(need)
                candidates.append(_Candidates(need, keys, not keys and self._may_come(need.server)))
            work.append(partial(_check_event, each, candidates))
        return work, unmet

    async def get_keys_of(self, events: Sequence[Event]) -> None:
        """Ask for the keys that these events are signed with, also servers that were away a moment ago."""
        found = [_needs_of(_as_received(event)) for event in events]
        await self._gather([need for needs in found if isinstance(needs, list) for need in needs], must_ask=True)

    async def verify_json(self, server: str, value: JsonObject, minimum_valid_until_ts: int | None = None) -> None:
        """Raise BadSignature unless the server signed the object with a key that is valid up to then (None: now)."""
        key_ids = signatures.key_ids_of(value, server)
        if not key_ids:
            raise BadSignature(f"there is no signature of {server}")
        by_server = cast("dict[str, dict[str, str]]", value["signatures"])[server]  # key_ids_of has looked at both
        signed_with = {key_id: by_server[key_id] for key_id in key_ids}
        try:
            message = signatures.signed_bytes(value)
        except canonical_json.NotCanonical as error:
            raise BadSignature(f"what is signed has no canonical form: {error}") from None
        await self.verify_bytes(server, signed_with, message, minimum_valid_until_ts)

    async def verify_bytes(
        self, server: str, signed_with: Mapping[str, str], message: bytes, minimum_valid_until_ts: int | None = None
    ) -> None:
        """The same for bytes; `signed_with` maps key ids to signatures, of which one must hold."""
        if not await self.holds(server, signed_with, message, minimum_valid_until_ts):
            raise BadSignature(f"the signature of {server} does not match")

    async def holds(
        self, server: str, signed_with: Mapping[str, str], message: bytes, minimum_valid_until_ts: int | None = None
    ) -> bool:
        """Whether one of the signatures holds. Raises BadSignature where no key can be found to tell."""
        until_ts = self._clock.now_ms() if minimum_valid_until_ts is None else minimum_valid_until_ts
        need = Need(server, tuple(signed_with), until_ts)
        keys = need.keys_from(self._known(server))
        if not keys:
            await self._gather([need], must_ask=True)
            keys = need.keys_from(self._known(server))
        if not keys:
            raise BadSignature(f"{server} has no valid key {' or '.join(need.key_ids)}, as far as can be found out")
        # At once: one signature is checked before a thread could begin with it.
        return _any_holds(message, [(signed_with[key.key_id], key.key_base64) for key in keys])

    async def fetch(self, server: str) -> None:
        """Ask a server for its keys now, unless that was done just before; for those to whom we are a notary."""
        await self._load([server])
        await self._ask_owner(server)

    def _known(self, server: str) -> Mapping[str, VerifyKey]:
        if server == self._server:
            return self._own.verify_keys()
        entry = self._servers.get(server)
        return {} if entry is None else entry.keys

    def _may_come(self, server: str) -> bool:
        """Whether keys of this server that are not known may come to be known soon."""
        if server == self._server:
            return False
        entry = self._servers.get(server) or _Server()
        return entry.failures > 0 or entry.ask_again_ms(must_ask=False) <= self._clock.now_ms()

    async def _gather(self, needs: Sequence[Need], *, must_ask: bool = False) -> None:
        """Get the keys for these needs, as far as they are to be had. `must_ask`: also of servers that were away."""
        unmet = self._unmet(needs)
        if not unmet:
            return
        await self._load([need.server for need in unmet])
        unmet = self._unmet(unmet)
        if not unmet:
            return
        for need in unmet:
            self._entry(need.server).must_ask |= must_ask
        if len({need.server for need in unmet}) >= NOTARIES_FIRST_FROM:
            await self._from_notaries(unmet)
            unmet = self._unmet(unmet)
            await side_by_side([self._ask_owner(server) for server in {need.server for need in unmet}])
        else:
            await side_by_side([self._ask_owner(server) for server in {need.server for need in unmet}])
            await self._from_notaries(self._unmet(unmet))

    def _unmet(self, needs: Sequence[Need]) -> list[Need]:
        return [need for need in needs if need.key_ids and not need.keys_from(self._known(need.server))]

    def _entry(self, server: str) -> _Server:
        entry = self._servers.get(server)
        if entry is None:
            entry = _Server()
            self._servers.put(server, entry)
        return entry

    async def _load(self, servers: Sequence[str]) -> None:
        """From the table, what is not in memory."""
        absent = [server for server in set(servers) if server not in self._servers and server != self._server]
        if not absent:
            return
        rows = await self._database.read(table.load, absent)
        for server in absent:
            self._entry(server)
        for server, key in rows:
            self._entry(server).keys.setdefault(key.key_id, key)

    async def _from_owner(self, server: str) -> None:
        if server == self._server:
            return
        entry = self._entry(server)
        must_ask, entry.must_ask = entry.must_ask, False
        if entry.ask_again_ms(must_ask) > self._clock.now_ms():
            return
        found = await self._fetcher.from_owner(server, ignore_backoff=must_ask)
        entry = self._entry(server)
        entry.asked_ms = self._clock.now_ms()
        if found is None:
            entry.failures += 1
        else:
            entry.failures = 0
            await self._remember([found], from_owner=True)

    async def _from_notaries(self, unmet: Sequence[Need]) -> None:
        """Ask one notary after the other for what is still missing. A notary's own key comes from itself alone."""
        for notary in self._notaries:
            wanted: dict[str, dict[str, int]] = {}
            for need in self._unmet(unmet):
                if need.server not in self._notaries and need.server != self._server:
                    key_ids = wanted.setdefault(need.server, {})
                    for key_id in need.key_ids:
                        key_ids[key_id] = max(key_ids.get(key_id, 0), need.valid_until_ts)
            if not wanted:
                return
            found = await self._fetcher.from_notary(notary, wanted, self.verify_json)
            await self._remember(found, from_owner=False)

    async def _remember(self, found: Sequence[ServerKeys], *, from_owner: bool) -> None:
        if not found:
            return
        now_ms = self._clock.now_ms()
        changed: list[tuple[str, VerifyKey]] = []
        responses: list[KeyResponse] = []
        for heard in found:
            entry = self._entry(heard.server)
            for key in heard.keys:
                kept = merged(entry.keys.get(key.key_id), key, from_owner=from_owner)
                entry.keys[key.key_id] = kept
                changed.append((heard.server, kept))
            responses.append(
                KeyResponse(
                    heard.server,
                    tuple(key.key_id for key in heard.keys),
                    canonical_json.encode_lenient(heard.published),
                    heard.valid_until_ts,
                    now_ms,
                )
            )
        latest = {(server, key.key_id): (server, key) for server, key in changed}
        await self._database.write(table.store, list(latest.values()), responses)


class _Candidates(msgspec.Struct, frozen=True):
    """A signature that must be checked, and the keys that it may be by."""

    need: Need
    keys: Sequence[VerifyKey]
    may_come: bool
    """Whether a key that is not known now may be to be had later."""


def _as_received(event: Event) -> Received:
    """An event that is at hand, with what must be known of it to check its signatures."""
    pdu = event.to_pdu()
    # The signatures were looked at when the event was parsed, and it had a canonical form then.
    by_server = cast("dict[str, dict[str, str]]", pdu["signatures"])
    return Received(event, signatures.event_signed_bytes(event), by_server)


def _needs_of(received: Received) -> list[Need] | BadSignature:
    """The signatures that an event must have."""
    event = received.event
    try:
        servers = signatures.servers_that_must_sign(event)
    except BadSignature as error:
        return error
    needs = []
    for server in servers:
        key_ids = [key_id for key_id in received.signatures.get(server, ()) if key_id.startswith("ed25519:")]
        if not key_ids:
            return BadSignature(f"{event.event_id} has no signature of {server}")
        needs.append(Need(server, tuple(key_ids), event.origin_server_ts, event.rules))
    return needs


def _check_event(received: Received, candidates: Sequence[_Candidates]) -> BadSignature | None:
    """What is wrong with the signatures of an event. Signatures with unknown or expired keys are skipped."""
    event_id = received.event.event_id
    away: KeysAway | None = None
    for each in candidates:
        need = each.need
        if not each.keys:
            what = (
                f"{event_id} is signed by {need.server} with {' and '.join(need.key_ids)}, of which no key "
                f"that was valid at {need.valid_until_ts} can be found"
            )
            if not each.may_come:
                return BadSignature(what)
            away = away or KeysAway(f"{what} now")
            continue
        signed_with = received.signatures[need.server]
        if not _any_holds(received.signed, [(signed_with[key.key_id], key.key_base64) for key in each.keys]):
            return BadSignature(f"the signature of {need.server} on {event_id} does not match")
    return away


def _any_holds(message: bytes, pairs: Sequence[tuple[str, str]]) -> bool:
    for signature, key in pairs:  # noqa: SIM110 -- on the way of every event, where a generator costs its part
        if signatures.verify_bytes(message, signature, key):
            return True
    return False


def _same(error: BadSignature) -> BadSignature:
    return error
