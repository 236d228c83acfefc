"""Hashes, signatures, ids and redactions of events as the specification has them."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest

from homeserver.core import hashes
from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft, build
from homeserver.core.event import Event
from homeserver.core.pruning import redact
from homeserver.core.room_rules import ROOM_RULES
from homeserver.core.signatures import Signer, SigningKey, servers_that_must_sign, sign_json, verify_event, verify_json
from homeserver.core.unpadded_base64 import encode_base64
from tests.spec.spec_files import numbered, vectors

EVENT_IDS = vectors("event_ids.json")
SIGNING = vectors("event_signing.json")
REDACTION = vectors("redaction.json")
KEY = SigningKey.load(f"ed25519 1 {EVENT_IDS['signing_key_seed']}")
SERVER, KEY_ID, VERIFY_KEY = EVENT_IDS["server_name"], EVENT_IDS["key_id"], EVENT_IDS["verify_key"]


@pytest.mark.parametrize("case", numbered(EVENT_IDS["cases"]))
def test_parsing_an_event_finds_its_ids(case: dict[str, Any]) -> None:
    rules = ROOM_RULES[case["room_version"]]
    event = Event.parse(case["event"], rules)
    assert event.event_id == case["event_id"]
    assert event.room_id == case["room_id"]
    assert event.to_pdu() == {key: value for key, value in case["event"].items() if key != "unsigned"}
    assert hashes.content_hash(case["event"], rules) == case["content_hash"]
    assert hashes.check_content_hash(case["event"], rules)
    assert encode_base64(hashes.reference_hash(case["event"], rules)) == case["reference_hash"]
    assert servers_that_must_sign(event) == {SERVER}
    verify_event(event, SERVER, KEY_ID, VERIFY_KEY)


@pytest.mark.parametrize("case", numbered(EVENT_IDS["cases"]))
def test_building_the_same_event_gives_the_same_bytes(case: dict[str, Any]) -> None:
    rules = ROOM_RULES[case["room_version"]]
    wanted = Event.parse(case["event"], rules)
    pdu = case["event"]
    draft = Draft(pdu.get("room_id"), pdu["type"], pdu["sender"], pdu["content"], pdu["state_key"])
    references = {entry[0]: entry[1]["sha256"] for entry in pdu["prev_events"] if not isinstance(entry, str)}
    built = build(
        draft,
        rules,
        wanted.prev_events,
        wanted.auth_events,
        pdu["depth"],
        pdu["origin_server_ts"],
        Signer(SERVER, KEY),
        pdu.get("event_id"),
        references,
    )
    if "origin" in pdu:
        # The vectors of older versions have the optional key origin, which we do not write; all else must be equal.
        without = {k: v for k, v in pdu.items() if k not in ("origin", "hashes", "signatures", "unsigned")}
        assert {k: v for k, v in built.to_pdu().items() if k not in ("hashes", "signatures")} == without
        assert hashes.check_content_hash(built.to_pdu(), rules)
        verify_event(built, SERVER, KEY_ID, VERIFY_KEY)
    else:
        assert built.json == wanted.json
        assert {name: getattr(built, name) for name in Event.__slots__} == {
            name: getattr(wanted, name) for name in Event.__slots__
        }


def test_some_vectors_are_built_to_the_byte() -> None:
    assert sum("origin" not in case["event"] for case in EVENT_IDS["cases"]) >= 4


@pytest.mark.parametrize("case", numbered(SIGNING["cases"]))
def test_signing_the_events_of_the_specification(case: dict[str, Any]) -> None:
    rules = ROOM_RULES[case["room_version"]]
    event: JsonObject = copy.deepcopy(case["event"])
    event["hashes"] = {"sha256": hashes.content_hash(event, rules)}
    assert event["hashes"] == {"sha256": case["content_hash"]}
    signed = sign_json(redact(event, rules), SERVER, KEY)
    event["signatures"] = signed["signatures"]
    assert event == case["signed"]
    assert redact(event, rules) == case["redacted"]
    verify_json(redact(event, rules), SERVER, KEY_ID, VERIFY_KEY)
    digest = hashlib.sha256(hashes.reference_bytes(event, rules)).digest()
    assert encode_base64(digest) == case["reference_hash"]


@pytest.mark.parametrize("case", numbered(REDACTION["cases"]))
def test_redaction(case: dict[str, Any]) -> None:
    before = copy.deepcopy(case["event"])
    for expected in case["expected"]:
        for version in expected["room_versions"]:
            rules = ROOM_RULES[version]
            assert redact(case["event"], rules) == expected["redacted"], version
            assert redact(expected["redacted"], rules) == expected["redacted"], version
    assert case["event"] == before


def test_the_vectors_have_redactions_of_every_room_version() -> None:
    versions = {v for case in REDACTION["cases"] for expected in case["expected"] for v in expected["room_versions"]}
    assert versions == set(ROOM_RULES)
