"""The X-Matrix header: made as older servers need it, read as generously as the specification asks."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.outbound.x_matrix import BadXMatrix, XMatrix, authorization, parse, parse_parameters, signed_bytes
from homeserver.core import canonical_json
from homeserver.core.ids import ServerName
from homeserver.core.signatures import Signer, SigningKey, verify_bytes
from tests.spec.spec_files import numbered, vectors

VECTORS = vectors("federation_request.json")
KEY = SigningKey.load(f"ed25519 {VECTORS['key_id'].partition(':')[2]} {VECTORS['signing_key_seed']}")


@pytest.mark.parametrize("case", numbered(VECTORS["cases"]))
def test_requests_are_signed_as_in_the_vectors(case: dict[str, Any]) -> None:
    body = None if case["content"] is None else canonical_json.encode(case["content"])
    signer = Signer(ServerName(case["origin_server"]), KEY)
    assert (
        signed_bytes(case["method"], case["uri"], case["origin_server"], case["destination"], body)
        == case["signed_json"].encode()
    )
    assert authorization(signer, case["destination"], case["method"], case["uri"], body) == case["authorization"]


@pytest.mark.parametrize("case", numbered(VECTORS["parse"]))
def test_headers_are_read_as_in_the_vectors(case: dict[str, Any]) -> None:
    assert parse_parameters(case["header"]) == case["parameters"]


def test_several_signatures_may_come_in_one_header_or_in_headers_that_were_joined() -> None:
    one = 'X-Matrix origin=a,destination="b",key="ed25519:1",sig=AA'
    two = "x-matrix origin=a,key=ed25519:2,sig=BB"
    first, second = XMatrix("a", "b", "ed25519:1", "AA"), XMatrix("a", None, "ed25519:2", "BB")
    assert parse(f"{one},{two}") == parse(f"{one} ,\t{two}") == (first, second)
    assert parse(f"{one}, {two},") == (first, second)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "X-Matrix",
        "X-Matrix ",
        "Bearer abc",
        "X-Matrixorigin=a,key=b,sig=c",
        "X-Matrix origin=a,key=ed25519:1",
        "X-Matrix origin=a,sig=c",
        "X-Matrix key=ed25519:1,sig=c",
        "X-Matrix origin=,key=ed25519:1,sig=c",
        'X-Matrix origin="",key="ed25519:1",sig="c"',
        'X-Matrix origin="a,key="b",sig="c"',
        'X-Matrix origin="a',
        'X-Matrix origin="a"key="b"',
        "X-Matrix origin=a key=b sig=c",
        "X-Matrix origin=a,origin=b,key=ed25519:1,sig=c",
        "X-Matrix origin=a,key=ed25519:1,sig=c, Basic abc",
        "X-Matrix " + "a=b," * 10_000,
        ",".join(["X-Matrix origin=a,key=k,sig=s"] * 50),
    ],
)
def test_malformed_headers_are_refused(header: str) -> None:
    with pytest.raises(BadXMatrix):
        parse(header)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for header in (text, "X-Matrix " + text, f'X-Matrix origin="{text}",key="k",sig="s"'):
        try:
            found = parse(header)
        except BadXMatrix:
            continue
        assert all(each.origin and each.key_id and each.signature for each in found)


VALUES = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(VALUES, VALUES, VALUES, st.booleans(), st.sampled_from(["", " ", "\t ", "  "]))
def test_every_value_survives_quoting(origin: str, key: str, signature: str, upper: bool, blanks: str) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    names = ["ORIGIN", "Key", "siG"] if upper else ["origin", "key", "sig"]
    pairs = [f"{name}={quoted(value)}" for name, value in zip(names, (origin, key, signature), strict=True)]
    found = parse("X-Matrix " + f"{blanks},{blanks}".join(pairs))
    assert found == (XMatrix(origin, None, key, signature),)


SERVERS = st.text(string.ascii_lowercase + string.digits + ".-", min_size=1, max_size=20)


@given(SERVERS, SERVERS, st.text(string.printable.replace("\0", ""), max_size=30), st.none() | st.binary(max_size=20))
def test_what_is_signed_can_be_verified_after_reading_the_header(
    origin: str, destination: str, target: str, blob: bytes | None
) -> None:
    body = None if blob is None else canonical_json.encode({"blob": blob.hex()})
    header = authorization(Signer(ServerName(origin), KEY), destination, "PUT", target, body)
    (found,) = parse(header)
    assert (found.origin, found.destination, found.key_id) == (origin, destination, KEY.key_id)
    message = signed_bytes("PUT", target, origin, destination, body)
    assert verify_bytes(message, found.signature, KEY.verify_key_base64)
    assert not verify_bytes(message + b" ", found.signature, KEY.verify_key_base64)
