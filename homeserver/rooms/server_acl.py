"""Which servers may take part in a room: its server access control list.

Specification: client-server API, "Server Access Control Lists (ACLs) for rooms"; server-server API, the same heading.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Final

from homeserver.core import glob
from homeserver.core.glob import Matcher
from homeserver.rooms.append import Appender
from homeserver.rooms.plan import Plan
from homeserver.rooms.room import Room
from homeserver.runtime.lru import Lru
from homeserver.web.errors import Forbidden

KEY: Final = ("m.room.server_acl", "")
MOST_REMEMBERED: Final = 2_000
_PORT: Final = re.compile(r":[0-9]{1,5}\Z")


class ServerAcl:
    """One list. Made of the content of an m.room.server_acl event; a room without one is open to all."""

    def __init__(self, content: Mapping[str, object] | None) -> None:
        self._is_open = content is None
        given = content or {}
        self._allow = _matchers(given.get("allow"))
        self._deny = _matchers(given.get("deny"))
        self._literals = given.get("allow_ip_literals") is not False

    def allows(self, server_name: str) -> bool:
        """The rules in their order."""
        # 1. If there is no m.room.server_acl event in the room state, allow.
        if self._is_open:
            return True
        # The port of a server name is not considered.
        host = _PORT.sub("", server_name).lower()
        # 2. If the server name is an IP address literal, and allow_ip_literals is false, deny.
        if not self._literals and _is_ip_literal(host):
            return False
        # 3. If the server name matches an entry in the deny list, deny.
        if any(matches(host) for matches in self._deny):
            return False
        # 4. If the server name matches an entry in the allow list, allow. 5. Otherwise, deny.
        return any(matches(host) for matches in self._allow)


class ServerAcls:
    """The lists of the rooms in use."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self._lists: Lru[int, ServerAcl] = Lru(MOST_REMEMBERED)

    async def of(self, room: Room) -> ServerAcl:
        """The list of a room as it is now."""

        def script(plan: Plan) -> ServerAcl:
            row = plan.room(room.room_id).state(*KEY)
            if row is None:
                return OPEN
            found = self._lists.get(row.position)
            if found is None or row.redacted_by is not None:
                found = ServerAcl(row.event.content)
                self._lists.put(row.position, found)
            return found

        if KEY in room.known and room.known[KEY] is None:
            return OPEN
        return await self._appender.look(script)

    async def allows(self, room: Room, server_name: str) -> bool:
        """Whether a server may take part in a room."""
        return (await self.of(room)).allows(server_name)

    async def check(self, room: Room, server_name: str) -> None:
        """Forbidden if the room shuts the server out."""
        if not await self.allows(room, server_name):
            raise Forbidden(f"The server {server_name} is shut out from this room by its server ACL.")


def _matchers(patterns: object) -> Sequence[Matcher]:
    if not isinstance(patterns, list):
        return ()
    return [glob.whole(pattern.lower()) for pattern in patterns if isinstance(pattern, str)]


def _is_ip_literal(host: str) -> bool:
    if host.startswith("["):
        return True
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


OPEN: Final = ServerAcl(None)
