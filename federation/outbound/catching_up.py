"""What a server gets that was away: the latest events of each room that it is in, not all that it has missed.

With the latest ones it finds the others by itself (server-server API, "Backfilling and retrieving missing events").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from federation.outbound.edus import MOST_EDUS, ReceiptKey, ReceiptNotice, receipt_edus
from federation.outbound.errors import RemoteRefused
from federation.outbound.news import MissedNews
from federation.outbound.transactions import MOST_PDUS, Transactions
from homeserver.core.ids import ServerName, server_name_of
from storage import receipts, rooms, sending
from storage.database import Cursor, Database
from storage.rows import EventRow, ReceiptRow

LATEST_PER_ROOM: Final = 100
ROOMS_AT_ONCE: Final = 20


class CatchingUp:
    """Sends a server what it has missed."""

    def __init__(self, database: Database, transactions: Transactions, server_name: ServerName) -> None:
        self._database = database
        self._transactions = transactions
        self._server_name = server_name
        self._news: list[MissedNews] = []

    def tell(self, news: MissedNews) -> None:
        """Tell servers this too."""
        self._news.append(news)

    async def __call__(self, server: str, after: int, upto: int) -> None:
        """Send what came in (after, upto]. Raises RemoteError; what was sent by then may come again."""
        # Keys go before what is encrypted with them.
        while messages := await self._database.read(sending.messages_to, server, upto, MOST_EDUS):
            await self._send(server, (), [edu for _, edu in messages])
            await self._database.write(sending.delete_messages, {server: messages[-1][0]})
        missed = await self._database.read(sending.rooms_with_news, server, after)
        for start in range(0, len(missed), ROOMS_AT_ONCE):
            page = missed[start : start + ROOMS_AT_ONCE]
            rows = await self._database.read(self._events, page, after, upto)
            for first in range(0, len(rows), MOST_PDUS):
                await self._send(server, [row.event.json for row in rows[first : first + MOST_PDUS]], ())
        edus = await self._database.read(self._receipts, server, after, upto)
        for news in self._news:
            edus += await news(server, after, upto)
        for first in range(0, len(edus), MOST_EDUS):
            await self._send(server, (), edus[first : first + MOST_EDUS])

    async def _send(self, server: str, pdus: Sequence[bytes], edus: Sequence[bytes]) -> None:
        try:
            await self._transactions.send(server, pdus, edus)
        except RemoteRefused as refusal:
            if refusal.status in (401, 404, 408, 429) or refusal.status >= 500:
                raise

    def _events(self, tx: Cursor, page: Sequence[int], after: int, upto: int) -> list[EventRow]:
        found: list[EventRow] = []
        for room in page:
            rows, relayed = sending.missed_in_room(tx, room, after, upto, LATEST_PER_ROOM)
            found += [
                row for row in rows if row.position in relayed or server_name_of(row.event.sender) == self._server_name
            ]
        return sending.in_order(found)

    def _receipts(self, tx: Cursor, server: str, after: int, upto: int) -> list[bytes]:
        joined = sending.rooms_joined(tx, server)
        suffix = ":" + self._server_name
        found = [
            row
            for row in receipts.in_rooms_between(tx, joined, after, upto)
            if row.type == "m.read" and row.user_id.endswith(suffix)
        ]
        ids = rooms.ids_of(tx, list({row.room for row in found}))
        return receipt_edus(_notice(row, ids[row.room]) for row in found)


def _notice(row: ReceiptRow, room_id: str) -> ReceiptNotice:
    return ReceiptNotice(ReceiptKey(room_id, row.type, row.user_id, row.thread), row.event_id, row.ts)
