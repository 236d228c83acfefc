"""The authorisation rules: may this event be, given this state?

Specification: rooms/v1 to rooms/v12, "Authorisation rules"; server-server API, "Auth events selection". One file a
group of rules; rules.py has the order.
"""

from homeserver.core.auth.power import INFINITE_POWER, PowerLevels
from homeserver.core.auth.rules import check
from homeserver.core.auth.selection import check_auth_events, needed_auth_keys
from homeserver.core.auth.state import Rejected, StateKey, StateMap, creators_of, membership_of

__all__ = [
    "INFINITE_POWER",
    "PowerLevels",
    "Rejected",
    "StateKey",
    "StateMap",
    "check",
    "check_auth_events",
    "creators_of",
    "membership_of",
    "needed_auth_keys",
]
