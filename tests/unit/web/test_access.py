"""Who asks, and who may."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from homeserver.core.ids import DeviceId, ServerName, UserId
from homeserver.web.access import (
    ADMIN,
    APPSERVICE,
    OPTIONAL,
    USER,
    USER_OR_GUEST,
    Access,
    AccessControl,
    Requester,
    hash_token,
)
from homeserver.web.errors import Forbidden, MatrixError, MissingToken, Unauthorized, UnknownToken
from homeserver.web.request import RequestInfo
from tests.unit.web.stories import result_of


def requester(name: str, is_guest: bool = False, is_admin: bool = False, appservice: str | None = None) -> Requester:
    return Requester(UserId(f"@{name}:h"), DeviceId("D"), 1, hash_token(name), is_guest, is_admin, appservice)


class Tokens:
    """Knows some at once, one after asking."""

    def __init__(self) -> None:
        known = (
            requester("user"),
            requester("guest", is_guest=True),
            requester("admin", is_admin=True),
            requester("bot", appservice="irc"),
        )
        self._known = {each.token_hash: each for each in known}
        self.asked = 0

    def cached(self, token_hash: bytes) -> Requester | None:
        return self._known.get(token_hash)

    async def resolve(self, token_hash: bytes) -> Requester:
        self.asked += 1
        if token_hash == hash_token("later"):
            return requester("later")
        raise UnknownToken(soft_logout=True)

    async def masquerade(self, requester: Requester, user_id: str, device_id: str | None) -> Requester:
        if not user_id.startswith("@irc_"):
            raise Forbidden("not yours", "M_EXCLUSIVE")
        device = None if device_id is None else DeviceId(device_id)
        return Requester(UserId(user_id), device, 0, requester.token_hash, appservice_id="irc")


def asked(access: Access, token: str | None = None, query: str = "") -> Requester | None:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    request = RequestInfo("GET", f"/x?{query}", headers, "1.2.3.4")
    return result_of(AccessControl(Tokens()).requester(request, access))


def refusal(access: Access, token: str | None = None, query: str = "") -> tuple[int, str]:
    with pytest.raises(MatrixError) as caught:
        asked(access, token, query)
    return caught.value.status, caught.value.errcode


def test_a_token_in_the_header_or_in_the_query_string_says_who_asks() -> None:
    found = asked(USER, "user")
    assert found is not None and found.user_id == "@user:h"
    assert asked(USER, query="access_token=user") == found
    assert asked(USER, "later") == requester("later")


def test_without_a_token_or_with_a_wrong_one_the_codes_differ() -> None:
    assert refusal(USER) == (401, "M_MISSING_TOKEN")
    assert refusal(USER, query="access_token=") == (401, "M_MISSING_TOKEN")
    assert refusal(USER, "nobody") == (401, "M_UNKNOWN_TOKEN")
    with pytest.raises(UnknownToken) as caught:
        asked(USER, "nobody")
    assert caught.value.extra["soft_logout"] is True


def test_optional_means_none_or_right_but_not_wrong() -> None:
    assert asked(OPTIONAL) is None
    assert asked(OPTIONAL, "user") == requester("user")
    assert refusal(OPTIONAL, "nobody") == (401, "M_UNKNOWN_TOKEN")


def test_guests_go_where_they_may() -> None:
    assert asked(USER_OR_GUEST, "guest") == requester("guest", is_guest=True)
    assert refusal(USER, "guest") == (403, "M_GUEST_ACCESS_FORBIDDEN")


def test_admins_and_appservices_have_doors_of_their_own() -> None:
    assert asked(ADMIN, "admin") == requester("admin", is_admin=True)
    assert refusal(ADMIN, "user") == (403, "M_FORBIDDEN")
    assert asked(APPSERVICE, "bot") == requester("bot", appservice="irc")
    assert refusal(APPSERVICE, "user") == (403, "M_FORBIDDEN")


def test_an_appservice_speaks_for_its_users_and_nobody_else() -> None:
    found = asked(USER, "bot", "user_id=@irc_a:h&device_id=X")
    assert found is not None
    assert (found.user_id, found.device_id, found.appservice_id) == ("@irc_a:h", "X", "irc")
    assert refusal(USER, "bot", "user_id=@user:h") == (403, "M_EXCLUSIVE")


def test_a_users_token_does_not_masquerade() -> None:
    found = asked(USER, "user", "user_id=@irc_a:h")
    assert found is not None and found.user_id == "@user:h"


def test_a_token_at_hand_is_answered_without_waiting() -> None:
    tokens = Tokens()
    control = AccessControl(tokens)
    at_hand = RequestInfo("GET", "/", {"authorization": "Bearer user"}, "")
    assert control.known(at_hand, USER) == requester("user")
    assert control.known(RequestInfo("GET", "/", {"authorization": "Bearer later"}, ""), USER) is None
    assert control.known(RequestInfo("GET", "/", {"authorization": "Bearer bot"}, ""), USER) is None
    assert control.known(RequestInfo("GET", "/", {}, ""), USER) is None
    assert tokens.asked == 0
    with pytest.raises(Forbidden):
        control.known(at_hand, ADMIN)


def test_other_kinds_of_authorization_are_no_token() -> None:
    for value in ("Basic dXNlcg==", "Bearer", "Bearer ", "user"):
        with pytest.raises(MissingToken):
            result_of(AccessControl(Tokens()).requester(RequestInfo("GET", "/", {"authorization": value}, ""), USER))


def test_servers_are_verified_by_whoever_is_given_for_it() -> None:
    async def verify(request: RequestInfo) -> ServerName:
        return ServerName(request.headers["x"])

    request = RequestInfo("GET", "/", {"x": "remote"}, "")
    assert result_of(AccessControl(Tokens(), verify).server(request)) == "remote"
    with pytest.raises(Unauthorized):
        result_of(AccessControl(Tokens()).server(request))


def test_a_retransmission_by_another_alias_has_the_same_key() -> None:
    one = RequestInfo("PUT", "/_matrix/client/r0/rooms/!a/send/t/1?x=1", {}, "")
    two = RequestInfo("PUT", "/_matrix/client/v3/rooms/!a/send/t/1", {}, "")
    assert one.transaction_key == two.transaction_key == "PUT /_matrix/client/v3/rooms/!a/send/t/1"


def test_waiting_for_a_token_is_a_deferred_like_any_other() -> None:
    waiting: Deferred[None] = Deferred()

    class Slow(Tokens):
        async def resolve(self, token_hash: bytes) -> Requester:
            await waiting
            return requester("later")

    request = RequestInfo("GET", "/", {"authorization": "Bearer later"}, "")
    found: list[object] = []
    Deferred.fromCoroutine(AccessControl(Slow()).requester(request, USER)).addCallback(found.append)
    assert not found
    waiting.callback(None)
    assert found == [requester("later")]
