"""The rules in their order, to be laid beside rooms/v12, "Authorisation rules", whose numbers they have."""

from __future__ import annotations

from homeserver.core.auth.create import check_create
from homeserver.core.auth.membership import check_member
from homeserver.core.auth.power import PowerLevels
from homeserver.core.auth.power_change import check_power_levels
from homeserver.core.auth.state import CREATE, POWER_LEVELS, Rejected, StateMap, membership_of
from homeserver.core.event import Event
from homeserver.core.ids import InvalidId, server_name_of


def check(event: Event, state: StateMap) -> None:
    """Raise Rejected unless the rules allow the event in this state.

    The state needs to hold what the auth events selection names, and the create event in every room version. Rule 3, on
    the list of auth_events, is `check_auth_events`; signatures are checked before.
    """
    # 1. If type is m.room.create: rules of its own.
    if event.type == "m.room.create":
        check_create(event)
        return
    # 2. The room must be that of an accepted m.room.create event.
    create = state.get(CREATE)
    if create is None or create.room_id != event.room_id:
        raise Rejected("the room has no m.room.create event")
    # 4. If m.federate is false, only users of the creating server.
    if create.content.get("m.federate") is False and server_name_of(event.sender) != server_name_of(create.sender):
        raise Rejected("this room is closed to users of other servers")
    # Up to room version 5: aliases are their server's own.
    if event.type == "m.room.aliases" and event.rules.aliases_rule:
        if event.state_key != server_name_of(event.sender):
            raise Rejected("the state key of m.room.aliases must be your server's name")
        return
    # 5. If type is m.room.member: rules of its own.
    if event.type == "m.room.member":
        check_member(event, state)
        return
    # 6. If the sender's current membership state is not join, reject.
    if membership_of(state, event.sender) != "join":
        raise Rejected("you are not in this room")
    _check_power(event, state, PowerLevels.of(create, state.get(POWER_LEVELS), event.rules))


def _check_power(event: Event, state: StateMap, power: PowerLevels) -> None:
    """What members may send."""
    mine = power.of_user(event.sender)
    # 7. If type is m.room.third_party_invite: allow if and only if the power level is the invite level or above.
    if event.type == "m.room.third_party_invite":
        if mine < power.invite:
            raise Rejected(f"inviting needs power level {power.invite}")
        return
    # 8. If the event type's required power level is greater than the sender's power level, reject.
    needed = power.needed_for_event(event.type, event.is_state)
    if needed > mine:
        raise Rejected(f"sending {event.type} here needs power level {needed}; you have {mine}")
    # 9. If the event has a state_key that starts with an @ and does not match the sender, reject.
    if event.state_key is not None and event.state_key.startswith("@") and event.state_key != event.sender:
        raise Rejected("a state key that is a user ID must be your own")
    # 10. If type is m.room.power_levels: rules of its own.
    if event.type == "m.room.power_levels":
        check_power_levels(event, state, power)
    # Up to room version 2: redactions are a matter of these rules.
    elif event.type == "m.room.redaction" and event.rules.redaction_rule:
        _check_redaction(event, mine, power)


def _check_redaction(event: Event, mine: float, power: PowerLevels) -> None:
    if mine >= power.redact:
        return
    try:
        if event.redacts is not None and server_name_of(event.redacts) == server_name_of(event.event_id):
            return
    except InvalidId:
        pass
    raise Rejected(f"redacting what users of other servers have sent needs power level {power.redact}")
