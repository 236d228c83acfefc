"""What clients keep on the server for their user. Specification: client-server API, "Client Config"."""

from __future__ import annotations

from typing import Final

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import RoomId, UserId
from homeserver.runtime.log import Writer
from homeserver.users.push_rules import PUSH_RULES, PushRules
from homeserver.web.access import Requester
from homeserver.web.errors import Forbidden, InvalidParam, MatrixError, NotFound
from storage import account_data as account_data_table
from storage.database import Database
from storage.rows import AccountDataRow

MANAGED_BY_SERVER: Final = frozenset((PUSH_RULES, "m.fully_read"))
MAX_TYPE_BYTES: Final = 255


class AccountData:
    """Reads and writes account data. `room_id` is None for what belongs to no room."""

    def __init__(self, database: Database, writer: Writer, push_rules: PushRules) -> None:
        self._database = database
        self._writer = writer
        self._push_rules = push_rules

    async def get(self, who: Requester, user_id: UserId, room_id: RoomId | None, type: str) -> bytes:
        """A content. GET /user/{userId}/account_data/{type} and the same below /rooms/{roomId}."""
        check_is_own(who, user_id)
        if type == PUSH_RULES and room_id is None:
            return await self._push_rules.content(user_id)
        content = await self._database.read(account_data_table.one, user_id, room_id or "", type)
        if content is None:
            raise NotFound(f"You have no account data of the type {type} there.")
        return content

    async def put(
        self, who: Requester, user_id: UserId, room_id: RoomId | None, type: str, content: JsonObject
    ) -> None:
        """Keep a content. PUT /user/{userId}/account_data/{type} and the same below /rooms/{roomId}."""
        check_is_own(who, user_id)
        if type in MANAGED_BY_SERVER:
            raise MatrixError(
                405, "M_BAD_JSON", f"{type} is looked after by the server and has an endpoint of its own."
            )
        if len(type.encode()) > MAX_TYPE_BYTES:
            raise InvalidParam(f"A type of account data may have at most {MAX_TYPE_BYTES} bytes.")
        await self._writer.append([AccountDataRow(user_id, room_id or "", type, msgspec.json.encode(content))])


def check_is_own(who: Requester, user_id: UserId) -> None:
    """Raise Forbidden unless the requester is the user."""
    if who.user_id != user_id:
        raise Forbidden("You may look at your own account data only, and change your own only.")
