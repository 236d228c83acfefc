"""Rate limits: how many requests of a class one user, or one address, may make.

Owns the buckets, in memory, bounded: under a flood of addresses the least recently seen are forgotten. The arithmetic
is `homeserver.core.rate`.
"""

from __future__ import annotations

import enum


class LimitClass(enum.Enum):
    """What a request counts as. An endpoint names one, or none."""

    MESSAGE = "message"  # sending events and to-device messages
    LOGIN = "login"
    REGISTRATION = "registration"
    PASSWORD = "password"  # anything that lets someone try secrets
    JOIN = "join"  # joining, knocking
    INVITE = "invite"
    CREATE_ROOM = "create_room"
    MEDIA = "media"  # uploads, downloads of other servers' media, previews
    SEARCH = "search"  # what scans much: search, directory, hierarchy
    PROFILE = "profile"  # what fans out to all rooms of a user
    REPORT = "report"
    KEYS = "keys"
    LIGHT = "light"  # cheap, but not to be called in a loop
    FEDERATION = "federation"


MESSAGE = LimitClass.MESSAGE
LOGIN = LimitClass.LOGIN
REGISTRATION = LimitClass.REGISTRATION
PASSWORD = LimitClass.PASSWORD
JOIN = LimitClass.JOIN
INVITE = LimitClass.INVITE
CREATE_ROOM = LimitClass.CREATE_ROOM
MEDIA = LimitClass.MEDIA
SEARCH = LimitClass.SEARCH
PROFILE = LimitClass.PROFILE
REPORT = LimitClass.REPORT
KEYS = LimitClass.KEYS
LIGHT = LimitClass.LIGHT
FEDERATION = LimitClass.FEDERATION
