"""Member events that cross servers before they are in the room: proposed by one, signed by another.

Pure. Specification: server-server API, "Joining Rooms" ("make_join" and "send_join"), and what it says of knocks and
leaves.
"""

from __future__ import annotations

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.draft import Draft, build
from homeserver.core.event import BadEvent, Event
from homeserver.core.ids import EventId, RoomId, UserId, parse_event_id
from homeserver.core.room_rules import RoomRules
from homeserver.core.signatures import Signer

MEMBER = "m.room.member"
_NOT_PROPOSED = ("hashes", "signatures", "event_id", "unsigned")


def proposal_of(event: Event) -> JsonObject:
    """An event of ours as a template for another server, which hashes and signs it itself."""
    return {key: value for key, value in event.to_pdu().items() if key not in _NOT_PROPOSED}


def event_from(
    proposal: JsonObject,
    rules: RoomRules,
    room_id: RoomId,
    user_id: UserId,
    content: JsonObject,
    signer: Signer,
    now_ms: int,
    event_id: EventId | None,
) -> Event:
    """Our user's member event on what another server proposes. Raises BadEvent if it proposes something else.

    Of the proposal we take its place in the room, and who lets the user in; what it says about the user is ours.
    """
    said = (proposal.get("type"), proposal.get("room_id"), proposal.get("sender"), proposal.get("state_key"))
    if said != (MEMBER, room_id, user_id, user_id):
        raise BadEvent("the other server proposed an event about something else")
    proposed = proposal.get("content")
    if not isinstance(proposed, dict) or proposed.get("membership") != content["membership"]:
        raise BadEvent("the other server proposed another membership")
    authoriser = proposed.get("join_authorised_via_users_server")
    if isinstance(authoriser, str) and rules.restricted_joins:
        content = {**content, "join_authorised_via_users_server": authoriser}
    depth = proposal.get("depth")
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 0:
        raise BadEvent("the other server proposed an event without a depth")
    prev_events, prev_hashes = _references(proposal.get("prev_events"), rules)
    auth_events, auth_hashes = _references(proposal.get("auth_events"), rules)
    draft = Draft(room_id, MEMBER, user_id, content, user_id)
    return build(
        draft, rules, prev_events, auth_events, depth, now_ms, signer, event_id, {**prev_hashes, **auth_hashes}
    )


def check_member_event(event: Event, room_id: str, event_id: str, origin: str, membership: str) -> None:
    """Raise BadEvent unless this is the member event that the path of a request names, of a user of its sender."""
    if event.room_id != room_id:
        raise BadEvent("the event is of another room")
    if event.event_id != event_id:
        raise BadEvent("the event has another id than the request names")
    if event.membership != membership:
        raise BadEvent(f"the event is no m.room.member with membership {membership}")
    if event.state_key != event.sender:
        raise BadEvent("the event is about another user than its sender")
    if event.sender.partition(":")[2] != origin:
        raise BadEvent("the event is of a user of another server")


def _references(value: JsonValue, rules: RoomRules) -> tuple[list[EventId], dict[EventId, str]]:
    """Event ids, and their hashes where the room version keeps them with the ids."""
    if not isinstance(value, list):
        raise BadEvent("the other server proposed an event without its place in the room")
    ids: list[EventId] = []
    known: dict[EventId, str] = {}
    for reference in value:
        hashes: JsonValue = None
        if rules.references_have_hashes and isinstance(reference, list) and len(reference) == 2:
            reference, hashes = reference
        if not isinstance(reference, str):
            raise BadEvent("the other server proposed references that are no event ids")
        event_id = parse_event_id(reference)
        ids.append(event_id)
        digest = hashes.get("sha256") if isinstance(hashes, dict) else None
        if isinstance(digest, str):
            known[event_id] = digest
    return ids, known
