"""How each class of entries of the log is written, many at a time; in the order in which it has to be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from storage import account_data, device_lists, receipts, room_log, sending, to_device
from storage.rows import (
    AccountDataRow,
    DeviceListRow,
    EventRow,
    OutboundMessageRow,
    ReceiptRow,
    RelayRow,
    StateRow,
    ToDeviceRow,
)
from storage.statements import Statements

Persist = Mapping[type[Any], Callable[[Statements, Sequence[Any]], object]]
"""Functions that write several rows; of rows with the same key the last one holds."""

PERSIST: Final[Persist] = MappingProxyType(
    {
        # Of a room whose state it changes, no event waits then; those of the same batch come after it.
        StateRow: room_log.persist_states,
        EventRow: room_log.persist_events,
        RelayRow: sending.persist_relayed,
        OutboundMessageRow: sending.persist_messages,
        ReceiptRow: receipts.persist,
        AccountDataRow: account_data.persist,
        ToDeviceRow: to_device.persist,
        DeviceListRow: device_lists.persist,
    }
)
