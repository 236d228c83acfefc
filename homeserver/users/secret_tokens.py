"""The texts of access tokens and refresh tokens, and other names made at random."""

from __future__ import annotations

import base64
import secrets
import string
import zlib
from typing import Final

ACCESS: Final = "mt_"
REFRESH: Final = "mr_"

_BYTES: Final = 32


def new_token(prefix: str) -> str:
    """A token that nobody can guess. It ends in a checksum, by which scanners for leaked secrets know one."""
    body = prefix + secrets.token_urlsafe(_BYTES)
    checksum = base64.urlsafe_b64encode(zlib.crc32(body.encode()).to_bytes(4, "big")).decode().rstrip("=")
    return f"{body}_{checksum}"


def new_device_id() -> str:
    """A device id, short enough to be read out."""
    return "".join(secrets.choice(string.ascii_uppercase) for _ in range(10))


def new_localpart() -> str:
    """A user name for one who named none."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(12))
