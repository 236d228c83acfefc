"""Which state an event leans on, and whether it names just that.

Specification: server-server API, "Auth events selection"; rooms/v12, "Authorisation rules", rule 3.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from homeserver.core.auth.state import CREATE, JOIN_RULES, POWER_LEVELS, Rejected, StateKey
from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.room_rules import RoomRules


def needed_auth_keys(
    event_type: str, sender: str, state_key: str | None, content: JsonObject, rules: RoomRules
) -> list[StateKey]:
    """The places in the state whose events belong into auth_events, if there are any."""
    if event_type == "m.room.create":
        return []
    keys = [CREATE] if rules.create_in_auth_events else []
    keys.append(POWER_LEVELS)
    keys.append(("m.room.member", sender))
    if event_type == "m.room.member":
        for key in _member_keys(state_key, content, rules):
            if key not in keys:
                keys.append(key)
    return keys


def needed_auth_keys_of(event: Event) -> list[StateKey]:
    """The same for an event that is there."""
    return needed_auth_keys(event.type, event.sender, event.state_key, event.content, event.rules)


def check_auth_events(event: Event, auth_events: Sequence[Event], rejected: Collection[EventId] = ()) -> None:
    """Raise Rejected unless the events that it names are those that it should name.

    `auth_events` are the events that `event.auth_events` names; `rejected` are ids of events that were rejected.
    """
    needed = needed_auth_keys_of(event)
    seen: set[StateKey] = set()
    for auth_event in auth_events:
        key = auth_event.key
        # 3.1 If there are duplicate entries for a given type and state_key pair, reject.
        if key in seen:
            raise Rejected(f"auth_events has two events of type {key[0]} with state key {key[1]!r}")
        seen.add(key)
        # 3.2 If there are entries whose type and state_key don't match those specified by the selection, reject.
        if key not in needed or not auth_event.is_state:
            raise Rejected(f"auth_events has an event of type {key[0]} with state key {key[1]!r}, which is not needed")
        # 3.3 If there are entries which were themselves rejected, reject.
        if auth_event.event_id in rejected:
            raise Rejected(f"auth_events has {auth_event.event_id}, which was rejected")
        # 3.5 If any event in auth_events has a room_id which does not match, reject.
        if auth_event.room_id != event.room_id:
            raise Rejected(f"auth_events has {auth_event.event_id}, which is of another room")
    # Up to room version 11: if there is no m.room.create event among the entries, reject.
    if event.rules.create_in_auth_events and event.type != "m.room.create" and CREATE not in seen:
        raise Rejected("auth_events has no m.room.create event")


def _member_keys(state_key: str | None, content: JsonObject, rules: RoomRules) -> list[StateKey]:
    keys: list[StateKey] = []
    if state_key is not None:
        keys.append(("m.room.member", state_key))
    membership = content.get("membership")
    if membership == "join" or membership == "invite" or (membership == "knock" and rules.knocking):
        keys.append(JOIN_RULES)
    if membership == "invite":
        invite = content.get("third_party_invite")
        signed = invite.get("signed") if isinstance(invite, dict) else None
        token = signed.get("token") if isinstance(signed, dict) else None
        if isinstance(token, str):
            keys.append(("m.room.third_party_invite", token))
    if membership == "join" and rules.restricted_joins:
        authoriser = content.get("join_authorised_via_users_server")
        if isinstance(authoriser, str):
            keys.append(("m.room.member", authoriser))
    return keys
