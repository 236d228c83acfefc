"""Requests for keys of many users go to their servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import InvalidId, ServerName, is_plain_user_of, parse_user_id, server_name_of
from homeserver.encryption.remote import RemoteKeysFailed
from homeserver.web.errors import InvalidParam

T = TypeVar("T")


def by_server(wanted: Mapping[str, T], own: ServerName) -> tuple[dict[str, T], dict[str, dict[str, T]]]:
    """What is asked of this server, and of each other one."""
    local: dict[str, T] = {}
    elsewhere: dict[str, dict[str, T]] = {}
    for user_id, what in wanted.items():
        if is_plain_user_of(user_id, own):
            local[user_id] = what
            continue
        try:
            server = server_name_of(parse_user_id(user_id))
        except InvalidId as error:
            raise InvalidParam(f"{user_id[:80]!r} is not the id of a user: {error}.") from None
        (local if server == own else elsewhere.setdefault(server, {}))[user_id] = what
    return local, elsewhere


def failure(error: RemoteKeysFailed) -> JsonObject:
    """What clients are told of a server that gave no answer."""
    return {"status": 503, "errcode": "M_UNKNOWN", "error": str(error), "message": str(error)}
