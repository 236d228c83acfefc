"""Redactions: what is left of an event, and whether a redaction takes effect.

Specification: rooms/v1 to rooms/v12, "Redactions" and "Handling redactions". The algorithm itself is in pruning.py,
since hashes and signatures need it too.
"""

from __future__ import annotations

from homeserver.core import hashes
from homeserver.core.auth.power import PowerLevels
from homeserver.core.event import Event
from homeserver.core.ids import server_name_of
from homeserver.core.pruning import redact

__all__ = ["redact", "redacted", "takes_effect"]


def redacted(event: Event) -> Event:
    """The event in its redacted form, under the same id."""
    return Event.load(hashes.canonical(redact(event.to_pdu(), event.rules), event.rules), event.rules, event.event_id)


def takes_effect(redaction: Event, target: Event, power: PowerLevels) -> bool:
    """Whether a redaction that the rules let in is to be applied, with the power levels at the redaction.

    In room versions 1 and 2 the authorisation rules have decided it.
    """
    if redaction.redacts != target.event_id or redaction.room_id != target.room_id:
        return False
    if redaction.rules.redaction_rule:
        return True
    if power.of_user(redaction.sender) >= power.redact:
        return True
    return server_name_of(redaction.sender) == server_name_of(target.sender)
