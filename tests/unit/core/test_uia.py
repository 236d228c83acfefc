"""User-interactive authentication. Specification: Client-Server API, "User-Interactive Authentication API"."""

import msgspec
import pytest

from homeserver.core.canonical_json import JsonValue
from homeserver.core.uia import (
    DUMMY,
    PASSWORD,
    PASSWORD_FLOWS,
    REGISTRATION_TOKEN,
    SESSION_LIFETIME_MS,
    Accepted,
    BadAttempt,
    Challenge,
    Completed,
    Flow,
    Identifier,
    PasswordAttempt,
    PhoneIdentifier,
    PlainAttempt,
    Refused,
    Resume,
    Session,
    ThirdPartyIdentifier,
    TokenAttempt,
    UserIdentifier,
    WrongSession,
    advance,
    begin,
    needs_verdict,
    parse_attempt,
    registration_flows,
    session_id_of,
)

WRONG = Refused("M_FORBIDDEN", "Invalid password")
SECRET = PasswordAttempt(UserIdentifier("alice"), "ilovebananas")
TOKEN = TokenAttempt("fBVFdqVE")
PLAIN = PlainAttempt(DUMMY)


def session(*flows: Flow) -> Session:
    return begin("xxxxxx", "delete devices of @alice:example.org", flows, now_ms=1000)


def challenge(outcome: Completed | Challenge) -> Challenge:
    assert isinstance(outcome, Challenge)
    return outcome


def test_the_first_answer_names_the_flows_and_the_session() -> None:
    flows: tuple[Flow, ...] = (("example.type.foo", "example.type.bar"), ("example.type.foo", "example.type.baz"))
    begun = begin("xxxxxx", "register", flows, 0, {"example.type.baz": {"example_key": "foobar"}})
    assert Challenge(begun).body() == {
        "flows": [
            {"stages": ["example.type.foo", "example.type.bar"]},
            {"stages": ["example.type.foo", "example.type.baz"]},
        ],
        "params": {"example.type.baz": {"example_key": "foobar"}},
        "session": "xxxxxx",
    }


def test_dummy_completes_an_open_registration() -> None:
    begun = session(*registration_flows(require_token=False))
    assert not needs_verdict(begun, PLAIN)
    assert isinstance(advance(begun, PLAIN), Completed)


def test_the_right_password_completes_and_the_wrong_one_may_be_tried_again() -> None:
    begun = session(*PASSWORD_FLOWS)
    assert needs_verdict(begun, SECRET)
    refused = challenge(advance(begun, SECRET, WRONG))
    body = refused.body()
    assert (body["errcode"], body["error"]) == ("M_FORBIDDEN", "Invalid password")
    assert (body["session"], body["flows"]) == ("xxxxxx", [{"stages": [PASSWORD]}])
    assert isinstance(advance(refused.session, SECRET, Accepted()), Completed)


def test_a_registration_token_is_remembered_for_the_registration() -> None:
    begun = session(*registration_flows(require_token=True))
    done = advance(begun, TOKEN, Accepted(TOKEN.token))
    assert isinstance(done, Completed)
    assert done.session.results == {REGISTRATION_TOKEN: "fBVFdqVE"}


def test_stages_are_passed_in_the_order_of_their_flow() -> None:
    begun = session((REGISTRATION_TOKEN, DUMMY))
    early = challenge(advance(begun, PLAIN))
    assert early.refused is not None
    assert early.refused.errcode == "M_FORBIDDEN"
    assert early.session.completed == ()
    first = challenge(advance(begun, TOKEN, Accepted()))
    assert first.body()["completed"] == [REGISTRATION_TOKEN]
    assert "errcode" not in first.body()
    assert isinstance(advance(first.session, PLAIN), Completed)


def test_the_client_chooses_among_the_flows_by_what_it_completes() -> None:
    begun = session((PASSWORD, DUMMY), (PASSWORD, REGISTRATION_TOKEN))
    first = challenge(advance(begun, SECRET, Accepted())).session
    assert first.next_stages() == {DUMMY, REGISTRATION_TOKEN}
    assert isinstance(advance(first, PLAIN), Completed)
    assert isinstance(advance(first, TOKEN, Accepted()), Completed)


def test_a_stage_of_a_flow_that_was_not_taken_is_not_due() -> None:
    first = challenge(advance(session((PASSWORD, DUMMY), (DUMMY, REGISTRATION_TOKEN)), SECRET, Accepted())).session
    assert first.next_stages() == {DUMMY}
    assert challenge(advance(first, TOKEN, Accepted())).session == first


def test_a_completed_stage_cannot_be_tried_again() -> None:
    first = challenge(advance(session((PASSWORD, DUMMY)), SECRET, Accepted())).session
    # No verdict is asked for, so that nobody can go on guessing passwords in such a session.
    assert not needs_verdict(first, SECRET)
    again = challenge(advance(first, SECRET, WRONG))
    assert again.session == first
    assert again.refused is None
    done = advance(first, PLAIN)
    assert isinstance(done, Completed)
    assert advance(done.session, PLAIN) == done


def test_no_verdict_is_asked_for_what_is_not_in_the_flows() -> None:
    begun = session((DUMMY,))
    assert not needs_verdict(begun, SECRET)
    refused = challenge(advance(begun, SECRET, Accepted()))
    assert refused.refused is not None
    assert refused.refused.errcode == "M_UNRECOGNIZED"
    assert refused.session.completed == ()


def test_credentials_are_never_taken_unseen() -> None:
    with pytest.raises(ValueError, match="without a verdict"):
        advance(session(*PASSWORD_FLOWS), SECRET)


def test_a_stage_that_this_server_cannot_check_is_never_passed() -> None:
    refused = challenge(advance(session(("m.login.sso",)), PlainAttempt("m.login.sso"), Accepted()))
    assert refused.session.completed == ()
    assert refused.refused is not None


def test_the_session_alone_tells_how_things_stand() -> None:
    first = challenge(advance(session((PASSWORD, DUMMY)), SECRET, Accepted())).session
    assert challenge(advance(first, Resume())).body()["completed"] == [PASSWORD]
    done = advance(first, PLAIN)
    assert isinstance(advance(done.session, Resume()), Completed)


def test_a_session_is_good_for_what_it_was_begun_for_and_for_a_while() -> None:
    begun = session(*PASSWORD_FLOWS)
    begun.check_purpose("delete devices of @alice:example.org")
    with pytest.raises(WrongSession):
        begun.check_purpose("delete devices of @bob:example.org")
    assert not begun.is_expired(1000 + SESSION_LIFETIME_MS)
    assert begun.is_expired(1001 + SESSION_LIFETIME_MS)


def test_a_session_can_be_stored() -> None:
    first = advance(session((REGISTRATION_TOKEN, DUMMY)), TOKEN, Accepted("fBVFdqVE")).session
    assert msgspec.json.decode(msgspec.json.encode(first), type=Session) == first


def test_credentials_do_not_show_in_logs() -> None:
    assert "ilovebananas" not in repr(SECRET)
    assert "fBVFdqVE" not in repr(TOKEN)


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ({"identifier": {"type": "m.id.user", "user": "alice"}}, UserIdentifier("alice")),
        ({"user": "@alice:example.org"}, UserIdentifier("@alice:example.org")),
        (
            {"identifier": {"type": "m.id.thirdparty", "medium": "email", "address": "a@b.c"}},
            ThirdPartyIdentifier("email", "a@b.c"),
        ),
        ({"medium": "email", "address": "a@b.c"}, ThirdPartyIdentifier("email", "a@b.c")),
        ({"identifier": {"type": "m.id.phone", "country": "GB", "phone": "1"}}, PhoneIdentifier("GB", "1")),
    ],
)
def test_a_password_comes_with_any_kind_of_identifier(identifier: dict[str, JsonValue], expected: Identifier) -> None:
    auth: JsonValue = {"type": PASSWORD, "password": "p", **identifier}
    assert parse_attempt(auth) == PasswordAttempt(expected, "p")


def test_attempts_are_read_from_auth() -> None:
    assert parse_attempt({"type": REGISTRATION_TOKEN, "token": "fBVFdqVE", "session": "s"}) == TOKEN
    assert parse_attempt({"type": DUMMY}) == PLAIN
    assert parse_attempt({"session": "s"}) == Resume()
    assert session_id_of({"session": "s"}) == "s"
    assert session_id_of({"type": DUMMY}) is None
    assert session_id_of(None) is None


@pytest.mark.parametrize(
    ("auth", "errcode"),
    [
        ("password", "M_BAD_JSON"),
        ({}, "M_MISSING_PARAM"),
        ({"type": 5}, "M_BAD_JSON"),
        ({"session": 5}, "M_BAD_JSON"),
        ({"type": PASSWORD, "user": "alice"}, "M_MISSING_PARAM"),
        ({"type": PASSWORD, "password": "p"}, "M_MISSING_PARAM"),
        ({"type": PASSWORD, "password": 5, "user": "alice"}, "M_BAD_JSON"),
        ({"type": PASSWORD, "password": "p", "identifier": "alice"}, "M_BAD_JSON"),
        ({"type": PASSWORD, "password": "p", "identifier": {"user": "alice"}}, "M_MISSING_PARAM"),
        ({"type": PASSWORD, "password": "p", "identifier": {"type": "m.id.moon"}}, "M_UNKNOWN"),
        ({"type": REGISTRATION_TOKEN}, "M_MISSING_PARAM"),
    ],
)
def test_malformed_auth_is_refused(auth: JsonValue, errcode: str) -> None:
    with pytest.raises(BadAttempt) as refusal:
        parse_attempt(auth)
    assert refusal.value.errcode == errcode
