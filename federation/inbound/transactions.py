"""What happens in rooms, as other servers tell it. Specification: server-server API, "Transactions"."""

from __future__ import annotations

import msgspec

from homeserver.core.ids import ServerName
from homeserver.rooms.inbound import InboundTransactions
from homeserver.web.decode import ValueField
from homeserver.web.endpoint import MEBIBYTE, SERVER, endpoint, endpoints


class Transaction(msgspec.Struct, frozen=True):
    """Events, and what is no event. Who sends it the signature says."""

    pdus: list[ValueField] = []
    edus: list[ValueField] = []


@endpoint("PUT", "/_matrix/federation/v1/send/{txn_id}", access=SERVER, body_limit_bytes=10 * MEBIBYTE)
async def send(transactions: InboundTransactions, who: ServerName, txn_id: str, body: Transaction) -> bytes:
    """Take a transaction. Specification: server-server API, PUT /send/{txnId}."""
    return await transactions.take(who, txn_id, body.pdus, body.edus)


ENDPOINTS = endpoints(__name__)
