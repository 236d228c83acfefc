"""Backups of room keys: versions, which of two keys is kept, counts and etags."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cast import Cast, Device, Refused, refused
from tests.wire import Json, client_path

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
ROOM, OTHER_ROOM = "!room:example.org", "!other:example.org"
SESSION = "a/session+id="


def begins(device: Device, key: str = "key") -> str:
    body = {"algorithm": ALGORITHM, "auth_data": {"public_key": key}}
    return str(device.asks("POST", "room_keys", "version", body=body)["version"])


def keys(device: Device, method: str, *parts: str, version: str | None, body: Json = None) -> Json:
    """A request below /room_keys/keys."""
    path = client_path("room_keys", "keys", *parts) + ("" if version is None else f"?version={version}")
    answer = device.call(method, path, body)
    if answer.status != 200:
        raise Refused(f"{device}: {method} {path}", answer)
    return answer.json


def session(index: int = 0, forwarded: int = 0, verified: bool = False, mark: str = "") -> Json:
    return {
        "first_message_index": index,
        "forwarded_count": forwarded,
        "is_verified": verified,
        "session_data": {"ciphertext": mark},
    }


def test_versions_follow_each_other_and_their_numbers_are_not_given_again(cast: Cast) -> None:
    juliet = cast("juliet")
    with refused("M_NOT_FOUND", 404):
        juliet.asks("GET", "room_keys", "version")
    first, second = begins(juliet, "one"), begins(juliet, "two")
    assert juliet.asks("GET", "room_keys", "version") == {
        "algorithm": ALGORITHM,
        "auth_data": {"public_key": "two"},
        "count": 0,
        "etag": "0",
        "version": second,
    }
    assert juliet.asks("GET", "room_keys", "version", first)["auth_data"] == {"public_key": "one"}
    assert juliet.asks("DELETE", "room_keys", "version", second) == {}
    assert juliet.asks("GET", "room_keys", "version")["version"] == first
    for call in ("GET", "DELETE"):
        with refused("M_NOT_FOUND", 404):
            juliet.asks(call, "room_keys", "version", second)
    assert begins(juliet) not in (first, second)
    for unknown in ("0", "x", "01", "-1", "9" * 30):
        with refused("M_NOT_FOUND", 404):
            juliet.asks("GET", "room_keys", "version", unknown)


def test_only_the_auth_data_of_a_version_can_change(cast: Cast) -> None:
    juliet = cast("juliet")
    version = begins(juliet)
    changed = {"algorithm": ALGORITHM, "auth_data": {"public_key": "new"}}
    assert juliet.asks("PUT", "room_keys", "version", version, body={**changed, "version": version}) == {}
    assert juliet.asks("GET", "room_keys", "version")["auth_data"] == {"public_key": "new"}
    for body in ({**changed, "version": "99"}, {**changed, "algorithm": "other"}):
        with refused("M_INVALID_PARAM", 400):
            juliet.asks("PUT", "room_keys", "version", version, body=body)
    with refused("M_NOT_FOUND", 404):
        juliet.asks("PUT", "room_keys", "version", "99", body=changed)


def test_sessions_are_kept_found_and_deleted_by_room_and_one_by_one(cast: Cast) -> None:
    juliet, romeo = cast("juliet"), cast("romeo")
    version = begins(juliet)
    kept = keys(juliet, "PUT", ROOM, SESSION, body=session(1), version=version)
    assert kept == {"count": 1, "etag": "1"}
    rooms = {ROOM: {"sessions": {SESSION: session(1), "b": session()}}, OTHER_ROOM: {"sessions": {"c": session()}}}
    assert keys(juliet, "PUT", body={"rooms": rooms}, version=version) == {"count": 3, "etag": "2"}
    assert keys(juliet, "PUT", body={"rooms": rooms}, version=version) == {"count": 3, "etag": "2"}
    assert keys(juliet, "GET", version=version) == {"rooms": rooms}
    assert keys(juliet, "GET", ROOM, version=version) == rooms[ROOM]
    assert keys(juliet, "GET", ROOM, SESSION, version=version) == session(1)
    more = {"sessions": {"d": session()}}
    assert keys(juliet, "PUT", OTHER_ROOM, body=more, version=version) == {"count": 4, "etag": "3"}
    shown = juliet.asks("GET", "room_keys", "version", version)
    assert (shown["count"], shown["etag"]) == (4, "3")
    assert keys(juliet, "DELETE", ROOM, SESSION, version=version) == {"count": 3, "etag": "4"}
    with refused("M_NOT_FOUND", 404):
        keys(juliet, "GET", ROOM, SESSION, version=version)
    assert keys(juliet, "DELETE", ROOM, SESSION, version=version) == {"count": 3, "etag": "4"}
    assert keys(juliet, "DELETE", ROOM, version=version) == {"count": 2, "etag": "5"}
    assert keys(juliet, "GET", ROOM, version=version) == {"sessions": {}}
    assert keys(juliet, "DELETE", version=version) == {"count": 0, "etag": "6"}
    assert keys(juliet, "GET", version=version) == {"rooms": {}}
    with refused("M_NOT_FOUND", 404):
        keys(romeo, "GET", version=version)


def test_only_the_newest_version_can_be_written_to(cast: Cast) -> None:
    juliet = cast("juliet")
    old, new = begins(juliet), begins(juliet)
    with refused("M_WRONG_ROOM_KEYS_VERSION", 403):
        keys(juliet, "PUT", ROOM, SESSION, body=session(), version=old)
    path = f"/_matrix/client/v3/room_keys/keys/{ROOM}/s?version={old}"
    assert juliet.call("PUT", path, session()).json["current_version"] == new
    assert keys(juliet, "GET", version=old) == {"rooms": {}}
    for part in ([], [ROOM], [ROOM, SESSION]):
        for call in ("GET", "DELETE"):
            with refused("M_NOT_FOUND", 404):
                keys(juliet, call, *part, version="77")
    with refused("M_MISSING_PARAM", 400):
        keys(juliet, "GET", version=None)
    cases: list[tuple[Json, str]] = [
        ({}, "M_MISSING_PARAM"),
        ({**session(), "session_data": 1}, "M_BAD_JSON"),
        (session(-1), "M_BAD_JSON"),
    ]
    for body, errcode in cases:
        with refused(errcode, 400):
            keys(juliet, "PUT", ROOM, SESSION, body=body, version=new)


def test_of_two_keys_of_a_session_the_better_one_is_kept_whichever_comes_first(cast: Cast) -> None:
    juliet = cast("juliet")
    # From the best to the worst, as "Server-side key backups" has it.
    ranked = [session(9, 9, True), session(0, 1), session(0, 2), session(3, 0)]
    version = begins(juliet)
    for number, order in enumerate(permutations(ranked)):
        for each in order:
            keys(juliet, "PUT", ROOM, f"s{number}", body=each, version=version)
        assert keys(juliet, "GET", ROOM, f"s{number}", version=version) == ranked[0]


def test_counts_and_etags_tell_of_every_change(cast: Cast) -> None:
    juliet = cast("juliet")

    @settings(max_examples=10, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 2), st.booleans(), st.integers(0, 9)),
            max_size=8,
        )
    )
    def follows_the_model(puts: list[tuple[str, int, int, bool, int]]) -> None:
        version = begins(juliet)
        model: dict[str, Json] = {}
        etag = "0"
        for name, index, forwarded, verified, mark in puts:
            body = session(index, forwarded, verified, str(mark))
            answer = keys(juliet, "PUT", ROOM, name, body=body, version=version)
            is_better = name not in model or _rank(body) < _rank(model[name])
            if is_better:
                model[name] = body
            assert (answer["etag"] != etag) == is_better
            assert answer["count"] == len(model)
            etag = answer["etag"]
        assert keys(juliet, "GET", ROOM, version=version) == {"sessions": model}

    follows_the_model()


def _rank(key: Json) -> tuple[bool, int, int]:
    return not key["is_verified"], key["first_message_index"], key["forwarded_count"]
