"""Identifiers of Matrix: what is one, and what its parts are.

Specification: appendices, "Identifier Grammar". Doors parse text into these types once; inside, the type is trusted.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NewType

UserId = NewType("UserId", str)
RoomId = NewType("RoomId", str)
EventId = NewType("EventId", str)
RoomAlias = NewType("RoomAlias", str)
ServerName = NewType("ServerName", str)
DeviceId = NewType("DeviceId", str)

MAX_ID_BYTES: Final = 255

_DNS_NAME_AND_PORT: Final = re.compile(r"[A-Za-z0-9.\-]{1,255}(?::[0-9]{1,5})?")
_IPV6_AND_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?")
_NEW_LOCALPART: Final = re.compile(r"[a-z0-9._=\-/+]+")
_NOT_IN_LOCALPART: Final = re.compile(rb"[^a-z0-9._\-/+]")
_HASH: Final = re.compile(r"[A-Za-z0-9_\-]{43}")
_NAMESPACED: Final = re.compile(r"[a-z][a-z0-9._\-]{0,254}")


class InvalidId(ValueError):
    """The text is not an identifier of the kind that was asked for."""


def parse_server_name(text: str) -> ServerName:
    """A server name, or InvalidId. Specification: appendices, "Server Name"."""
    if _DNS_NAME_AND_PORT.fullmatch(text):
        return ServerName(text)
    ipv6 = _IPV6_AND_PORT.fullmatch(text)
    if ipv6:
        try:
            ipaddress.IPv6Address(ipv6[1])
        except ValueError:
            raise InvalidId(f"the server name {text!r} holds no valid IPv6 address") from None
        return ServerName(text)
    raise InvalidId(f"{text[:300]!r} is not a server name")


def parse_user_id(text: str) -> UserId:
    """A user id; historical ones are accepted. Specification: appendices, "User Identifiers"."""
    _check_with_domain(text, "@", "user ID")
    return UserId(text)


def is_plain_user_of(text: str, server: ServerName) -> bool:
    """Whether this is a user id of that server, as nearly all are: cheap. False of odd ones, to be parsed."""
    name, _, domain = text.partition(":")
    return domain == server and name[:1] == "@" and text.isascii() and "\0" not in name and len(text) <= MAX_ID_BYTES


def parse_room_id(text: str) -> RoomId:
    """A room id of any room version, with a domain or as a hash. Specification: appendices, "Room IDs"."""
    if ":" in text:
        _check_with_domain(text, "!", "room ID")
    elif not is_hash_room_id(text):
        raise InvalidId(f"{text[:300]!r} is not a room ID")
    return RoomId(text)


def parse_event_id(text: str) -> EventId:
    """An event id of any room version. Specification: appendices, "Event IDs"."""
    if not text.startswith("$") or len(text) < 2 or "\0" in text:
        raise InvalidId(f"{text[:300]!r} is not an event ID")
    _check_length(text, "event ID")
    return EventId(text)


def parse_alias(text: str) -> RoomAlias:
    """A room alias. Specification: appendices, "Room Aliases"."""
    _check_with_domain(text, "#", "room alias")
    return RoomAlias(text)


def is_hash_room_id(text: str) -> bool:
    """Whether this is a room id that is the hash of the create event (room version 12 and later)."""
    return text.startswith("!") and _HASH.fullmatch(text, 1) is not None


def is_hash_event_id(text: str) -> bool:
    """Whether this has the form of an event id that is a URL-safe hash (room version 4 and later)."""
    return text.startswith("$") and _HASH.fullmatch(text, 1) is not None


def server_name_of(identifier: str) -> ServerName:
    """The domain of a user id, alias, or old room or event id."""
    colon = identifier.find(":")
    if colon < 0:
        raise InvalidId(f"{identifier[:300]!r} has no domain")
    return ServerName(identifier[colon + 1 :])


def localpart_of(identifier: str) -> str:
    """What stands between the sigil and the first colon."""
    return identifier[1:].partition(":")[0]


def check_new_localpart(text: str) -> None:
    """Raise InvalidId unless a new account may have this localpart (the strict grammar)."""
    if not _NEW_LOCALPART.fullmatch(text):
        raise InvalidId("a user name must not be empty and may only hold the characters a-z 0-9 . _ = - / +")


def make_user_id(localpart: str, server: ServerName) -> UserId:
    """The user id of a local account; InvalidId if it is too long or its localpart is not one."""
    return parse_user_id(f"@{localpart}:{server}")


def is_compliant_user_id(user_id: str) -> bool:
    """Whether a user id keeps to U+0021..U+007E with a localpart; others stay out of what is not an event.

    Specification: appendices, "Historical User IDs".
    """
    localpart = localpart_of(user_id)
    return bool(localpart) and all("!" <= character <= "~" for character in localpart)


def localpart_from(text: str, *, keep_case: bool = False) -> str:
    """A localpart made from any text. Specification: appendices, "Mapping from other character sets"."""
    if keep_case:
        text = re.sub("[A-Z_]", lambda found: "_" + found[0], text)
    encoded = re.sub(rb"[A-Z]", lambda found: found[0].lower(), text.encode("utf-8"))
    return _NOT_IN_LOCALPART.sub(lambda found: b"=" + found[0].hex().encode(), encoded).decode("ascii")


def is_namespaced_identifier(text: str) -> bool:
    """Specification: appendices, "Common Namespaced Identifier Grammar"."""
    return _NAMESPACED.fullmatch(text) is not None


def _check_with_domain(text: str, sigil: str, kind: str) -> None:
    colon = text.find(":")
    if colon < 1 or text[0] != sigil or "\0" in text:
        raise InvalidId(f"{text[:300]!r} is not a {kind}: it must look like {sigil}name:server")
    _check_length(text, kind)
    parse_server_name(text[colon + 1 :])


def _check_length(text: str, kind: str) -> None:
    if text.isascii():
        size = len(text)
    else:
        try:
            size = len(text.encode("utf-8"))
        except UnicodeEncodeError:
            raise InvalidId(f"this {kind} holds a lone surrogate, which is no character") from None
    if size > MAX_ID_BYTES:
        raise InvalidId(f"this {kind} is longer than {MAX_ID_BYTES} bytes")
