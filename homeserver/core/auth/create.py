"""Rule 1: the event that makes a room. Specification: rooms/v1 to rooms/v12, "Authorisation rules"."""

from __future__ import annotations

from homeserver.core.auth.state import Rejected
from homeserver.core.event import Event
from homeserver.core.ids import InvalidId, parse_user_id, server_name_of
from homeserver.core.room_rules import ROOM_RULES


def check_create(event: Event) -> None:
    """Raise Rejected unless this event may make a room."""
    rules, content = event.rules, event.content
    # 1.1 If it has any prev_events, reject.
    if event.prev_events:
        raise Rejected("a room has begun before its m.room.create")
    # 1.2 The room ID: none in the event where it is the hash, else of the sender's server.
    if rules.room_id_is_create_hash:
        if event.room_id[1:] != event.event_id[1:]:
            raise Rejected("an m.room.create event must have no room_id in this room version")
    elif server_name_of(event.room_id) != server_name_of(event.sender):
        raise Rejected("the room ID is of another server than the sender")
    # 1.3 If content.room_version is present and is not a recognised version, reject.
    if "room_version" in content:
        version = content["room_version"]
        if not isinstance(version, str) or version not in ROOM_RULES:
            raise Rejected(f"the room version {str(version)[:100]!r} is not known here")
    # Up to room version 10: if content has no creator property, reject.
    if rules.creator_in_content and "creator" not in content:
        raise Rejected("the content of m.room.create needs a creator in this room version")
    # 1.4 additional_creators must be an array of user IDs.
    if rules.additional_creators and "additional_creators" in content:
        others = content["additional_creators"]
        if not isinstance(others, list):
            raise Rejected("additional_creators must be an array of user IDs")
        for user_id in others:
            try:
                parse_user_id(user_id if isinstance(user_id, str) else "")
            except InvalidId:
                raise Rejected("additional_creators must be an array of user IDs") from None
