"""User-interactive authentication: which stages a client has passed, and what it is told next.

A request that needs it runs like this. Without `auth`, `begin` makes a Session, and the client gets the body of a
Challenge with status 401. With `auth`, `parse_attempt` reads it; if `needs_verdict` says so, the caller finds out
whether the password or the token is right; `advance` then answers with a Challenge or with Completed, upon which the
request is done. The caller keeps the sessions, and drops them when they are used or expired.

Specification: Client-Server API, "User-Interactive Authentication API".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from homeserver.core.canonical_json import JsonObject, JsonValue

DUMMY = "m.login.dummy"
PASSWORD = "m.login.password"
REGISTRATION_TOKEN = "m.login.registration_token"

SESSION_LIFETIME_MS = 30 * 60 * 1000

Flow = tuple[str, ...]

PASSWORD_FLOWS: tuple[Flow, ...] = ((PASSWORD,),)
"""Flows for what only the user themselves may do."""


def registration_flows(*, require_token: bool) -> tuple[Flow, ...]:
    """Flows for making an account."""
    return ((REGISTRATION_TOKEN,),) if require_token else ((DUMMY,),)


class BadAttempt(ValueError):
    """The `auth` of a request is malformed: status 400. Its text is for the client."""

    def __init__(self, errcode: str, message: str) -> None:
        super().__init__(message)
        self.errcode = errcode


class WrongSession(ValueError):
    """The session was begun for another request: status 403, M_FORBIDDEN. Its text is for the client."""

    errcode = "M_FORBIDDEN"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """How far a client has come. A msgspec struct, so that it can be stored as it is.

    `purpose` names what the session authorises (who, which endpoint, and as much of the body as must not change
    between the requests). `results` holds what the stages found out, by stage: the registration token used.
    """

    session_id: str
    purpose: str
    flows: tuple[Flow, ...]
    created_ms: int
    completed: tuple[str, ...] = ()
    results: dict[str, str] = {}
    params: dict[str, dict[str, str]] = {}

    def next_stages(self) -> set[str]:
        """The stages that may come next: the stages of a flow are passed in its order."""
        done = len(self.completed)
        return {flow[done] for flow in self.flows if len(flow) > done and flow[:done] == self.completed}

    def is_complete(self) -> bool:
        """Whether all the stages of a flow are passed."""
        return self.completed in self.flows

    def is_expired(self, now_ms: int) -> bool:
        """Whether the client took too long."""
        return now_ms - self.created_ms > SESSION_LIFETIME_MS

    def check_purpose(self, purpose: str) -> None:
        """Raise WrongSession if the session was begun for something else."""
        if self.purpose != purpose:
            raise WrongSession("This authentication session was begun for another request; begin a new one.")


@dataclass(frozen=True, slots=True)
class UserIdentifier:
    """A user named by Matrix ID or localpart."""

    user: str


@dataclass(frozen=True, slots=True)
class ThirdPartyIdentifier:
    """A user named by an e-mail address or the like."""

    medium: str
    address: str


@dataclass(frozen=True, slots=True)
class PhoneIdentifier:
    """A user named by a phone number."""

    country: str
    phone: str


Identifier = UserIdentifier | ThirdPartyIdentifier | PhoneIdentifier


@dataclass(frozen=True, slots=True)
class PasswordAttempt:
    """The client says a password."""

    identifier: Identifier
    password: str = field(repr=False)
    stage: str = PASSWORD


@dataclass(frozen=True, slots=True)
class TokenAttempt:
    """The client says a registration token."""

    token: str = field(repr=False)
    stage: str = REGISTRATION_TOKEN


@dataclass(frozen=True, slots=True)
class PlainAttempt:
    """A stage that takes nothing but its name: m.login.dummy, or one that this server does not know."""

    stage: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Only the session: the client wants to know how things stand."""

    stage: None = None


Attempt = PasswordAttempt | TokenAttempt | PlainAttempt | Resume


@dataclass(frozen=True, slots=True)
class Accepted:
    """The caller found the credentials right. `result` is kept in the session, such as the token that was used."""

    result: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The caller found the credentials wrong."""

    errcode: str
    error: str


Verdict = Accepted | Refused


@dataclass(frozen=True, slots=True)
class Completed:
    """All stages are passed: the request may be done, and the session is used up."""

    session: Session


@dataclass(frozen=True, slots=True)
class Challenge:
    """The client has to do more. `body` is the answer's body, its status is 401."""

    session: Session
    refused: Refused | None = None

    def body(self) -> JsonObject:
        """Specification, "Authentication response"."""
        session = self.session
        body: JsonObject = {
            "session": session.session_id,
            "flows": [{"stages": list(flow)} for flow in session.flows],
            "params": {stage: dict(params) for stage, params in session.params.items()},
        }
        if session.completed:
            body["completed"] = list(session.completed)
        if self.refused is not None:
            body["errcode"], body["error"] = self.refused.errcode, self.refused.error
        return body


def begin(
    session_id: str,
    purpose: str,
    flows: tuple[Flow, ...],
    now_ms: int,
    params: Mapping[str, Mapping[str, str]] | None = None,
) -> Session:
    """A new session, nothing passed yet. `params` are what clients need to know for a stage, by stage."""
    return Session(
        session_id=session_id,
        purpose=purpose,
        flows=flows,
        created_ms=now_ms,
        params={stage: dict(values) for stage, values in (params or {}).items()},
    )


def session_id_of(auth: JsonValue) -> str | None:
    """The session that an `auth` names, if it names one."""
    session_id = auth.get("session") if isinstance(auth, dict) else None
    if session_id is not None and not isinstance(session_id, str):
        raise BadAttempt("M_BAD_JSON", "auth.session must be a string.")
    return session_id


def parse_attempt(auth: JsonValue) -> Attempt:
    """What the client wants with its `auth`, or BadAttempt."""
    if not isinstance(auth, dict):
        raise BadAttempt("M_BAD_JSON", "auth must be an object.")
    stage = auth.get("type")
    if stage is None:
        if session_id_of(auth) is None:
            raise BadAttempt("M_MISSING_PARAM", "auth needs a type, a session, or both.")
        return Resume()
    if not isinstance(stage, str):
        raise BadAttempt("M_BAD_JSON", "auth.type must be a string.")
    if stage == PASSWORD:
        return PasswordAttempt(parse_identifier(auth), _text(auth, "password"))
    if stage == REGISTRATION_TOKEN:
        return TokenAttempt(_text(auth, "token"))
    return PlainAttempt(stage)


def parse_identifier(json: JsonObject) -> Identifier:
    """Whom a login or a password stage speaks of: `identifier`, or the older keys `user`, `medium` and `address`.

    Specification: "Identifier types".
    """
    identifier = json.get("identifier")
    if identifier is None:
        if "medium" in json or "address" in json:
            return ThirdPartyIdentifier(_text(json, "medium"), _text(json, "address"))
        return UserIdentifier(_text(json, "user"))
    if not isinstance(identifier, dict):
        raise BadAttempt("M_BAD_JSON", "identifier must be an object.")
    kind = _text(identifier, "type")
    if kind == "m.id.user":
        return UserIdentifier(_text(identifier, "user"))
    if kind == "m.id.thirdparty":
        return ThirdPartyIdentifier(_text(identifier, "medium"), _text(identifier, "address"))
    if kind == "m.id.phone":
        return PhoneIdentifier(_text(identifier, "country"), _text(identifier, "phone"))
    raise BadAttempt("M_UNKNOWN", f"There is no identifier type {kind!r}.")


def needs_verdict(session: Session, attempt: Attempt) -> bool:
    """Whether the caller has to check the credentials: not if the stage is not due, or has no credentials."""
    return isinstance(attempt, PasswordAttempt | TokenAttempt) and attempt.stage in session.next_stages()


def advance(session: Session, attempt: Attempt, verdict: Verdict | None = None) -> Completed | Challenge:
    """Where the attempt leads. `verdict` is what the caller found, where `needs_verdict` asked for it."""
    stage = attempt.stage
    # A stage that is passed cannot be tried again; the client is told how things stand.
    if stage is None or stage in session.completed:
        return Completed(session) if session.is_complete() else Challenge(session)
    if stage not in session.next_stages():
        return Challenge(session, _not_due(session, stage))
    if needs_verdict(session, attempt):
        if verdict is None:
            raise ValueError(f"the stage {stage} cannot be judged without a verdict on its credentials")
        if isinstance(verdict, Refused):
            return Challenge(session, verdict)
    elif stage != DUMMY:
        return Challenge(session, Refused("M_UNRECOGNIZED", f"This server cannot check the stage {stage!r}."))
    results = dict(session.results)
    if isinstance(verdict, Accepted) and verdict.result is not None:
        results[stage] = verdict.result
    further = msgspec.structs.replace(session, completed=(*session.completed, stage), results=results)
    return Completed(further) if further.is_complete() else Challenge(further)


def _not_due(session: Session, stage: str) -> Refused:
    if any(stage in flow for flow in session.flows):
        return Refused("M_FORBIDDEN", f"The stage {stage!r} is not due; the stages of a flow have an order.")
    return Refused("M_UNRECOGNIZED", f"The stage {stage!r} is in none of the flows offered.")


def _text(json: JsonObject, key: str) -> str:
    value = json.get(key)
    if value is None:
        raise BadAttempt("M_MISSING_PARAM", f"{key} is missing.")
    if not isinstance(value, str):
        raise BadAttempt("M_BAD_JSON", f"{key} must be a string.")
    return value
