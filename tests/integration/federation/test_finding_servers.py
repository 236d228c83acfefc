"""Discovery over HTTPS and DNS, with its caches."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.names import dns as wire
from twisted.names.authority import FileAuthority
from twisted.names.server import DNSServerFactory

from federation.outbound.dns import NoAddress, SystemDns
from federation.outbound.errors import RemoteUnreachable
from homeserver.core.discovery import SrvRecord
from tests.integration.federation.house import House, in_house
from tests.integration.federation.network import Asked, Connection, answer
from tests.postgres import FreshDatabase
from tests.reactors import run_on_reactor

VERSION = "/_matrix/federation/v1/version"
WELL_KNOWN = "/.well-known/matrix/server"
HOUR_MS = 3_600_000


def ok(asked: Asked, connection: Connection) -> bytes:
    return answer(b'{"ok":true}')


def delegating(to: str, cache_control: str = "max-age=86400") -> bytes:
    return answer(f'{{"m.server":"{to}"}}'.encode(), cache_control=cache_control)


def test_a_delegation_is_followed_and_remembered_for_as_long_as_it_says(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        web = house.peer("example.org", lambda *_: delegating("d.example:5", cache_control="max-age=7200"), 443)
        peer = house.peer("d.example", ok, 5)
        await house.client.get("example.org", VERSION)
        await house.client.get("example.org", VERSION)
        assert [(asked.target, asked.headers["host"]) for asked in web.asked] == [(WELL_KNOWN, "example.org")]
        assert "authorization" not in web.asked[0].headers
        assert [asked.headers["host"] for asked in peer.asked] == ["d.example:5"] * 2
        assert 'destination="example.org"' in peer.asked[0].headers["authorization"]
        house.clock.ahead_ms += 2 * HOUR_MS - 60_000
        await house.client.get("example.org", VERSION)
        assert len(web.asked) == 1
        house.clock.ahead_ms += 120_000
        await house.client.get("example.org", VERSION)
        assert len(web.asked) == 2

    in_house(story, fresh_database(), tmp_path)


def test_redirects_of_well_known_are_followed_over_https_only_and_not_in_circles(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        def web(asked: Asked, connection: Connection) -> bytes:
            host = asked.headers["host"]
            if host == "www.good.example":
                return delegating("d.example:5")
            where = {
                "good.example": "https://www.good.example/x?y=z",
                "plain.example": "http://www.good.example/",
                "circle.example": WELL_KNOWN,
                "long.example": asked.target + "x",
                "inside.example": "https://127.0.0.1/",
            }[host]
            return answer(b"", 302, location=where)

        names = (
            "good.example",
            "www.good.example",
            "plain.example",
            "circle.example",
            "long.example",
            "inside.example",
        )
        servers = {name: house.peer(name, web, 443) for name in names}
        house.peer("d.example", ok, 5)
        await house.client.get("good.example", VERSION)
        assert [asked.target for asked in servers["www.good.example"].asked] == ["/x?y=z"]
        for name in ("plain.example", "circle.example", "long.example", "inside.example"):
            with pytest.raises(RemoteUnreachable):
                await house.client.get(name, VERSION)
            assert f"_matrix-fed._tcp.{name}" in house.names.srv_asked, "an error leads to the next step"
        assert len(servers["circle.example"].asked) == 1
        assert len(servers["long.example"].asked) == 6
        assert len(servers["www.good.example"].asked) == 1
        assert not any(address == "127.0.0.1" or port == 80 for address, port in house.wires.dialled)

    in_house(story, fresh_database(), tmp_path)


@pytest.mark.parametrize(
    "response",
    [
        answer(b"", 404),
        answer(b"<html>"),
        answer(b"{}"),
        answer(b'{"m.server":"https://d.example"}'),
        answer(b'{"m.server":"d.example:5"}' + b" " * 60_000),
    ],
)
def test_an_invalid_answer_leads_to_the_records_of_the_name_itself(
    fresh_database: FreshDatabase, tmp_path: Path, response: bytes
) -> None:
    async def story(house: House) -> None:
        web = house.peer("example.org", lambda *_: response, 443)
        house.names.records["_matrix._tcp.example.org"] = [SrvRecord(0, 0, 6, "srv.example")]
        peer = house.peer("srv.example", ok, 6, certificate="example.org")
        await house.client.get("example.org", VERSION)
        await house.client.get("example.org", VERSION)
        assert [asked.headers["host"] for asked in peer.asked] == ["example.org"] * 2
        assert len(web.asked) == 1, "errors are remembered too"
        asked_so_far = 1
        # Each time for longer, up to an hour.
        for minutes in (2, 3, 5):
            house.clock.ahead_ms += minutes * 60_000
            await house.client.get("example.org", VERSION)
            asked_so_far += 1
            assert len(web.asked) == asked_so_far
        house.clock.ahead_ms += 5 * 60_000
        await house.client.get("example.org", VERSION)
        assert len(web.asked) == asked_so_far

    in_house(story, fresh_database(), tmp_path)


def test_a_delegation_outlives_a_host_that_is_away_but_not_one_that_takes_it_back(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        web = house.peer("example.org", lambda *_: delegating("d.example:5", cache_control="max-age=3600"), 443)
        peer = house.peer("d.example", ok, 5)
        await house.client.get("example.org", VERSION)
        web.script = lambda *_: answer(b"", 503)
        house.clock.ahead_ms += 2 * HOUR_MS
        await house.client.get("example.org", VERSION)
        assert len(peer.asked) == 2
        web.script = lambda *_: answer(b"", 404)
        house.clock.ahead_ms += 2 * HOUR_MS
        with pytest.raises(RemoteUnreachable):
            await house.client.get("example.org", VERSION)
        assert len(peer.asked) == 2

    in_house(story, fresh_database(), tmp_path)


def test_many_requests_at_once_make_one_discovery(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        web = house.peer("example.org", lambda *_: delegating("d.example:5"), 443)
        house.peer("d.example", ok, 5)
        running = [Deferred.fromCoroutine(house.client.get("example.org", VERSION)) for _ in range(8)]
        for each in running:
            await each
        assert len(web.asked) == 1

    in_house(story, fresh_database(), tmp_path)


class Zone(FileAuthority):
    """Records of example.org."""

    def __init__(self) -> None:
        cast(Any, super()).__init__(None)

    def loadFile(self, filename: object) -> None:
        """Made here instead."""
        of_name: Any = wire
        zone: Any = self
        zone.soa = (b"example.org", of_name.Record_SOA(mname=b"example.org", rname=b"x.example.org"))
        zone.records = {
            b"example.org": [zone.soa[1]],
            b"_matrix-fed._tcp.example.org": [
                of_name.Record_SRV(10, 5, 8443, b"a.example.org", ttl=600),
                of_name.Record_SRV(20, 0, 8444, b"b.example.org", ttl=700),
            ],
        }


def test_the_system_resolver_finds_records_and_knows_when_there_are_none() -> None:
    async def story(reactor: Any) -> None:
        names: Any = wire
        protocol = names.DNSDatagramProtocol(cast(Any, DNSServerFactory)(authorities=[Zone()]), reactor=reactor)
        udp = reactor.listenUDP(0, protocol, interface="127.0.0.1")
        resolver = SystemDns(reactor, [("127.0.0.1", udp.getHost().port)], srv_timeouts_s=(0.3,))
        found = await resolver.srv("_matrix-fed._tcp.example.org")
        assert sorted(found.records) == [
            SrvRecord(10, 5, 8443, "a.example.org"),
            SrvRecord(20, 0, 8444, "b.example.org"),
        ]
        assert found.valid_for_s == 600
        assert (await resolver.srv("_matrix._tcp.example.org")).records == ()
        assert await resolver.addresses("2001:DB8::1") == ("2001:db8::1",)
        assert set(await resolver.addresses("localhost")) <= {"127.0.0.1", "::1"}
        for name in ("does-not-exist.invalid", "a..b", "x" * 70 + ".invalid"):
            with pytest.raises(NoAddress):
                await resolver.addresses(name)
        await udp.stopListening()
        silent = await resolver.srv("_matrix-fed._tcp.other.example.org")
        assert (silent.records, silent.valid_for_s) == ((), 60)

    run_on_reactor(story)
