"""Canonical JSON, base64 and signed JSON as the specification has them."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.core import canonical_json
from homeserver.core.canonical_json import BadJson, JsonObject, NotCanonical
from homeserver.core.room_rules import ROOM_RULES
from homeserver.core.signatures import BadSignature, SigningKey, sign_json, signed_bytes, verify_json
from homeserver.core.unpadded_base64 import decode_base64, encode_base64, encode_base64_urlsafe
from tests.spec.spec_files import numbered, vectors

CANONICAL = vectors("canonical_json.json")
SIGNING = vectors("json_signing.json")
REQUESTS = vectors("federation_request.json")
BASE64 = vectors("unpadded_base64.json")


def key_of(file: dict[str, Any]) -> SigningKey:
    key = SigningKey.load(f"ed25519 {file['key_id'].partition(':')[2]} {file['signing_key_seed']}")
    assert key.verify_key_base64 == file["verify_key"]
    return key


@pytest.mark.parametrize("case", numbered(CANONICAL["cases"]))
def test_canonical_json(case: dict[str, str]) -> None:
    value = canonical_json.decode(case["input"].encode("utf-8"))
    assert canonical_json.encode(value).decode("utf-8") == case["canonical"]
    assert canonical_json.encode(canonical_json.decode(case["canonical"].encode("utf-8"))) == case["canonical"].encode()


@pytest.mark.parametrize("case", numbered(CANONICAL["rejected_when_strict"]))
def test_what_has_no_canonical_form_is_rejected(case: dict[str, str]) -> None:
    with pytest.raises((BadJson, NotCanonical)):
        canonical_json.encode(canonical_json.decode(case["input"].encode("utf-8")))
    with pytest.raises((BadJson, NotCanonical)):
        canonical_json.encode_integers(canonical_json.decode(case["input"].encode("utf-8")))


def test_json_is_strict_from_the_right_room_version_on() -> None:
    first = list(ROOM_RULES).index(CANONICAL["strict_from_room_version"])
    assert [rules.strict_json for rules in ROOM_RULES.values()] == [n >= first for n in range(len(ROOM_RULES))]


@pytest.mark.parametrize("case", numbered(BASE64["cases"]))
def test_unpadded_base64(case: dict[str, str]) -> None:
    data = bytes.fromhex(case["hex"]) if "hex" in case else case["text"].encode("utf-8")
    plain = case["base64"]
    assert encode_base64(data) == plain
    assert decode_base64(plain) == decode_base64(plain + "=" * (-len(plain) % 4)) == data
    if "urlsafe" in case:
        assert encode_base64_urlsafe(data) == case["urlsafe"]
        assert decode_base64(case["urlsafe"]) == data


@pytest.mark.parametrize("case", numbered(SIGNING["cases"]))
def test_signing_json(case: dict[str, JsonObject]) -> None:
    signed = sign_json(case["input"], SIGNING["server_name"], key_of(SIGNING))
    assert signed == case["signed"]
    verify_json(signed, SIGNING["server_name"], SIGNING["key_id"], SIGNING["verify_key"])


@pytest.mark.parametrize("case", numbered(SIGNING["must_not_verify"]))
def test_what_must_not_verify_does_not(case: dict[str, Any]) -> None:
    with pytest.raises(BadSignature):
        verify_json(case["object"], SIGNING["server_name"], SIGNING["key_id"], SIGNING["verify_key"])


@pytest.mark.parametrize("case", numbered(REQUESTS["cases"]))
def test_signing_federation_requests(case: dict[str, Any]) -> None:
    request: JsonObject = {
        "method": case["method"],
        "uri": case["uri"],
        "origin": case["origin_server"],
        "destination": case["destination"],
    }
    if case["content"] is not None:
        request["content"] = case["content"]
    assert signed_bytes(request).decode("utf-8") == case["signed_json"]
    signed = sign_json(request, case["origin_server"], key_of(REQUESTS))
    assert signed["signatures"] == {case["origin_server"]: {REQUESTS["key_id"]: case["signature"]}}
    verify_json(signed, case["origin_server"], REQUESTS["key_id"], REQUESTS["verify_key"])
