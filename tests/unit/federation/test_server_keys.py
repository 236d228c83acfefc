"""Published keys: which responses are accepted, and for what a key may be used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.room_rules import ROOM_RULES
from homeserver.core.server_keys import (
    LONGEST_VALIDITY_MS,
    BadServerKeys,
    VerifyKey,
    may_sign_at,
    may_sign_event,
    merged,
    parse_server_keys,
)
from homeserver.core.signatures import SigningKey, sign_json

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
KEY, OLD, OTHER = SigningKey.generate("a_1"), SigningKey.generate("a_0"), SigningKey.generate("a_2")


def published(signed_by: SigningKey | None = KEY, **changes: JsonValue) -> JsonObject:
    response: JsonObject = {
        "server_name": "example.org",
        "verify_keys": {KEY.key_id: {"key": KEY.verify_key_base64}},
        "old_verify_keys": {OLD.key_id: {"key": OLD.verify_key_base64, "expired_ts": NOW_MS - HOUR_MS}},
        "valid_until_ts": NOW_MS + HOUR_MS,
        **changes,
    }
    return response if signed_by is None else sign_json(response, "example.org", signed_by)


def test_keys_in_use_and_old_keys_are_read() -> None:
    keys = parse_server_keys(published(), "example.org", NOW_MS).keys
    assert set(keys) == {
        VerifyKey(KEY.key_id, KEY.verify_key_base64, NOW_MS + HOUR_MS),
        VerifyKey(OLD.key_id, OLD.verify_key_base64, NOW_MS + HOUR_MS, NOW_MS - HOUR_MS),
    }


def test_validity_ends_after_seven_days_whatever_the_server_says() -> None:
    found = parse_server_keys(published(valid_until_ts=NOW_MS * 2), "example.org", NOW_MS)
    assert {key.valid_until_ts for key in found.keys} == {NOW_MS + LONGEST_VALIDITY_MS}


@pytest.mark.parametrize(
    "response",
    [
        published(signed_by=None),
        published(signed_by=OTHER),
        published(signed_by=OLD),
        sign_json(published(signed_by=None), "elsewhere.example", KEY),
        {**published(), "valid_until_ts": NOW_MS + 2 * HOUR_MS},
        published(server_name="elsewhere.example"),
        published(valid_until_ts="soon"),
        published(valid_until_ts=True),
        published(valid_until_ts=-1),
        published(verify_keys={}),
        published(verify_keys=[KEY.key_id]),
        published(verify_keys={KEY.key_id: {"key": "AAAA"}}),
        published(verify_keys={KEY.key_id: KEY.verify_key_base64}),
        published(old_verify_keys={OLD.key_id: {"key": OLD.verify_key_base64}}),
        published(old_verify_keys=None),
        published(verify_keys={f"ed25519:{n}": {"key": KEY.verify_key_base64} for n in range(1000)}),
    ],
)
def test_responses_that_prove_nothing_are_refused(response: JsonObject) -> None:
    with pytest.raises(BadServerKeys):
        parse_server_keys(response, "example.org", NOW_MS)


def test_unknown_algorithms_are_skipped() -> None:
    keys: JsonObject = {"rsa:1": {"key": "?"}, KEY.key_id: {"key": KEY.verify_key_base64}}
    found = parse_server_keys(published(verify_keys=keys, old_verify_keys={}), "example.org", NOW_MS)
    assert [key.key_id for key in found.keys] == [KEY.key_id]


IN_USE = VerifyKey("ed25519:a", "A" * 43, valid_until_ts=NOW_MS)
EXPIRED = replace(IN_USE, expired_ts=NOW_MS - HOUR_MS)


@pytest.mark.parametrize("version", sorted(ROOM_RULES))
def test_validity_is_enforced_from_room_version_5_on(version: str) -> None:
    rules = ROOM_RULES[version]
    assert may_sign_event(IN_USE, NOW_MS, rules)
    assert may_sign_event(IN_USE, NOW_MS + 1, rules) == (version in ("1", "2", "3", "4"))


@pytest.mark.parametrize("version", ["1", "12"])
def test_an_old_key_counts_for_events_up_to_its_end(version: str) -> None:
    rules = ROOM_RULES[version]
    assert may_sign_event(EXPIRED, NOW_MS - HOUR_MS, rules)
    assert not may_sign_event(EXPIRED, NOW_MS - HOUR_MS + 1, rules)


def test_requests_need_a_key_in_use() -> None:
    assert may_sign_at(IN_USE, NOW_MS)
    assert not may_sign_at(IN_USE, NOW_MS + 1)
    assert not may_sign_at(EXPIRED, NOW_MS - 2 * HOUR_MS)


def test_a_notary_can_prolong_what_the_owner_said_but_not_replace_it() -> None:
    longer = replace(IN_USE, valid_until_ts=NOW_MS + 5)
    shorter = replace(IN_USE, valid_until_ts=NOW_MS - 5)
    forged = replace(longer, key_base64="B" * 43)
    assert merged(None, IN_USE, from_owner=False) == IN_USE
    assert merged(IN_USE, longer, from_owner=False) == longer
    assert merged(IN_USE, shorter, from_owner=False) == IN_USE
    assert merged(IN_USE, forged, from_owner=False) == IN_USE
    assert merged(IN_USE, EXPIRED, from_owner=False) == EXPIRED
    assert merged(EXPIRED, longer, from_owner=False) == EXPIRED
    assert merged(IN_USE, forged, from_owner=True) == forged
    assert merged(EXPIRED, longer, from_owner=True) == longer
    assert merged(IN_USE, shorter, from_owner=True) == IN_USE
