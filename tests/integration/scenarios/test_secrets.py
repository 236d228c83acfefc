"""Nobody's secrets reach the log, whatever its level and whatever goes wrong."""

from __future__ import annotations

import pytest

from tests.cast import PASSWORD, Cast
from tests.servers import SHARED_SECRET, MakeServer
from tests.wire import Json, client_path
from tests.ws_client import Stream

pytestmark = pytest.mark.myelin

NEW_PASSWORD = "tybalt is a rat-catcher"
WRONG_PASSWORD = "it is the lark"
SAID = "what is said in private"


def test_no_secret_is_ever_logged(make_server: MakeServer) -> None:
    server = make_server(log={"level": "debug"}, registration={"enabled": True, "shared_secret": SHARED_SECRET})
    romeo = Cast(server)("romeo")
    ask = server.wire.ask
    room = romeo.creates_room()
    romeo.says(room, SAID)
    login: Json = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": romeo.user_id}}
    tokens = ask("POST", client_path("login"), {**login, "password": PASSWORD, "refresh_token": True}).json
    ask("POST", client_path("login"), {**login, "password": WRONG_PASSWORD})
    # Bodies that are cut off, or wrong, with secrets in them.
    for raw in (f'{{"password":"{WRONG_PASSWORD}"', f'["{WRONG_PASSWORD}"]', f'{{"password":["{WRONG_PASSWORD}"]}}'):
        for path in (client_path("login"), client_path("register"), "/_synapse/admin/v1/register"):
            assert ask("POST", path, raw=raw.encode()).status >= 400
    # Tokens in the query: good ones, in paths that are not there, with methods that are wrong, and badly escaped.
    for method, path in (
        ("GET", "account/whoami"),
        ("GET", "sync"),
        ("PATCH", "sync"),
        ("GET", "nothing"),
        ("PUT", f"rooms/{room}/send/m.room.message/t"),
        ("GET", "rooms/%ff/state"),
        ("OPTIONS", "sync"),
    ):
        for query in (f"access_token={tokens['access_token']}", f"%61ccess_token={tokens['access_token']}&limit=x"):
            ask(method, f"/_matrix/client/v3/{path}?{query}")
    ask("GET", client_path("account", "whoami"), token="syt_not_of_this_server")
    ask("GET", client_path("account", "whoami"), headers={"Authorization": f"Basic {tokens['access_token']}"})
    renewed = ask("POST", client_path("refresh"), {"refresh_token": tokens["refresh_token"]}).json
    ask("POST", client_path("refresh"), {"refresh_token": tokens["refresh_token"] + "x"})
    proof: Json = {"type": "m.login.password", "identifier": login["identifier"], "password": PASSWORD}
    session = romeo.call("POST", client_path("account", "password"), {"new_password": NEW_PASSWORD}).json["session"]
    changed = romeo.asks(
        "POST", "account", "password", body={"new_password": NEW_PASSWORD, "auth": {**proof, "session": session}}
    )
    assert changed == {}
    with Stream(romeo.wire.host, romeo.wire.port) as stream:
        stream.asks("auth", access_token=romeo.token)
        stream.asks("subscribe", since=romeo.token)
    server.restart()
    assert romeo.call("GET", client_path("account", "whoami")).status == 200
    assert server.stop() == 0
    log = server.output()
    assert "request" in log and "whoami" in log, "it does not log at this level"
    secrets = [PASSWORD, NEW_PASSWORD, WRONG_PASSWORD, SHARED_SECRET, SAID, romeo.token, session]
    secrets += [tokens["access_token"], tokens["refresh_token"], renewed["access_token"], renewed["refresh_token"]]
    secrets += [(server.folder / "admin.secret").read_text().strip(), "syt_not_of_this_server"]
    secrets += [(server.folder / "signing.key").read_text().split()[-1]]
    assert [secret for secret in secrets if secret in log] == []
