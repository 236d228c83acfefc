"""Checks on values of settings that are of the right type. Each answers None, or words that complete "expected ...".

Pure; the meaning of a value (does the file exist, does the name resolve) is for the part that uses it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

ROOM_VERSIONS = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")
_LABELS = re.compile(r"[A-Za-z0-9.-]{1,255}")
_PORT = re.compile(r"[0-9]{1,5}")
_KEY_ID = re.compile(r"ed25519:[A-Za-z0-9_]+")
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9+/]{43}=?")


def server_name(text: str) -> str | None:
    """Appendices, "Server Name": a host name, an IPv4 address or an IPv6 address in brackets, and perhaps a port."""
    allowed = "a server name such as example.org or example.org:8448, without http:// and without a path"
    host, port = _split_port(text)
    if port is not None and (not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535):
        return allowed
    if len(text) > 230:
        return "a server name of at most 230 characters (user ids carry it, and they end at 255)"
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return "an IPv6 address between the brackets"
        return None
    if not _LABELS.fullmatch(host) or ".." in host or host[0] in ".-" or host[-1] in ".-":
        return allowed
    if host != host.lower():
        return f"a server name in lower case: {text.lower()}"
    return None


def delegated_name(text: str | None) -> str | None:
    """A server name, or none."""
    return None if text is None else server_name(text)


def key_id(text: str) -> str | None:
    """The id of a signing key."""
    return None if _KEY_ID.fullmatch(text) else "the id of a signing key, such as ed25519:a_1"


def public_key(text: str) -> str | None:
    """A public key as it is published."""
    return None if _PUBLIC_KEY.fullmatch(text) else "a public key: 43 characters of base64"


def _split_port(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        return host + bracket, rest[1:] if rest.startswith(":") else (rest or None)
    host, colon, port = text.partition(":")
    return host, port if colon else None


def base_url(text: str) -> str | None:
    """A URL under which clients reach this server."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        return "a URL such as https://matrix.example.org/"
    return None


def bind_address(text: str) -> str | None:
    """An address of this machine to listen on."""
    if text == "localhost":
        return None
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return "an IP address such as 127.0.0.1, 0.0.0.0 (all, IPv4) or :: (all)"
    return None


def database_url(text: str | None) -> str | None:
    """Where PostgreSQL is."""
    if text is None or re.match(r"postgres(ql)?://", text):
        return None
    return "a URL such as postgresql://user@host/database, or null for Myelin's own PostgreSQL"


def room_version(text: str) -> str | None:
    """A version that rooms can be made with."""
    return None if text in ROOM_VERSIONS else "a room version, one of " + ", ".join(ROOM_VERSIONS)


def at_least(lowest: int, shown: str | None = None) -> Callable[[Any], str | None]:
    """A number not below this one."""
    return lambda value: None if value >= lowest else f"at least {shown or lowest}"


def between(lowest: int, highest: int) -> Callable[[Any], str | None]:
    """A number within these limits."""
    return lambda value: None if lowest <= value <= highest else f"a number from {lowest} to {highest}"


def not_empty(value: str | tuple[Any, ...] | None) -> str | None:
    """Something rather than nothing."""
    return None if value is None or len(value) > 0 else "something that is not empty"


def long_secret(text: str | None) -> str | None:
    """A secret that cannot be guessed."""
    return None if text is None or len(text) >= 8 else "null, or a secret of 8 or more characters"
