"""Where requests go: to servers that prove their name, and never to addresses inside."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.outbound.errors import RemoteUnreachable
from homeserver.core.discovery import SrvRecord
from tests.integration.federation.house import House, in_house
from tests.integration.federation.network import Asked, Connection, answer
from tests.postgres import FreshDatabase

VERSION = "/_matrix/federation/v1/version"
HOUR_MS = 3_600_000


def ok(asked: Asked, connection: Connection) -> bytes:
    return answer(b'{"ok":true}')


def test_a_certificate_for_another_name_is_refused(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for name, certificate in (
            ("one.example", "elsewhere.example"),
            ("two.example", "ours.example"),
            ("three.example", "*.three.example"),
            ("four.example", "9.0.0.1"),
        ):
            peer = house.peer(name, ok, certificate=certificate)
            house.build()
            with pytest.raises(RemoteUnreachable, match="certificate"):
                await house.client.get(f"{name}:8448", VERSION)
            assert peer.asked == [], "nothing was sent before the server was authenticated"
            house.build(verify=False)
            assert await house.client.get(f"{name}:8448", VERSION) == {"ok": True}
        house.build()
        house.peer("below.three.example", ok, certificate="*.three.example")
        assert await house.client.get("below.three.example:8448", VERSION) == {"ok": True}

    in_house(story, fresh_database(), tmp_path)


def test_a_certificate_of_an_unknown_authority_is_refused(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        peer = house.peer("peer.example", ok)
        (tmp_path / "other").mkdir()
        house.authority = type(house.authority)(tmp_path / "other")
        house.build()
        with pytest.raises(RemoteUnreachable, match="TLS failed"):
            await house.client.get("peer.example:8448", VERSION)
        assert peer.asked == []

    in_house(story, fresh_database(), tmp_path)


def test_a_server_whose_name_is_an_address_shows_a_certificate_for_it(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        house.names.addresses_of["9.8.7.6"] = [("9.8.7.6",)]
        peer = house.peer("9.8.7.6", ok)
        await house.client.get("9.8.7.6", VERSION)
        assert peer.asked[0].headers["host"] == "9.8.7.6"

    in_house(story, fresh_database(), tmp_path)


def test_the_second_host_is_asked_when_the_first_is_away(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.names.records["_matrix-fed._tcp.peer.example"] = [
            SrvRecord(1, 0, 1001, "gone.example"),
            SrvRecord(2, 0, 1002, "away.example"),
            SrvRecord(3, 0, 1003, "there.example"),
        ]
        house.names.addresses_of["away.example"] = [("9.9.9.8", "2600::8")]
        peer = house.peer("there.example", ok, 1003, certificate="peer.example")
        await house.client.get("peer.example", VERSION)
        assert peer.asked[0].headers["host"] == "peer.example"
        assert ("9.9.9.8", 1002) in house.wires.dialled
        assert ("2600::8", 1002) in house.wires.dialled

    in_house(story, fresh_database(), tmp_path)


PRIVATE = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:127.0.0.1", "0.0.0.0"]


def test_names_and_addresses_that_lead_inside_are_not_dialled(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for address in PRIVATE:
            house.names.addresses_of["inside.example"] = [(address,)]
            literal = f"[{address}]" if ":" in address else address
            for name in ("inside.example", "inside.example:8448", literal, f"{literal}:22"):
                with pytest.raises(RemoteUnreachable, match="may not go to"):
                    await house.client.get(name, VERSION, ignore_backoff=True)
        assert house.wires.dialled == []

    in_house(story, fresh_database(), tmp_path)


def test_a_name_that_changes_to_a_private_address_gains_nothing(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        def close_after(asked: Asked, connection: Connection) -> None:
            connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
            connection.close()

        house.peer("rebinding.example", close_after)
        house.names.addresses_of["rebinding.example"] += [("127.0.0.1",), ("9.0.0.1", "127.0.0.1"), ("10.0.0.1",)]
        await house.client.get("rebinding.example:8448", VERSION)
        house.clock.ahead_ms += HOUR_MS
        with pytest.raises(RemoteUnreachable, match="may not go to"):
            await house.client.get("rebinding.example:8448", VERSION)
        house.clock.ahead_ms += HOUR_MS
        await house.client.get("rebinding.example:8448", VERSION)
        assert house.wires.dialled == [("9.0.0.1", 8448), ("9.0.0.1", 8448)]

    in_house(story, fresh_database(), tmp_path)


def test_private_addresses_are_dialled_where_the_admin_allows_it(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.names.addresses_of["inside.example"] = [("10.1.2.3",)]
        house.peer("inside.example", ok)
        assert await house.client.get("inside.example:8448", VERSION) == {"ok": True}
        with pytest.raises(RemoteUnreachable, match="may not go to"):
            await house.client.get("169.254.169.254", VERSION)

    in_house(story, fresh_database(), tmp_path, allow_private=True)
