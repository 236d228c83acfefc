"""Every endpoint that is declared, with bodies, queries and paths of all kinds: never an error of ours."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given

from homeserver.web.endpoint import Access, Endpoint
from homeserver.web.plan import path_parameters
from tests.cast import PASSWORD, Cast, Device
from tests.fuzz.doors import Request, declared, examples, name_of, requests_to
from tests.fuzz.shapes import Known
from tests.wire import Response

EXAMPLES = int(os.environ.get("MYELIN_FUZZ_EXAMPLES", "20"))
NEED_TOKENS = (Access.USER, Access.USER_OR_GUEST, Access.ADMIN, Access.APPSERVICE)

number = itertools.count()


class Persona:
    """Someone with a room, events, a second room that they left, and a friend."""

    def __init__(self, cast: Cast, is_admin: bool) -> None:
        mark = next(number)
        self.actor = cast(f"fuzz-{mark}", admin=is_admin)
        friend = cast(f"friend-{mark}")
        room = self.actor.creates_room(preset="public_chat")
        friend.joins(room)
        left = friend.creates_room(preset="public_chat")
        self.actor.joins(left)
        self.actor.leaves(left)
        message = self.actor.says(room, "hello")
        reply = friend.replies_in_thread(room, message, "hello")
        server = cast.server.server_name
        alias = f"#fuzz-{mark}-{self.actor.localpart}:{server}"
        self.actor.asks("PUT", "directory", "room", alias, body={"room_id": room})
        self.actor.keeps("org.example.own", {})
        self.actor.keeps("org.example.own", {}, room)
        pattern = {"pattern": "x", "actions": ["notify"]}
        self.actor.asks("PUT", "pushrules", "global", "content", "own", body=pattern)
        self.known = Known(
            {
                "room": [room, left, "!unknown:elsewhere.example", "!" + "A" * 43, f"#none:{server}"],
                "user": [self.actor.user_id, friend.user_id, f"@nobody:{server}", "@someone:elsewhere.example"],
                "event": [message, reply, "$" + "A" * 43, "$old:elsewhere.example"],
                "device": [self.actor.device_id, friend.device_id, "NOSUCH"],
                "alias": [alias, f"#none:{server}", "#some:elsewhere.example"],
                "server": [server, "elsewhere.example", "elsewhere.example:99999"],
                "type": ["org.example.own", "m.room.message", "m.room.topic", "m.room.member"],
                "receipt_type": ["m.read", "m.read.private", "m.fully_read"],
                "event_type": ["m.room.message", "m.room.join_rules", "m.room.create", "org.example.own"],
                "filter": [self.actor.stores_filter({}), "{}", '{"room": {"timeline": {"limit": 1}}}'],
                "tag": ["u.own"],
                "ts": ["1000", "0", "-1"],
                "limit": ["5", "0", "-1", "x"],
                "nonce": ["x"],
                "refresh_token": ["x"],
                "rel": ["m.thread", "m.annotation", "m.reference"],
                "txn": ["t1", "t2"],
                "key": ["", self.actor.user_id],
                "key_name": ["displayname", "avatar_url", "org.example.own"],
                "since": [self.actor.sync().next_batch, "s0", "s1"],
                "from": [self.actor.sync().next_batch, "s0"],
                "kind": ["content", "override", "room", "sender", "underride"],
                "rule": ["own", ".m.rule.master", ".m.rule.message"],
                "version": ["1", "12", "99"],
            },
            {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": self.actor.user_id},
                "password": PASSWORD,
            },
        )


def ask(device: Device, request: Request, token: str | None) -> Response:
    """Send it."""
    return device.wire.ask(request.method, request.path, None, token, raw=request.body, timeout_s=20)


@pytest.mark.parametrize("endpoint", declared(), ids=name_of)
def test_an_endpoint_answers_everything_without_an_error_of_its_own(cast: Cast, endpoint: Endpoint) -> None:
    persona = Persona(cast, endpoint.declaration.access is Access.ADMIN)

    @examples(EXAMPLES)
    @given(request=requests_to(endpoint, persona.known))
    def answers(request: Request) -> None:
        answer = ask(persona.actor, request, persona.actor.token)
        assert answer.status < 500, f"{request} was answered with {answer}"
        if answer.status == 401 and "flows" in answer.json:
            return  # "User-Interactive Authentication": a question, not a refusal
        if answer.status >= 400 and request.path.startswith("/_matrix/"):
            assert answer.errcode is not None, f"{request} was answered with {answer}"
            assert isinstance(answer.json.get("error"), str), answer

    answers()


@pytest.mark.parametrize(
    "endpoint", [each for each in declared() if each.declaration.access in NEED_TOKENS], ids=name_of
)
def test_an_endpoint_that_needs_a_token_says_so(cast: Cast, endpoint: Endpoint) -> None:
    declaration = endpoint.declaration
    path = declaration.path.format(**dict.fromkeys(path_parameters(declaration.path), "x"))
    body = b"{}" if declaration.method in ("PUT", "POST") else None
    wire = cast.server.wire
    answer = wire.ask(declaration.method, path, raw=body)
    assert (answer.status, answer.errcode) == (401, "M_MISSING_TOKEN"), answer
    answer = wire.ask(declaration.method, path, token="none of ours", raw=body)
    assert (answer.status, answer.errcode) == (401, "M_UNKNOWN_TOKEN"), answer
