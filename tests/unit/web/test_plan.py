"""Handlers are called with what their signatures ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import EventId, RoomId, UserId
from homeserver.web.access import Requester
from homeserver.web.decode import ObjectField
from homeserver.web.endpoint import NONE, SERVER, USER, Endpoint, declarations_of, endpoint, websocket
from homeserver.web.errors import BadJson, InvalidParam, MatrixError, MissingParam, NotJson
from homeserver.web.plan import bind
from homeserver.web.request import RequestInfo
from tests.unit.web.stories import result_of


class Service:
    """Stands for what a door calls."""

    name = "service"


class Body(msgspec.Struct, frozen=True, rename="camel"):
    display_name: str
    age: int = 0
    content: ObjectField | None = None
    names: list[str] = []


class Leave(msgspec.Struct, frozen=True):
    reason: str | None = None


class Query(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    from_: str | None = None
    limit: int = 10
    full_state: bool = False
    via: list[str] = []


class Needs(msgspec.Struct, frozen=True):
    dir: str


def called(
    handler: Any, body: bytes = b"", query: str = "", who: object = None, arguments: Mapping[str, str] | None = None
) -> Any:
    """What a handler answers when it is called through its plan."""
    (declaration, *_) = declarations_of(handler)
    (bound,) = bind([Endpoint(declaration, handler)], Service())
    request = RequestInfo(declaration.method, f"/?{query}", {}, "1.2.3.4")
    request.body = body
    return result_of(bound.call(arguments or {}, who, request, None))


def refused(handler: Any, **how: Any) -> tuple[int, str]:
    """Status and code of the refusal."""
    with pytest.raises(MatrixError) as caught:
        called(handler, **how)
    return caught.value.status, caught.value.errcode


@endpoint("GET", "/{room_id}/{event_id}/{number}", access=NONE)
async def typed(service: Service, room_id: RoomId, event_id: EventId, number: int) -> list[object]:
    return [service.name, room_id, event_id, number]


@endpoint("POST", "/body", access=NONE)
async def with_body(service: Service, body: Body) -> Body:
    return body


@endpoint("POST", "/leave", access=NONE)
async def with_easy_body(service: Service, body: Leave) -> Leave:
    return body


@endpoint("POST", "/maybe", access=NONE)
async def with_optional_body(service: Service, body: Body | None) -> Body | None:
    return body


@endpoint("PUT", "/content", access=NONE)
async def with_content(service: Service, content: JsonObject) -> JsonObject:
    return content


@endpoint("GET", "/query", access=NONE)
async def with_query(service: Service, query: Query) -> Query:
    return query


@endpoint("GET", "/needs", access=NONE)
async def with_needed_query(service: Service, query: Needs) -> Needs:
    return query


def test_path_parameters_are_checked_by_their_types() -> None:
    given = {"room_id": "!a:b", "event_id": "$c", "number": "-12"}
    assert called(typed, arguments=given) == ["service", "!a:b", "$c", -12]
    for name, wrong in [
        ("room_id", "a:b"),
        ("room_id", "!a\0:b"),
        ("event_id", "c"),
        ("number", "1.5"),
        ("number", "٣"),
    ]:
        assert refused(typed, arguments={**given, name: wrong}) == (400, "M_INVALID_PARAM")


def test_a_body_becomes_a_struct_and_unknown_keys_are_ignored() -> None:
    found = called(with_body, body=b'{"displayName":"R","age":3,"more":[1],"content":{"a":{"b":[null]}}}')
    assert found == Body("R", 3, {"a": {"b": [None]}})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", NotJson),
        (b"{", NotJson),
        (b'{"displayName":"R"} x', NotJson),
        (b'{"displayName":NaN}', NotJson),
        (b'{"displayName":"\xff"}', NotJson),
        (b'{"displayName":"\\ud800"}', NotJson),
        (b"{}", MissingParam),
        (b'{"displayName":5}', BadJson),
        (b'{"displayName":null}', BadJson),
        (b'{"displayName":"R","age":"3"}', BadJson),
        (b'{"displayName":"R","age":true}', BadJson),
        (b'{"displayName":"R\\u0000"}', BadJson),
        (b'{"displayName":"R","names":["\\u0000"]}', BadJson),
        (b"[]", BadJson),
        (b'"text"', BadJson),
        (b"null", BadJson),
        (b'{"displayName":"R","content":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}", BadJson),
        (b'{"displayName":"R","content":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}", BadJson),
        (b'{"displayName":"R","x":' + b"[" * 50_000, NotJson),
    ],
)
def test_a_wrong_body_gets_the_code_that_says_why(body: bytes, error: type[MatrixError]) -> None:
    with pytest.raises(MatrixError) as caught:
        called(with_body, body=body)
    assert caught.value.status == 400
    if body.startswith(b'{"displayName":"R","x"'):
        assert caught.value.errcode in ("M_NOT_JSON", "M_BAD_JSON")
    else:
        assert type(caught.value) is error


def test_what_is_kept_as_json_may_hold_a_nul() -> None:
    found = called(with_body, body=b'{"displayName":"R","content":{"a\\u0000":"\\u0000"}}')
    assert found.content == {"a\0": "\0"}
    assert called(with_content, body=b'{"a":"\\u0000"}') == {"a": "\0"}


def test_an_empty_body_is_enough_where_nothing_is_needed() -> None:
    assert called(with_easy_body, body=b"") == Leave()
    assert called(with_easy_body, body=b'{"reason":"bored"}') == Leave("bored")


def test_an_optional_body_may_be_missing_but_not_wrong() -> None:
    assert called(with_optional_body, body=b"") is None
    assert refused(with_optional_body, body=b"{}") == (400, "M_MISSING_PARAM")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "M_NOT_JSON"),
        (b"x", "M_NOT_JSON"),
        (b'{"a":1}{', "M_NOT_JSON"),
        (b"[1]", "M_BAD_JSON"),
        (b"5", "M_BAD_JSON"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "M_BAD_JSON"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "M_BAD_JSON"),
    ],
)
def test_content_must_be_a_json_object(body: bytes, code: str) -> None:
    assert refused(with_content, body=body) == (400, code)


def test_content_keeps_what_it_holds() -> None:
    assert called(with_content, body=b'{"n":1.5,"a":[1,2,{"b":null}]}') == {"n": 1.5, "a": [1, 2, {"b": None}]}


def test_a_query_string_becomes_a_struct() -> None:
    assert called(with_query) == Query()
    found = called(with_query, query="from=a%20b+c&limit=5&full_state=true&via=x&via=y&more=1&limit=7")
    assert found == Query("a b c", 5, True, ["x", "y"])
    assert called(with_query, query="from=null").from_ == "null"


@pytest.mark.parametrize("query", ["limit=x", "limit=1.5", "limit=", "full_state=maybe", "from=%00", "from=%ff"])
def test_a_wrong_query_string_is_an_invalid_parameter(query: str) -> None:
    assert refused(with_query, query=query) == (400, "M_INVALID_PARAM")


def test_a_needed_query_parameter_that_is_missing_is_named() -> None:
    with pytest.raises(MissingParam, match="dir"):
        called(with_needed_query)


def test_who_asks_and_the_request_are_handed_over() -> None:
    @endpoint("GET", "/x", access=USER)
    async def handler(service: Service, who: Requester, request: RequestInfo) -> list[str]:
        return [who.user_id, request.ip]

    requester = Requester(UserId("@a:b"), None, 1, b"")
    assert called(handler, who=requester) == ["@a:b", "1.2.3.4"]


def test_one_function_may_have_two_paths() -> None:
    @endpoint("GET", "/a/{state_key}", access=NONE)
    @endpoint("GET", "/a", access=NONE)
    async def handler(service: Service, state_key: str = "none") -> str:
        return state_key

    longer, shorter = declarations_of(handler)
    assert (longer.path, shorter.path) == ("/a/{state_key}", "/a")
    bound = bind([Endpoint(longer, handler), Endpoint(shorter, handler)], Service())
    request = RequestInfo("GET", "/", {}, "")
    assert result_of(bound[0].call({"state_key": "k"}, None, request, None)) == "k"
    assert result_of(bound[1].call({}, None, request, None)) == "none"


def test_a_signature_that_cannot_be_filled_is_a_mistake_at_the_start() -> None:
    @endpoint("GET", "/a/{b}", access=NONE)
    async def unknown(service: Service, b: str, c: str) -> None: ...

    @endpoint("GET", "/a/{b}", access=NONE)
    async def unused(service: Service) -> None: ...

    @endpoint("GET", "/a/{b}", access=NONE)
    async def odd_type(service: Service, b: float) -> None: ...

    @endpoint("GET", "/a", access=NONE)
    async def nobody(service: Service, who: Requester) -> None: ...

    @endpoint("GET", "/a", access=NONE)
    async def other_service(service: dict[str, str], request: RequestInfo) -> None: ...

    @endpoint("GET", "/a", access=NONE)
    async def no_struct(service: Service, query: int) -> None: ...

    @endpoint("PUT", "/a", access=USER, once_per="txn_id")
    async def no_txn_id(service: Service) -> None: ...

    @endpoint("GET", "/a/{b}", access=NONE, also=["/c"])
    async def other_alias(service: Service, b: str) -> None: ...

    @websocket("/a", protocols=["p"])
    async def no_socket(service: Service) -> None: ...

    @endpoint("POST", "/a", access=SERVER)
    async def both(service: Service, body: Body, upload: object) -> None: ...

    for handler in (unknown, unused, odd_type, nobody, no_struct, no_txn_id, other_alias, no_socket, both):
        with pytest.raises(TypeError):
            bind([Endpoint(declarations_of(handler)[0], handler)], Service())
    with pytest.raises(TypeError, match="needs a Service"):
        bind([Endpoint(declarations_of(typed)[0], typed)], object())


def test_an_endpoint_must_be_a_coroutine_function() -> None:
    def handler(service: Service) -> None: ...

    with pytest.raises(TypeError, match="async def"):
        endpoint("GET", "/a", access=NONE)(cast(Any, handler))


def test_the_refusal_of_a_parameter_says_which() -> None:
    with pytest.raises(InvalidParam, match="room_id"):
        called(typed, arguments={"room_id": "x", "event_id": "$c", "number": "1"})
