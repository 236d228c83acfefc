"""Policy servers: which one a room uses, and whether it recommends an event.

Specification: server-server API, "Policy Servers"; client-server API, "m.room.policy".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from homeserver.core.canonical_json import JsonObject, NotCanonical
from homeserver.core.event import BadEvent, Event, check_event_size
from homeserver.core.ids import InvalidId, ServerName, parse_server_name
from homeserver.core.signatures import BadSignature, verify_event, with_signatures

POLICY: Final = ("m.room.policy", "")
KEY_ID: Final = "ed25519:policy_server"
"""Of the one key that counts, whatever keys the server has beside it."""


@dataclass(frozen=True, slots=True)
class PolicyServer:
    """The server that a room has named, with the key that is in the room's state."""

    server: ServerName
    public_key: str


def policy_server_of(event: Event | None) -> PolicyServer | None:
    """The policy server that the room's m.room.policy event names; None where there is none, or it is not valid."""
    if event is None or event.key != POLICY:
        return None
    via, keys = event.content.get("via"), event.content.get("public_keys")
    public_key = keys.get("ed25519") if isinstance(keys, dict) else None
    if not isinstance(via, str) or not isinstance(public_key, str):
        return None
    try:
        return PolicyServer(parse_server_name(via), public_key)
    except InvalidId:
        # What is no server has no user in the room.
        return None


def is_exempt(type: str, state_key: str | None) -> bool:
    """Whether a policy server is never asked for an event: the one state event that names it, or takes it away."""
    return state_key is not None and (type, state_key) == POLICY


def is_recommended(event: Event, policy: PolicyServer) -> bool:
    """Whether the event has the policy server's valid signature. "Validating Policy Server signatures"."""
    try:
        verify_event(event, policy.server, KEY_ID, policy.public_key)
    except BadSignature:
        return False
    return True


def with_recommendation(event: Event, policy: PolicyServer, answer: JsonObject) -> Event | None:
    """The event with the signature out of an answer of POST /sign; None if none that is valid is there.

    Raises EventTooLarge where there is no space for it.
    """
    by_key = answer.get(policy.server)
    signature = by_key.get(KEY_ID) if isinstance(by_key, dict) else None
    if not isinstance(signature, str):
        return None
    signed = with_signatures(event, {policy.server: {KEY_ID: signature}})
    if not is_recommended(signed, policy):
        return None
    check_event_size(signed.json)
    return signed


def with_policy_signature(event: Event, returned: JsonObject) -> Event:
    """Our event with a policy server's signature out of the copy that another server gave back of it.

    It is only carried along: whoever wants to know whether it is valid checks it by the state of the room.
    """
    signatures = returned.get("signatures")
    found: JsonObject = {}
    for server, by_key in signatures.items() if isinstance(signatures, dict) else ():
        signature = by_key.get(KEY_ID) if isinstance(by_key, dict) else None
        if isinstance(signature, str):
            found[server] = {KEY_ID: signature}
    if len(found) != 1:
        # A room has one policy server, or none.
        return event
    try:
        signed = with_signatures(event, found)
        check_event_size(signed.json)
    except (BadEvent, NotCanonical):
        return event
    return signed
