"""Base64 without padding. Specification: appendices, "Unpadded Base64"."""

from __future__ import annotations

import binascii


def encode_base64(data: bytes) -> str:
    """Standard alphabet, no padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode("ascii")


def encode_base64_urlsafe(data: bytes) -> str:
    """URL-safe alphabet, no padding."""
    return encode_base64(data).replace("+", "-").replace("/", "_")


def decode_base64(text: str) -> bytes:
    """The bytes of either alphabet, with or without padding; ValueError if it is not base64."""
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"not base64: {error}") from None
