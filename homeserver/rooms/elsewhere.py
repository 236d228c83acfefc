"""What only other servers can do for a user of this one.

Federation is one such helper; without it, all of it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft
from homeserver.core.ids import EventId, RoomId, UserId
from homeserver.web.errors import MatrixError, NotFound


class Elsewhere(Protocol):
    """Rooms in which this server is not, and users of other servers."""

    def reaches(self, server_name: str) -> bool:
        """Whether this server talks to another one at all."""
        ...

    async def room_of(self, alias: str) -> str | None:
        """Id of the room to which an alias of another server leads; None if there is no such alias."""
        ...

    async def resolve(self, alias: str) -> tuple[str, list[str]] | None:
        """The same with servers that are in the room."""
        ...

    async def join(self, user_id: UserId, room_id: RoomId, via: Sequence[str], content: JsonObject) -> None:
        """Join a room through a server that is in it. `content` is that of the member event."""
        ...

    async def knock(self, user_id: UserId, room_id: RoomId, via: Sequence[str], content: JsonObject) -> None:
        """Knock on a room through a server that is in it."""
        ...

    async def leave(self, user_id: UserId, room_id: RoomId, content: JsonObject) -> None:
        """Reject an invite to a room, or take a knock back, where this server is not in the room."""
        ...

    async def invite(self, draft: Draft) -> EventId:
        """Invite a user of another server: their server signs the event before it is added to the room."""
        ...

    async def exchange(self, draft: Draft) -> None:
        """Have an invite made in the name of a user of another server, who invited the address of the invited."""
        ...


class Nowhere:
    """There are no other servers."""

    def reaches(self, server_name: str) -> bool:
        """No."""
        return False

    async def room_of(self, alias: str) -> str | None:
        """Nothing is known of it."""
        return None

    async def resolve(self, alias: str) -> tuple[str, list[str]] | None:
        """Nothing is known of it."""
        return None

    async def join(self, user_id: UserId, room_id: RoomId, via: Sequence[str], content: JsonObject) -> None:
        """Refused."""
        raise NotFound(f"This server does not know the room {room_id}, and does not ask other servers.")

    async def knock(self, user_id: UserId, room_id: RoomId, via: Sequence[str], content: JsonObject) -> None:
        """Refused."""
        raise NotFound(f"This server does not know the room {room_id}, and does not ask other servers.")

    async def leave(self, user_id: UserId, room_id: RoomId, content: JsonObject) -> None:
        """Refused."""
        raise NotFound(f"This server does not know the room {room_id}, and does not ask other servers.")

    async def invite(self, draft: Draft) -> EventId:
        """Refused."""
        raise MatrixError(
            400, "M_UNKNOWN", f"{draft.state_key} is a user of another server, and this server does not talk to others."
        )

    async def exchange(self, draft: Draft) -> None:
        """Refused."""
        raise MatrixError(
            400, "M_UNKNOWN", f"{draft.sender} is a user of another server, and this server does not talk to others."
        )
