"""Lists of rooms of other servers. Server-server API, "Public Room Directory"."""

from __future__ import annotations

from federation.outbound.errors import RemoteError
from federation.outbound.queries import Queries
from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import InvalidId, parse_server_name
from homeserver.rooms.elsewhere_errors import refusal_of
from homeserver.web.errors import InvalidParam


class FederatedLists:
    """`RemoteLists` over the server-server API."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def page(self, server: str, question: JsonObject) -> JsonObject:
        """A page of a server's list."""
        try:
            answer = await self._queries.public_rooms(parse_server_name(server), question)
        except InvalidId as invalid:
            raise InvalidParam(f"{invalid}.") from None
        except RemoteError as error:
            raise refusal_of([error], "The list of rooms cannot be read") from error
        rooms = answer.get("chunk")
        shown = [room for room in rooms if isinstance(room, dict)] if isinstance(rooms, list) else []
        told = ("next_batch", "prev_batch", "total_room_count_estimate")
        more: JsonObject = {key: answer[key] for key in told if key in answer}
        return {"chunk": list(shown), **more}
