"""Rule 5: who may join, invite, leave, remove, ban and knock.

Specification: rooms/v12, "Authorisation rules"; the numbers are those of that version. Rule 5.2, the signature of the
server that let somebody in, is checked with the other signatures before an event gets here.
"""

from __future__ import annotations

from collections.abc import Iterator

from homeserver.core.auth.power import PowerLevels
from homeserver.core.auth.state import CREATE, Rejected, StateMap, join_rule_of, membership_of
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.signatures import signed_bytes, verify_bytes


def check_member(event: Event, state: StateMap) -> None:
    """Raise Rejected unless the membership may change in this way."""
    # 5.1 If there is no state_key property, or no membership property in content, reject.
    target, membership = event.state_key, event.membership
    if target is None:
        raise Rejected("a membership needs a state_key")
    if membership is None:
        raise Rejected("a membership event needs a membership")
    power = PowerLevels.of_state(state, event.rules)
    if membership == "join":
        _check_join(event, target, state, power)
    elif membership == "invite":
        if "third_party_invite" in event.content:
            _check_third_party_invite(event, target, state)
        else:
            _check_invite(event, target, state, power)
    elif membership == "leave":
        _check_leave(event, target, state, power)
    elif membership == "ban":
        _check_ban(event, target, state, power)
    elif membership == "knock" and event.rules.knocking:
        _check_knock(event, target, state)
    else:
        # 5.8 Otherwise, the membership is unknown. Reject.
        raise Rejected(f"the membership {membership[:100]!r} is unknown in this room version")


def _check_join(event: Event, target: str, state: StateMap, power: PowerLevels) -> None:
    rules = event.rules
    # 5.3.1 If the only previous event is an m.room.create and the state_key is the creator, allow.
    create = state[CREATE]
    creator = create.content.get("creator") if rules.creator_in_content else create.sender
    if event.prev_events == (create.event_id,) and target == creator:
        return
    # 5.3.2 If the sender does not match state_key, reject.
    if event.sender != target:
        raise Rejected("nobody can join for somebody else")
    # 5.3.3 If the sender is banned, reject.
    before = membership_of(state, target)
    if before == "ban":
        raise Rejected("you are banned from this room")
    join_rule = join_rule_of(state)
    # 5.3.4 If the join_rule is invite or knock then allow if membership state is invite or join.
    if join_rule == "invite" or (join_rule == "knock" and rules.knocking):
        if before not in ("invite", "join"):
            raise Rejected("you are not invited to this room")
        return
    # 5.3.5 If the join_rule is restricted or knock_restricted: members and the invited may, others with leave.
    if (join_rule == "restricted" and rules.restricted_joins) or (
        join_rule == "knock_restricted" and rules.knock_restricted_joins
    ):
        if before not in ("invite", "join"):
            _check_authoriser(event, state, power)
        return
    # 5.3.6 If the join_rule is public, allow. 5.3.7 Otherwise, reject.
    if join_rule != "public":
        raise Rejected("the join rule of this room lets nobody join")


def _check_authoriser(event: Event, state: StateMap, power: PowerLevels) -> None:
    authoriser = event.content.get("join_authorised_via_users_server")
    if not isinstance(authoriser, str):
        raise Rejected("you are not invited to this room, and no member has let you in")
    if membership_of(state, authoriser) != "join":
        raise Rejected(f"{authoriser} cannot let you in, not being in the room")
    if power.of_user(authoriser) < power.invite:
        raise Rejected(f"{authoriser} cannot let you in, not being allowed to invite")


def _check_invite(event: Event, target: str, state: StateMap, power: PowerLevels) -> None:
    # 5.4.2 If the sender's current membership state is not join, reject.
    if membership_of(state, event.sender) != "join":
        raise Rejected("you are not in this room")
    # 5.4.3 If target user's current membership state is join or ban, reject.
    before = membership_of(state, target)
    if before == "join":
        raise Rejected(f"{target} is already in the room")
    if before == "ban":
        raise Rejected(f"{target} is banned from this room")
    # 5.4.4 If the sender's power level is greater than or equal to the invite level, allow.
    if power.of_user(event.sender) < power.invite:
        raise Rejected(f"inviting needs power level {power.invite}")


def _check_third_party_invite(event: Event, target: str, state: StateMap) -> None:
    # 5.4.1.1 If target user is banned, reject.
    if membership_of(state, target) == "ban":
        raise Rejected(f"{target} is banned from this room")
    # 5.4.1.2 .. 5.4.1.4
    invite = event.content["third_party_invite"]
    signed = invite.get("signed") if isinstance(invite, dict) else None
    if not isinstance(signed, dict):
        raise Rejected("third_party_invite has no signed")
    token = signed.get("token")
    if "mxid" not in signed or not isinstance(token, str):
        raise Rejected("signed needs mxid and token")
    if signed["mxid"] != target:
        raise Rejected("mxid is not the user who is invited")
    # 5.4.1.5 There must be an m.room.third_party_invite with this token.
    invitation = state.get(("m.room.third_party_invite", token))
    if invitation is None:
        raise Rejected("there is no such third-party invite in the room")
    # 5.4.1.6 If sender does not match sender of the m.room.third_party_invite, reject.
    if event.sender != invitation.sender:
        raise Rejected("the third-party invite is by somebody else")
    # 5.4.1.7 If any signature in signed matches any public key, allow. 5.4.1.8 Otherwise, reject.
    if not _is_signed_by_any(signed, list(_public_keys(invitation.content))):
        raise Rejected("signed is not signed by a key of the third-party invite")


def _public_keys(content: JsonObject) -> Iterator[str]:
    key = content.get("public_key")
    if isinstance(key, str):
        yield key
    others = content.get("public_keys")
    for entry in others if isinstance(others, list) else ():
        key = entry.get("public_key") if isinstance(entry, dict) else None
        if isinstance(key, str):
            yield key


def _is_signed_by_any(signed: JsonObject, public_keys: list[str]) -> bool:
    try:
        message = signed_bytes(signed)
    except ValueError:
        return False
    return any(verify_bytes(message, made, key) for made in _signatures_in(signed) for key in public_keys)


def _signatures_in(signed: JsonObject) -> Iterator[str]:
    servers: JsonValue = signed.get("signatures")
    for by_key in servers.values() if isinstance(servers, dict) else ():
        for key_id, signature in by_key.items() if isinstance(by_key, dict) else ():
            if key_id.startswith("ed25519:") and isinstance(signature, str):
                yield signature


def _check_leave(event: Event, target: str, state: StateMap, power: PowerLevels) -> None:
    before = membership_of(state, target)
    # 5.5.1 Oneself: allow if and only if that user's current membership state is invite, join, or knock.
    if event.sender == target:
        if before not in ("invite", "join") and not (before == "knock" and event.rules.knocking):
            raise Rejected("you are not in this room")
        return
    # 5.5.2 If the sender's current membership state is not join, reject.
    if membership_of(state, event.sender) != "join":
        raise Rejected("you are not in this room")
    mine = power.of_user(event.sender)
    # 5.5.3 If the target user is banned, and the sender's power level is less than the ban level, reject.
    if before == "ban" and mine < power.ban:
        raise Rejected(f"lifting a ban needs power level {power.ban}")
    # 5.5.4 The kick level, and more power than the target user.
    if mine < power.kick:
        raise Rejected(f"removing somebody needs power level {power.kick}")
    if power.of_user(target) >= mine:
        raise Rejected(f"{target} has as much power as you")


def _check_ban(event: Event, target: str, state: StateMap, power: PowerLevels) -> None:
    # 5.6.1 If the sender's current membership state is not join, reject.
    if membership_of(state, event.sender) != "join":
        raise Rejected("you are not in this room")
    # 5.6.2 The ban level, and more power than the target user.
    mine = power.of_user(event.sender)
    if mine < power.ban:
        raise Rejected(f"banning needs power level {power.ban}")
    if power.of_user(target) >= mine:
        raise Rejected(f"{target} has as much power as you")


def _check_knock(event: Event, target: str, state: StateMap) -> None:
    # 5.7.1 If the join_rule is anything other than knock or knock_restricted, reject.
    join_rule = join_rule_of(state)
    if join_rule != "knock" and not (join_rule == "knock_restricted" and event.rules.knock_restricted_joins):
        raise Rejected("this room takes no knocks")
    # 5.7.2 If sender does not match state_key, reject.
    if event.sender != target:
        raise Rejected("nobody can knock for somebody else")
    # 5.7.3 If the sender's current membership is not ban, invite, or join, allow.
    before = membership_of(state, target)
    if before in ("ban", "invite", "join"):
        raise Rejected(f"you cannot knock, as your membership is {before}")
