"""The X-Matrix scheme: headers that carry the signature of a request between servers.

Pure. Specification: server-server API, "Request Authentication".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from homeserver.core import canonical_json
from homeserver.core.signatures import Signer

SCHEME: Final = "X-Matrix"
MAX_HEADER: Final = 16 * 1024
MAX_CREDENTIALS: Final = 8

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110 tokens, and colons for older servers; base64 without quotes is tolerated, where it is unambiguous.
_BARE_VALUE: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z:/=\[\]]+")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_USUAL: Final = re.compile(
    r'X-Matrix origin="([^"\\]+)",destination="([^"\\]+)",key="([^"\\]+)",sig="([^"\\]+)"', re.DOTALL
)
"""As this server writes it, and others do: read in one go."""
_BLANKS: Final = re.compile(r"[ \t]*")


class BadXMatrix(ValueError):
    """The header is not X-Matrix as it must be; the text says what is wrong."""


class XMatrix(msgspec.Struct, frozen=True):
    """One signature of a request. `destination` is None from servers that know no Matrix 1.3."""

    origin: str
    destination: str | None
    key_id: str
    signature: str


def signed_bytes(method: str, target: str, origin: str, destination: str | None, canonical_body: bytes | None) -> bytes:
    """What the signature of a request covers. The body is canonical JSON; None where the request has none."""
    covered: dict[str, object] = {"method": method, "origin": origin, "uri": target}
    if destination is not None:
        covered["destination"] = destination
    if canonical_body is not None:
        covered["content"] = msgspec.Raw(canonical_body)
    return canonical_json.encode_trusted(covered)


def authorization(signer: Signer, destination: str, method: str, target: str, canonical_body: bytes | None) -> str:
    """The value of the Authorization header of a request of ours."""
    signature = signer.key.sign_bytes(signed_bytes(method, target, signer.server, destination, canonical_body))
    return f'{SCHEME} origin="{signer.server}",destination="{destination}",key="{signer.key.key_id}",sig="{signature}"'


def parse(header: str) -> tuple[XMatrix, ...]:
    """The signatures in an Authorization header: at least one, several where a server signs with several keys."""
    if len(header) > MAX_HEADER:
        raise BadXMatrix("The Authorization header is too long.")
    usual = _USUAL.fullmatch(header)
    if usual is not None:
        return (XMatrix(*usual.groups()),)
    found = tuple(_credentials(parameters) for parameters in _split(header))
    if not found:
        raise BadXMatrix("The Authorization header is empty.")
    if len(found) > MAX_CREDENTIALS:
        raise BadXMatrix("The request has too many signatures.")
    return found


def parse_parameters(header: str) -> dict[str, str]:
    """The parameters of a header with one signature, names in lower case."""
    found = list(_split(header))
    if len(found) != 1:
        raise BadXMatrix("One signature was expected.")
    return found[0]


def _credentials(parameters: dict[str, str]) -> XMatrix:
    # The list of parameters in the specification says `signature`; what is sent is `sig`.
    missing = [name for name in ("origin", "key", "sig") if not parameters.get(name)]
    if missing:
        raise BadXMatrix(f"The Authorization header has no {' and no '.join(missing)}.")
    return XMatrix(parameters["origin"], parameters.get("destination"), parameters["key"], parameters["sig"])


def _split(header: str) -> Iterator[dict[str, str]]:
    """The parameters of each X-Matrix in the header. Repeated headers arrive joined by commas."""
    position, end = _skip_blanks(header, 0), len(header)
    while position < end:
        scheme = _TOKEN.match(header, position)
        if scheme is None or scheme[0].lower() != "x-matrix":
            raise BadXMatrix("The Authorization header must be of the scheme X-Matrix.")
        if header[scheme.end() : scheme.end() + 1] not in (" ", "\t"):
            raise BadXMatrix("X-Matrix must be followed by a blank and its parameters.")
        parameters: dict[str, str] = {}
        position = _skip_blanks(header, scheme.end())
        while position < end:
            name = _TOKEN.match(header, position)
            if name is None:
                raise BadXMatrix("The Authorization header must be a list of name=value.")
            if header[name.end() : name.end() + 1] != "=":
                break  # another scheme begins
            value, position = _value(header, name.end() + 1)
            if parameters.setdefault(name[0].lower(), value) != value:
                raise BadXMatrix(f"The Authorization header has two values for {name[0].lower()}.")
            position = _skip_comma(header, position)
        yield parameters


def _value(header: str, position: int) -> tuple[str, int]:
    quoted = _QUOTED.match(header, position)
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
    bare = _BARE_VALUE.match(header, position)
    if bare is None:
        raise BadXMatrix("The Authorization header has a malformed value.")
    return bare[0], bare.end()


def _skip_blanks(header: str, position: int) -> int:
    blanks = _BLANKS.match(header, position)
    return position if blanks is None else blanks.end()


def _skip_comma(header: str, position: int) -> int:
    """Past one comma or more (RFC 9110 lets lists have empty elements) and the blanks around."""
    after = _skip_blanks(header, position)
    if after < len(header) and header[after] != ",":
        raise BadXMatrix("The parameters in the Authorization header must be separated by commas.")
    while after < len(header) and header[after] == ",":
        after = _skip_blanks(header, after + 1)
    return after
