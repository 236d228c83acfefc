"""What holds on every path: CORS, old names, unknown paths, wrong methods (client-server API, "API Standards")."""

from __future__ import annotations

import importlib

import pytest

from homeserver.web.endpoint import Access, Declaration, endpoints
from homeserver.web.plan import path_parameters
from tests.cast import Cast
from tests.servers import Homeserver
from tests.tidy.project import modules

METHODS = ["GET", "POST", "PUT", "DELETE"]


def declarations() -> list[Declaration]:
    """What the client API declares; what is made for servers needs no CORS."""
    return [
        each.declaration
        for module in modules()
        if module.startswith("client_api.")
        for each in endpoints(importlib.import_module(module))
    ]


PATHS = sorted({path for each in declarations() for path in (each.path, *each.also)})
HTTP_PATHS = sorted({each.path for each in declarations() if not each.is_websocket})


def filled(path: str) -> str:
    """A path with something in the place of its parameters."""
    return path.format(**dict.fromkeys(path_parameters(path), "x"))


def methods_of(path: str) -> set[str]:
    """What a path answers to; another path that fits, such as a variable one, counts too."""

    def fits(other: str) -> bool:
        one, two = path.split("/"), other.split("/")
        return len(one) == len(two) and all(a == b or "{" in a or "{" in b for a, b in zip(one, two, strict=True))

    return {each.method for each in declarations() for other in (each.path, *each.also) if fits(other)}


@pytest.mark.parametrize("path", PATHS)
def test_browsers_may_ask_on_every_path(homeserver: Homeserver, path: str) -> None:
    headers = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "PUT"}
    answer = homeserver.wire.ask("OPTIONS", filled(path), headers=headers)
    assert answer.status in (200, 204), answer
    assert answer.headers["access-control-allow-origin"] == "*"
    allowed = {each.strip() for each in answer.headers["access-control-allow-methods"].split(",")}
    assert allowed >= {"GET", "POST", "PUT", "DELETE", "OPTIONS"}
    named = {each.strip().lower() for each in answer.headers["access-control-allow-headers"].split(",")}
    assert named >= {"x-requested-with", "content-type", "authorization"}
    refusal = homeserver.wire.ask("GET", filled(path), headers={"Origin": "https://app.example.org"})
    assert refusal.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", HTTP_PATHS)
def test_a_wrong_method_is_405_on_every_path(homeserver: Homeserver, path: str) -> None:
    wrong = [method for method in METHODS if method not in methods_of(path)]
    for method in wrong:
        answer = homeserver.wire.ask(method, filled(path))
        assert (answer.status, answer.errcode) == (405, "M_UNRECOGNIZED"), f"{method}: {answer}"


@pytest.mark.parametrize("path", [path for path in HTTP_PATHS if path.startswith("/_matrix/client/v3/")])
def test_r0_is_an_alias_of_v3(homeserver: Homeserver, path: str) -> None:
    methods = [each.method for each in declarations() if each.path == path and each.access is not Access.NONE]
    for method in methods:
        new = homeserver.wire.ask(method, filled(path))
        old = homeserver.wire.ask(method, filled(path).replace("/v3/", "/r0/", 1))
        assert (old.status, old.errcode) == (new.status, new.errcode)
        assert old.status != 404 or old.errcode != "M_UNRECOGNIZED"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/_matrix",
        "/_matrix/",
        "/_matrix/client",
        "/_matrix/client/v3",
        "/_matrix/client/v3/",
        "/_matrix/client/v3/nothing",
        "/_matrix/client/v99/sync",
        "/_matrix/client/v3/sync/more",
        "/_matrix/client/v3/rooms",
        "/_matrix/client/v3/../v3/sync",
        "/_matrix/unknown/v1/x",
        "/_synapse/admin/v99/x",
        "//",
        "/%",
        "/_matrix/client/v3/%73ync/x",
    ],
)
def test_an_unknown_path_is_404_for_everyone(cast: Cast, path: str) -> None:
    for token in (None, "nonsense"):
        for method in METHODS:
            answer = cast.server.wire.ask(method, path, token=token)
            assert answer.status in (404, 405), answer
            assert answer.errcode == "M_UNRECOGNIZED", answer
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.headers["content-type"].startswith("application/json")


def test_versions_are_told_to_everyone(homeserver: Homeserver) -> None:
    answer = homeserver.wire.ask("GET", "/_matrix/client/versions")
    assert answer.status == 200
    assert {"v1.1", "v1.11"} <= set(answer.json["versions"])
    assert answer.json["unstable_features"]["org.myelin.stream"] is True


def test_a_token_in_the_query_is_taken_too(cast: Cast) -> None:
    # "access_token" in the query is deprecated since v1.11, and old clients use it.
    romeo = cast("romeo")
    answer = romeo.wire.ask("GET", f"/_matrix/client/v3/account/whoami?access_token={romeo.token}")
    assert answer.json["user_id"] == romeo.user_id


def test_head_is_get_without_a_body(homeserver: Homeserver) -> None:
    answer = homeserver.wire.ask("HEAD", "/_matrix/client/versions")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0
