"""Keys of other servers for those who ask us: as a notary, with our signature added.

Specification: server-server API, "Querying Keys Through Another Server"; GET and POST /_matrix/key/v2/query.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from federation.outbound.key_fetch import side_by_side
from federation.outbound.keyring import KeyRing
from federation.outbound.own_keys import OwnKeys
from federation.outbound.signature_checks import SignatureChecks
from federation.outbound.waiting import Lanes
from homeserver.core.canonical_json import JsonObject, decode_object
from homeserver.core.ids import InvalidId, parse_server_name
from homeserver.runtime.clock import Clock
from storage import server_keys as table
from storage.database import Database
from storage.server_keys import KeyResponse

MAX_SERVERS: Final = 200
"""Of one query; what is beyond is not answered, and may be asked again."""

FETCHES_AT_ONCE: Final = 20
"""What strangers have us fetch must not get in the way of what our users need."""
_LANE: Final = "notary"


class Notary:
    """Answers with the newest responses that are known."""

    def __init__(self, own: OwnKeys, ring: KeyRing, checks: SignatureChecks, database: Database, clock: Clock) -> None:
        self._own = own
        self._ring = ring
        self._checks = checks
        self._database = database
        self._clock = clock
        self._lanes = Lanes(FETCHES_AT_ONCE, FETCHES_AT_ONCE)

    async def query(
        self, asked: Mapping[str, Mapping[str, int | None]], until_ts: int | None = None
    ) -> list[JsonObject]:
        """Responses of these servers, signed by us too; servers of which nothing is known are left out.

        For each server: key ids, and how long each must be valid (None: now). No key ids: all, valid up to `until_ts`.
        """
        answers: dict[str, list[JsonObject]] = {}

        async def answer(server: str, key_ids: Mapping[str, int | None]) -> None:
            answers[server] = await self._of(server, key_ids, until_ts)

        chosen = [(server, key_ids) for server, key_ids in asked.items() if _is_server_name(server)][:MAX_SERVERS]
        await side_by_side([answer(server, key_ids) for server, key_ids in chosen])
        return [response for server, _ in chosen for response in answers[server]]

    async def _of(self, server: str, key_ids: Mapping[str, int | None], until_ts: int | None) -> list[JsonObject]:
        if server == self._own.server:
            return [self._own.published()]
        known = await self._database.read(table.responses_of, server)
        if not self._suffices(known, key_ids, until_ts):
            await self._lanes.enter(_LANE)
            try:
                await self._ring.fetch(server)
            finally:
                self._lanes.leave(_LANE)
            known = await self._database.read(table.responses_of, server)
        if key_ids:
            known = [response for response in known if not key_ids.keys().isdisjoint(response.key_ids)] or known
        return await self._checks.all([partial(_signed, self._own, response) for response in known])

    def _suffices(self, known: list[KeyResponse], key_ids: Mapping[str, int | None], until_ts: int | None) -> bool:
        """Whether what is known answers the query."""
        now_ms = self._clock.now_ms()
        if not key_ids:
            return any(_will_do(response, now_ms, until_ts) for response in known)
        return all(
            any(key_id in response.key_ids and _will_do(response, now_ms, key_until_ts) for response in known)
            for key_id, key_until_ts in key_ids.items()
        )


def _will_do(response: KeyResponse, now_ms: int, until_ts: int | None) -> bool:
    """Whether a response is valid for as long as is asked, and not past half of its life.

    GET /_matrix/key/v2/server: notaries should cache a response for half of its lifetime.
    """
    is_fresh = now_ms < (response.fetched_ts + response.valid_until_ts) // 2
    return is_fresh and response.valid_until_ts >= (now_ms if until_ts is None else until_ts)


def _is_server_name(text: str) -> bool:
    try:
        parse_server_name(text)
    except InvalidId:
        return False
    return True


def _signed(own: OwnKeys, response: KeyResponse) -> JsonObject:
    return own.sign(decode_object(response.json))
