"""The parts that take what other servers send, and answer what they ask about rooms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from federation.outbound.destinations import Destinations
from homeserver.parts.foundations import Foundations
from homeserver.parts.room_core import RoomCore
from homeserver.rooms.accept import Accepter
from homeserver.rooms.edus import Guests, ReceiptEdus, TypingEdus
from homeserver.rooms.federation_reads import FederationReads
from homeserver.rooms.inbound import EduHandler, InboundTransactions
from homeserver.rooms.inbox import Inbox
from homeserver.rooms.put_off import PutOff
from homeserver.rooms.server_acl import ServerAcls
from homeserver.rooms.server_sight import ServerSight

TIDY_UP_EVERY_S: Final = 3_600.0
SAVE_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Receiving:
    """What comes in."""

    inbox: Inbox
    transactions: InboundTransactions
    reads: FederationReads

    async def start(self, base: Foundations) -> None:
        """Go on with what waited."""
        await self.inbox.start()
        base.tasks.every("save answers to transactions", SAVE_EVERY_S, self.transactions.save)
        base.tasks.every("forget old transactions", TIDY_UP_EVERY_S, self.transactions.tidy_up)


def make_receiving(
    base: Foundations,
    rooms: RoomCore,
    accepter: Accepter,
    acls: ServerAcls,
    destinations: Destinations,
    other_edus: Mapping[str, EduHandler] | None = None,
) -> Receiving:
    """Above the accepter. `other_edus`: what takes the EDUs that are not about rooms, by their type."""
    database, writer, clock = base.database, base.writer, base.clock
    guests = Guests(rooms.heads, acls, database)
    edus: dict[str, EduHandler] = {
        "m.typing": TypingEdus(guests, rooms.typing),
        "m.receipt": ReceiptEdus(guests, rooms.events, database, writer, clock),
        **(other_edus or {}),
    }
    put_off = PutOff(clock)
    destinations.on_recovery(put_off.is_back)
    inbox = Inbox(database, rooms.heads, accepter, writer, base.tasks, clock, put_off)
    sight = ServerSight(database, rooms.state, rooms.events)
    reads = FederationReads(database, rooms.heads, rooms.state, rooms.events, acls, sight, rooms.wholeness)
    return Receiving(
        inbox=inbox,
        transactions=InboundTransactions(database, rooms.heads, accepter, acls, inbox, edus, clock),
        reads=reads,
    )
