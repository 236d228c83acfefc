"""Tells other servers what happens in the rooms that they are in: a follower of the log with one cursor a server.

A server that takes what it is sent is served from memory: one transaction at a time, what gathers meanwhile goes into
the next. One that does not is left at its position (`lagging`), costs nothing while it is away, and is brought up to
date when it is back (`catching_up`). Nothing is lost by a crash: the stored cursor never passes what a server has not
taken, and servers bear to be sent the same twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

import structlog
from twisted.internet.defer import CancelledError, Deferred

from federation.outbound.edus import MOST_EDUS, PendingEdus, ReceiptKey, ReceiptNotice
from federation.outbound.errors import RemoteError, RemoteRefused
from federation.outbound.introductions import Introductions
from federation.outbound.lagging import Lagging
from federation.outbound.news import Introduction, NewsSource, PresenceNotice
from federation.outbound.room_servers import RoomServers
from federation.outbound.transactions import MOST_PDUS, Transactions
from federation.outbound.typing_notices import TypingNotices
from homeserver.core.ids import ServerName, server_name_of
from homeserver.runtime.clock import Clock
from homeserver.runtime.ring import Ring
from homeserver.runtime.tasks import Tasks
from storage import receipts, sending
from storage.database import Database
from storage.rows import Entry, EventRow, OutboundMessageRow, ReceiptRow, RelayRow, StateRow, Status, TypingRow

PAGE_ENTRIES: Final = 500
MOST_WAITING: Final = 5_000
"""Events that wait in memory for one server; with more it is brought up to date from the tables."""
SAVE_EVERY_S: Final = 5.0
TYPE_ON_EVERY_S: Final = 5.0
PASSED_OVER: Final = frozenset((401, 404, 408, 429))
"""Statuses that say "not now". With others of 4xx a server says that it will never take this."""

log: Final = structlog.get_logger("federation.sender")


class _Line:
    """What waits for a server that takes what it is sent."""

    __slots__ = ("delivered", "edus", "messages", "pdus", "server")

    def __init__(self, server: str, delivered: int) -> None:
        self.server = server
        self.delivered = delivered
        """The server has everything up to this position."""
        self.pdus: deque[EventRow] = deque()
        self.edus = PendingEdus()
        self.messages: deque[OutboundMessageRow] = deque()


class Sender:
    """Sends to other servers."""

    def __init__(
        self,
        database: Database,
        ring: Ring,
        servers: RoomServers,
        transactions: Transactions,
        lagging: Lagging,
        tasks: Tasks,
        clock: Clock,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._ring = ring
        self._transactions = transactions
        self._lagging = lagging
        self._tasks = tasks
        self._server_name = server_name
        self._suffix = ":" + server_name
        self._servers = servers
        self._typing = TypingNotices(server_name, clock)
        self._types_on = False
        """Whether there are users who still type, of whom servers are to be told again."""
        self._lines: dict[str, _Line] = {}
        self._not_ours: set[str] = set()
        self._news: dict[type[Entry], NewsSource] = {}
        self._introductions = Introductions(database, servers, server_name)
        self._introduction: Introduction = _nothing
        self._taken: dict[str, int] = {}
        """Server → position up to which it has taken messages to devices, which are still in the table."""
        self._position = 0
        self._handed_out = 0
        """Up to here events wait in lines, or for servers to be brought up to date."""
        self._saved = 0
        self._presence: dict[str, PresenceNotice] = {}
        self._waiting: Deferred[None] | None = None

    def tell(self, kind: type[Entry], source: NewsSource) -> None:
        """Tell other servers what this source makes of entries of a class."""
        self._news[kind] = source

    def introduce_by(self, introduction: Introduction) -> None:
        """Tell servers this of users whom they meet."""
        self._introduction = introduction

    async def start(self) -> None:
        """Go on where the log was left."""
        position, lagging = await self._database.read(sending.begin)
        self._position = self._ring.head if position is None else position
        if position is None:
            # Whatever is committed from now on is to be sent, also if we crash before the first save.
            await self._database.write(sending.save, self._position, {}, ())
        self._lagging.begin(
            lagging, lambda: max(self._handed_out, self._position), lambda server: server in self._lines
        )
        self._ring.subscribe(self._on_entries)
        self._tasks.keep("send to other servers", self._follow)
        self._tasks.every("save how far other servers are", SAVE_EVERY_S, self.save)
        self._tasks.every("type on at other servers", TYPE_ON_EVERY_S, self._go_on_typing)
        self._lagging.start(self._tasks)

    async def save(self) -> None:
        """Write down how far the servers are."""
        position = min((line.delivered for line in self._lines.values()), default=self._position)
        changed, caught_up = self._lagging.unsaved()
        if position == self._saved and not changed and not caught_up and not self._taken:
            return
        try:
            if self._taken:
                taken, self._taken = self._taken, {}
                await self._database.write(sending.delete_messages, taken)
            await self._database.write(sending.save, position, changed, caught_up)
        except BaseException:
            self._lagging.still_unsaved(changed, caught_up)
            raise
        self._saved = position

    def leave_out(self, event_id: str) -> None:
        """An event of a user of ours that another server tells the room about: the join through it."""
        self._not_ours.add(event_id)

    async def _follow(self) -> None:
        while True:
            # Here and nowhere else, for only one may follow who is in which room.
            if self._types_on:
                self._types_on = False
                await self._type_on()
            if self._presence:
                await self._tell_presence()
            if self._position >= self._ring.head:
                self._waiting = Deferred()
                await self._waiting
            elif self._ring.covers(self._position):
                upto = self._ring.head
                await self._pass_on(self._ring.after(self._position))
                # Positions that were lost with a crash have no entry.
                self._position = max(self._position, upto)
            else:
                await self._pass_on_from_tables(self._ring.floor)

    async def _pass_on(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, EventRow):
                newcomers = self._introductions.newcomers(entry) if entry.members else ()
                await self._event(entry)
                # A server that is brought up to date while the rest of this waits must not be without the event.
                self._handed_out = entry.position
                if entry.members and entry.status is Status.ACCEPTED:
                    for user_id, servers in await self._introductions.due(entry, newcomers):
                        await self._introduce(user_id, servers, entry.position)
            elif isinstance(entry, ReceiptRow):
                await self._receipt(entry)
            elif isinstance(entry, TypingRow):
                await self._typed(entry)
            elif isinstance(entry, RelayRow):
                await self._relay(entry)
            elif isinstance(entry, OutboundMessageRow):
                self._message(entry)
            elif isinstance(entry, StateRow):
                await self._servers.follow(entry)
            elif type(entry) in self._news:
                await self._tell(entry)
            self._position = entry.position

    async def _pass_on_from_tables(self, upto: int) -> None:
        """What is no longer in the ring: events, receipts, whose devices changed. Who typed then is of no use now."""
        self._servers.forget()
        after = self._position
        rows = await self._database.read(sending.sent_between, self._server_name, self._position, upto, PAGE_ENTRIES)
        reached = upto if len(rows) < PAGE_ENTRIES else rows[-1].position
        relayed = await self._database.read(sending.relayed_between, self._position, reached)
        marked: list[tuple[int, EventRow | ReceiptRow]] = [(row.position, row) for row in rows if self.is_ours(row)]
        read = await self._database.read(receipts.of_server_between, self._server_name, after, reached)
        marked += [*relayed, *((receipt.position, receipt) for receipt in read)]
        for position, entry in sorted(marked, key=lambda each: each[0]):
            if isinstance(entry, ReceiptRow):
                await self._receipt(entry)
            else:
                await self._send_event(entry)
            self._position = position
        changed = await self._database.read(sending.lists_between, self._server_name, after, reached)
        came = [row.event.state_key for row in rows if row.event.membership == "join" and self.is_ours(row)]
        for user_id in dict.fromkeys(each for each in (*changed, *came) if each is not None):
            await self._introduce(user_id, await self._servers_near(user_id), reached)
        self._position = reached

    async def _event(self, row: EventRow) -> None:
        if row.status is Status.ACCEPTED and self.is_ours(row):
            await self._send_event(row)
        elif row.members:
            await self._servers.follow(row)

    async def _relay(self, mark: RelayRow) -> None:
        for row in self._ring.room_after(mark.room, mark.event_position - 1):
            if isinstance(row, EventRow) and row.position == mark.event_position:
                await self._send_event(row)
                return
        for _, row in await self._database.read(sending.relayed_between, mark.position - 1, mark.position):
            await self._send_event(row)

    def is_ours(self, row: EventRow) -> bool:
        """Whether the event is one of this server's users."""
        return row.event.sender.endswith(self._suffix) and server_name_of(row.event.sender) == self._server_name

    async def _send_event(self, row: EventRow) -> None:
        event = row.event
        servers = (await self._servers.of(row.room)).servers
        await self._servers.follow(row)
        # From here on nothing waits: a server that stops lagging meanwhile would miss the event.
        if event.event_id in self._not_ours:
            self._not_ours.discard(event.event_id)
            return
        target = event.state_key if event.membership is not None and event.membership != "join" else None
        if target is not None and ":" in target and not target.endswith(self._suffix):
            # Who is put out hears of it, though the room is then no longer theirs.
            servers = servers | {server_name_of(target)}
        # An invite out of a third-party invite may be made by another server than the sender's, which has to hear it.
        is_by_sender = event.membership != "invite" or "third_party_invite" not in event.content
        origin = server_name_of(event.sender) if is_by_sender else None
        for server in servers:
            if server != origin and server not in self._lagging:
                line = self._line(server, row.position - 1)
                line.pdus.append(row)
                self._wake(line)

    async def _receipt(self, row: ReceiptRow) -> None:
        if row.type != "m.read" or not row.user_id.endswith(self._suffix):
            return
        peers = await self._servers.of(row.room)
        if peers.servers:
            key = ReceiptKey(peers.room_id, row.type, row.user_id, row.thread)
            notice = ReceiptNotice(key, row.event_id, row.ts)
            for line in self._lines_to(peers.servers, row.position):
                line.edus.add_receipt(notice)
                self._wake(line)

    async def _typed(self, row: TypingRow) -> None:
        peers = await self._servers.of(row.room)
        changes = self._typing.changes(row.room, row.user_ids) if peers.servers else ()
        for user_id, typing in changes:
            for line in self._lines_to(peers.servers, row.position):
                line.edus.add_typing(peers.room_id, user_id, typing)
                self._wake(line)

    def _message(self, row: OutboundMessageRow) -> None:
        if row.server_name not in self._lagging:
            line = self._line(row.server_name, row.position - 1)
            line.messages.append(row)
            self._wake(line)

    async def _tell(self, entry: Entry) -> None:
        for notice in await self._news[type(entry)](entry):
            servers = await self._servers_near(notice.user_id)
            for line in self._lines_to(servers, entry.position):
                line.edus.add(notice.key, notice.edu)
                self._wake(line)

    async def _introduce(self, user_id: str, servers: set[str], position: int) -> None:
        """Tell servers of a user who is new to them, or of whom they may have missed something."""
        edus = await self._introduction(user_id) if servers else ()
        for line in self._lines_to(servers, position) if edus else ():
            for number, edu in enumerate(edus):
                line.edus.add(f"introduction of {user_id} {number}", edu)
            self._wake(line)

    async def _servers_near(self, user_id: str) -> set[str]:
        """The servers that are in a room with a user."""
        found: set[str] = set()
        for room in await self._database.read(sending.rooms_of, user_id):
            found |= (await self._servers.of(room)).servers
        return found

    def presence(self, changes: Sequence[PresenceNotice]) -> None:
        """Users came or went: the servers in their rooms are told, soon."""
        for change in changes:
            self._presence[change.user_id] = change
        self._go_on()

    async def _tell_presence(self) -> None:
        while self._presence:
            user_id, change = self._presence.popitem()
            servers: set[str] = set()
            for room in change.rooms:
                servers |= (await self._servers.of(room)).servers
            for line in self._lines_to(servers, self._position + 1):
                line.edus.add_presence(user_id, change.content)
                self._wake(line)

    async def _go_on_typing(self) -> None:
        if self._typing.is_due():
            self._types_on = True
            self._go_on()

    async def _type_on(self) -> None:
        for room, users in self._typing.due():
            peers = await self._servers.of(room)
            for user_id in users:
                for line in self._lines_to(peers.servers, self._position + 1):
                    line.edus.add_typing(peers.room_id, user_id, True)
                    self._wake(line)

    def _lines_to(self, servers: set[str], position: int) -> list[_Line]:
        return [self._line(server, position - 1) for server in servers if server not in self._lagging]

    def _line(self, server: str, delivered: int) -> _Line:
        line = self._lines.get(server)
        return _Line(server, delivered) if line is None else line

    def _wake(self, line: _Line) -> None:
        if line.server not in self._lines:
            self._lines[line.server] = line
            self._tasks.start(f"send to {line.server}", self._run(line))
        elif len(line.pdus) + len(line.messages) > MOST_WAITING:
            # No more in memory; what comes from here on is found in the tables.
            newest = line.pdus if line.pdus and line.pdus[-1].position > self._position else line.messages
            self._lag(line, newest.pop().position - 1)

    async def _run(self, line: _Line) -> None:
        """Send until nothing waits."""
        try:
            while line.pdus or line.messages or line.edus:
                pdus = list(islice(line.pdus, MOST_PDUS))
                # Keys go before what is encrypted with them.
                messages = list(islice(line.messages, MOST_EDUS))
                edus = [*(message.json for message in messages), *line.edus.take(MOST_EDUS - len(messages))]
                reached = min(
                    pdus[-1].position if len(line.pdus) > len(pdus) else self._position,
                    messages[-1].position if len(line.messages) > len(messages) else self._position,
                )
                await self._send(line.server, pdus, edus)
                for _ in pdus:
                    line.pdus.popleft()
                for _ in messages:
                    self._taken[line.server] = line.messages.popleft().position
                line.delivered = max(line.delivered, reached)
        except CancelledError:
            raise
        except RemoteError as error:
            self._lag(line, line.delivered, error)
        except BaseException:
            self._lag(line, line.delivered)
            del self._lines[line.server]
            raise
        del self._lines[line.server]

    async def _send(self, server: str, pdus: Sequence[EventRow], edus: Sequence[bytes]) -> None:
        try:
            await self._transactions.send(server, [row.event.json for row in pdus], edus)
        except RemoteRefused as refusal:
            if refusal.status in PASSED_OVER or refusal.status >= 500:
                raise
            log.warning("a server refused a transaction, which is not sent again", reason=str(refusal))

    def _lag(self, line: _Line, position: int, error: RemoteError | None = None) -> None:
        """Leave a server where it is until it is back."""
        self._lagging.add(line.server, position, error)

    def _on_entries(self, _: Sequence[Entry]) -> None:
        self._go_on()

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


async def _nothing(_: str) -> Sequence[bytes]:
    return ()
