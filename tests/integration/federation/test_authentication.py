"""Requests between two servers of ours, over TLS: who is let in, and who is not."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from federation.outbound import x_matrix
from federation.outbound.agent import HttpAnswer, Peer
from federation.outbound.client import path
from federation.outbound.errors import RemoteRefused
from homeserver.core import canonical_json
from homeserver.core.discovery import Route
from homeserver.core.ids import ServerName
from homeserver.core.signatures import Signer, SigningKey
from tests.integration.federation.house import House, open_house
from tests.postgres import FreshDatabase
from tests.reactors import run_on_reactor

WHOAMI = "/_matrix/federation/v1/whoami"
DAY_MS = 24 * 3_600_000
Story = Callable[[House, House], Coroutine[Deferred[Any], Any, None]]


def between(story: Story, fresh_database: FreshDatabase, folder: Path) -> None:
    """Run a story of two servers, ours.example and theirs.example."""

    async def run(reactor: Any) -> None:
        async with (
            open_house(reactor, fresh_database(), folder) as ours,
            open_house(reactor, fresh_database(), folder, name="theirs.example", beside=ours) as theirs,
        ):
            ours.open_doors()
            theirs.open_doors()
            await story(ours, theirs)

    run_on_reactor(run)


async def raw(
    house: House, method: str, target: str, authorization: str | None, body: bytes | None = None
) -> HttpAnswer:
    """A request to ours.example with this header."""
    headers = {} if authorization is None else {"Authorization": authorization}
    route = Route.direct("ours.example", "ours.example", 8448)
    return await house.agent.request(Peer(route), method, target, headers, body, limit_bytes=100_000)


def test_servers_know_each_other_by_their_signatures(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(ours: House, theirs: House) -> None:
        assert await ours.client.get("theirs.example", WHOAMI) == {"server": "ours.example"}
        assert await theirs.client.get("ours.example", WHOAMI, {"a": "ü&?"}) == {"server": "theirs.example"}
        content: Any = {"ü": [1, {"b": None, "a": "\u2028"}], "n": -5}
        answer = await theirs.client.put("ours.example", path(WHOAMI + "/{}", "a/b ü%"), body=content)
        assert answer == {"server": "theirs.example", "thing": "a/b ü%", "content": content}
        assert (await ours.client.get("theirs.example", "/_matrix/federation/v1/version"))["server"] == {
            "name": "Myelin",
            "version": "0",
        }

    between(story, fresh_database, tmp_path)


def test_fractions_in_a_body_do_not_break_its_signature(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(ours: House, theirs: House) -> None:
        content: Any = {"pdus": [{"content": {"x": 1.5, "big": 10**18}}]}
        answer = await theirs.client.put("ours.example", WHOAMI + "/x", body=content)
        assert answer["content"] == content

    between(story, fresh_database, tmp_path)


def test_requests_without_a_good_signature_are_answered_with_401(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(ours: House, theirs: House) -> None:
        good = x_matrix.authorization(theirs.signer, "ours.example", "GET", WHOAMI, None)
        stranger = Signer(ServerName("theirs.example"), SigningKey.generate("ours"))
        body = canonical_json.encode({"a": 1})
        for_body = x_matrix.authorization(theirs.signer, "ours.example", "PUT", WHOAMI + "/x", body)
        assert (await raw(theirs, "GET", WHOAMI, good)).status == 200
        assert (await raw(theirs, "PUT", WHOAMI + "/x", for_body, b'{ "a" : 1 }')).status == 200
        bad: list[tuple[str, str, str | None, bytes | None]] = [
            ("GET", WHOAMI, None, None),
            ("GET", WHOAMI, "Bearer abc", None),
            ("GET", WHOAMI, "X-Matrix nonsense", None),
            ("GET", WHOAMI, good[:-8] + 'AAAAAA"', None),
            ("GET", WHOAMI, good.replace("theirs.example", "other.example"), None),
            ("GET", WHOAMI, good.replace("ed25519:ours", "ed25519:other"), None),
            ("GET", WHOAMI, good.replace("ed25519:ours", "rsa:ours"), None),
            ("GET", WHOAMI, good.replace('destination="ours.example",', ""), None),
            ("GET", WHOAMI, good.replace('origin="theirs.example"', 'origin="no server name"'), None),
            ("GET", WHOAMI + "?x=1", good, None),
            ("PUT", WHOAMI + "/x", good, b"{}"),
            ("PUT", WHOAMI + "/x", for_body, b'{"a":2}'),
            ("PUT", WHOAMI + "/y", for_body, body),
            ("GET", WHOAMI, x_matrix.authorization(stranger, "ours.example", "GET", WHOAMI, None), None),
            ("GET", WHOAMI, x_matrix.authorization(theirs.signer, "other.example", "GET", WHOAMI, None), None),
            ("GET", WHOAMI, x_matrix.authorization(ours.signer, "ours.example", "GET", WHOAMI, None), None),
        ]
        for method, target, authorization, sent in bad:
            answer = await raw(theirs, method, target, authorization, sent)
            assert (answer.status, authorization) == (401, authorization)
            assert b'"M_UNAUTHORIZED"' in answer.body

    between(story, fresh_database, tmp_path)


def test_a_request_without_destination_is_accepted_from_old_servers(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(ours: House, theirs: House) -> None:
        message = x_matrix.signed_bytes("GET", WHOAMI, "theirs.example", None, None)
        signature = theirs.signer.key.sign_bytes(message)
        header = f'X-Matrix origin=theirs.example,key="ed25519:ours",sig="{signature}"'
        assert (await raw(theirs, "GET", WHOAMI, header)).status == 200

    between(story, fresh_database, tmp_path)


def test_a_server_that_asks_us_is_no_longer_left_alone(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(ours: House, theirs: House) -> None:
        ours.destinations.failed("theirs.example", ours.clock.now_ms())
        assert ours.destinations.retry_at_ms("theirs.example") is not None
        await theirs.client.get("ours.example", WHOAMI)
        assert ours.destinations.retry_at_ms("theirs.example") is None

    between(story, fresh_database, tmp_path)


def test_keys_are_fetched_anew_when_their_time_is_over(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(ours: House, theirs: House) -> None:
        await theirs.client.get("ours.example", WHOAMI)
        ours.clock.ahead_ms += 8 * DAY_MS
        await theirs.client.get("ours.example", WHOAMI)
        # When they cannot be fetched anew, what was known counts no more.
        ours.clock.ahead_ms += 8 * DAY_MS
        ours.wires.lay(ours.address_of("theirs.example"), 8448, 1)
        await ours.agent.close()
        with pytest.raises(RemoteRefused) as caught:
            await theirs.client.get("ours.example", WHOAMI)
        assert caught.value.status == 401

    between(story, fresh_database, tmp_path)
