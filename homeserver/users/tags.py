"""Tags of rooms. They are kept as the account data m.tag. Specification: client-server API, "Room Tagging"."""

from __future__ import annotations

from typing import Final

import msgspec

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import RoomId, UserId
from homeserver.runtime.log import Writer
from homeserver.runtime.turns import Turns
from homeserver.users.account_data import check_is_own
from homeserver.web.access import Requester
from homeserver.web.errors import BadJson, InvalidParam
from storage import account_data as account_data_table
from storage.database import Database
from storage.rows import AccountDataRow

TAG: Final = "m.tag"
MAX_TAG_BYTES: Final = 255
MAX_TAGS: Final = 1000


class Tags:
    """Reads and changes the tags of a room."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._turns: Turns[tuple[str, str]] = Turns()

    async def every(self, who: Requester, user_id: UserId, room_id: RoomId) -> JsonObject:
        """The tags that the user has given to a room. GET …/tags."""
        check_is_own(who, user_id)
        return await self._read(user_id, room_id)

    async def put(self, who: Requester, user_id: UserId, room_id: RoomId, tag: str, content: JsonObject) -> None:
        """Give a tag to a room. PUT …/tags/{tag}."""
        check_is_own(who, user_id)
        if len(tag.encode()) > MAX_TAG_BYTES:
            raise InvalidParam(f"A tag may have at most {MAX_TAG_BYTES} bytes.")
        order = content.get("order")
        if order is not None and (isinstance(order, bool) or not isinstance(order, (int, float))):
            raise BadJson("The order of a tag is a number between 0 and 1.")
        async with self._turns.at((user_id, room_id)):
            tags = await self._read(user_id, room_id)
            if tag not in tags and len(tags) >= MAX_TAGS:
                raise InvalidParam(f"A room may have at most {MAX_TAGS} tags.")
            await self._write(user_id, room_id, {**tags, tag: content})

    async def delete(self, who: Requester, user_id: UserId, room_id: RoomId, tag: str) -> None:
        """Take a tag away. DELETE …/tags/{tag}."""
        check_is_own(who, user_id)
        async with self._turns.at((user_id, room_id)):
            tags = await self._read(user_id, room_id)
            if tag in tags:
                await self._write(user_id, room_id, {name: value for name, value in tags.items() if name != tag})

    async def _read(self, user_id: str, room_id: str) -> JsonObject:
        stored = await self._database.read(account_data_table.one, user_id, room_id, TAG)
        content = None if stored is None else msgspec.json.decode(stored)
        # Clients may also write m.tag as account data, in any shape.
        tags = content.get("tags") if isinstance(content, dict) else None
        return tags if isinstance(tags, dict) else {}

    async def _write(self, user_id: str, room_id: str, tags: JsonObject) -> None:
        await self._writer.append([AccountDataRow(user_id, room_id, TAG, msgspec.json.encode({"tags": tags}))])
