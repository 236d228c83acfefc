"""Whose signatures are good: keys from servers and notaries, in their time, and of servers that lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.core.hashes import canonical, content_hash, event_id_of
from homeserver.core.room_rules import ROOM_RULES
from homeserver.core.signatures import BadSignature, Signer, SigningKey, sign_event, sign_json
from tests.integration.federation.house import House, OtherServer, in_house, open_house
from tests.integration.federation.network import Asked, Connection
from tests.integration.federation.network import answer as response
from tests.postgres import FreshDatabase
from tests.reactors import run_on_reactor

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ROOM = "!room:peer.example"


def event_of(server: OtherServer | House, ts: int, version: str = "10", *, sender: str | None = None) -> Event:
    """A message by a user of a server, signed by it."""
    rules = ROOM_RULES[version]
    signer = server.signer
    pdu: JsonObject = {
        "type": "m.room.message",
        "room_id": ROOM,
        "sender": sender or f"@user:{signer.server}",
        "content": {"body": "hello"},
        "depth": 5,
        "origin_server_ts": ts,
        "prev_events": [],
        "auth_events": [],
        "signatures": {},
    }
    if rules.event_id_in_pdu:
        pdu["event_id"] = f"$event:{signer.server}"
    pdu["hashes"] = {"sha256": content_hash(pdu, rules)}
    event = Event.load(canonical(pdu, rules), rules, event_id_of(pdu, rules))
    return sign_event(event, signer)


async def verdicts(house: House, *events: Event) -> list[bool]:
    """Which of the events are accepted."""
    return [found is None for found in await house.ring.verify_events(events)]


def test_events_are_checked_with_the_keys_of_their_servers(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        peer, other = house.homeserver("peer.example:8448"), house.homeserver("other.example:8448")
        now_ms = house.clock.now_ms()
        good = [event_of(server, now_ms, version) for server in (peer, other, house) for version in ("1", "6", "11")]
        renamed = good[0].json.replace(b'peer.example:8448":{"ed25519', b'nobody":{"ed25519')
        unsigned = Event.load(renamed, good[0].rules, good[0].event_id)
        forged = event_of(peer, now_ms, sender="@user:other.example:8448")
        changed = Event.load(good[1].json.replace(b'"depth":5', b'"depth":6'), good[1].rules, good[1].event_id)
        assert await verdicts(house, *good, unsigned, forged, changed, *good) == [True] * 9 + [False] * 3 + [True] * 9
        assert (peer.key_requests, other.key_requests) == (1, 1)
        # What is in the table needs no request.
        house.build()
        assert await verdicts(house, *good) == [True] * 9
        assert (peer.key_requests, other.key_requests) == (1, 1)

    in_house(story, fresh_database(), tmp_path)


def test_hundreds_of_events_of_several_servers_are_checked_in_one_go(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        servers = [house.homeserver(f"s{number}.example:8448") for number in range(5)]
        now_ms = house.clock.now_ms()
        events = [event_of(server, now_ms - number) for number in range(60) for server in servers]
        bad = Event.load(events[7].json.replace(b'"depth":5', b'"depth":6'), events[7].rules, events[7].event_id)
        events[7] = bad
        assert [number for number, good in enumerate(await verdicts(house, *events)) if not good] == [7]
        assert [server.key_requests for server in servers] == [1] * 5

    in_house(story, fresh_database(), tmp_path)


@pytest.mark.parametrize(("version", "enforced"), [("1", False), ("4", False), ("5", True), ("11", True)])
def test_a_key_counts_only_in_its_time_from_room_version_5_on(
    fresh_database: FreshDatabase, tmp_path: Path, version: str, enforced: bool
) -> None:
    async def story(house: House) -> None:
        peer = house.homeserver("peer.example:8448")
        now_ms = house.clock.now_ms()
        assert await verdicts(house, event_of(peer, now_ms, version)) == [True]
        # A day, then the keys are no longer known to be in use; and nobody can be asked.
        peer.stops()
        house.clock.ahead_ms += 2 * DAY_MS
        assert await verdicts(house, event_of(peer, now_ms, version)) == [True]
        assert await verdicts(house, event_of(peer, now_ms + 2 * DAY_MS, version)) == [not enforced]

    in_house(story, fresh_database(), tmp_path)


def test_an_event_of_the_distant_future_is_refused_and_does_not_make_us_ask_again_and_again(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        peer = house.homeserver("peer.example:8448")
        now_ms = house.clock.now_ms()
        far = [event_of(peer, now_ms + 30 * DAY_MS + number) for number in range(5)]
        for event in far:
            assert await verdicts(house, event) == [False]
        assert peer.key_requests == 1
        house.clock.ahead_ms += 2 * 60_000
        assert await verdicts(house, *far) == [False] * 5
        assert peer.key_requests == 2

    in_house(story, fresh_database(), tmp_path)


def test_an_old_key_counts_for_old_events_only(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        peer = house.homeserver("peer.example:8448")
        now_ms = house.clock.now_ms()
        before, after = event_of(peer, now_ms - 2 * HOUR_MS), event_of(peer, now_ms)
        signed = sign_json({"a": 1}, "peer.example:8448", peer.key)
        peer.use(SigningKey.generate("new"), given_up_ms=now_ms - HOUR_MS)
        assert await verdicts(house, before, after, event_of(peer, now_ms)) == [True, False, True]
        with pytest.raises(BadSignature):
            await house.ring.verify_json("peer.example:8448", signed)
        await house.ring.verify_json("peer.example:8448", sign_json({"a": 1}, "peer.example:8448", peer.key))
        with pytest.raises(BadSignature):
            await house.ring.verify_json("peer.example:8448", {"a": 1})

    in_house(story, fresh_database(), tmp_path)


def lies(house: House, peer: OtherServer) -> dict[str, Any]:
    """Responses that prove nothing."""
    mallory = SigningKey.generate("theirs")
    key: JsonObject = {peer.key.key_id: {"key": peer.key.verify_key_base64}}
    base: JsonObject = {"server_name": peer.name, "verify_keys": key, "valid_until_ts": house.clock.now_ms() + DAY_MS}
    return {
        "of another server": sign_json({**base, "server_name": "other.example"}, "other.example", peer.key),
        "signed with a key that is not in it": sign_json(base, peer.name, mallory),
        "signed by another server": sign_json(base, "other.example", peer.key),
        "not signed": base,
        "changed after signing": {**sign_json(base, peer.name, peer.key), "valid_until_ts": 1},
        "no object": [1, 2],
        "no answer": None,
    }


def test_keys_of_a_server_that_lies_are_not_accepted(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        peer = house.homeserver("peer.example:8448")
        for lie, told in lies(house, peer).items():
            peer.published = lambda told=told: told  # type: ignore[misc]  # the default binds the value
            assert await verdicts(house, event_of(peer, house.clock.now_ms())) == [False], lie
            house.clock.ahead_ms += HOUR_MS

    in_house(story, fresh_database(), tmp_path)


def test_a_notary_vouches_for_a_server_that_cannot_be_asked(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def run(reactor: Any) -> None:
        async with (
            open_house(reactor, fresh_database(), tmp_path) as ours,
            open_house(reactor, fresh_database(), tmp_path, name="notary.example", beside=ours) as notary,
        ):
            notary.open_doors()
            peer = ours.homeserver("peer.example:8448")
            event = event_of(peer, ours.clock.now_ms())
            await notary.ring.fetch("peer.example:8448")
            peer.stops()
            assert await verdicts(ours, event) == [False]
            ours.build(notaries=("gone.example", "notary.example"))
            ours.clock.ahead_ms += HOUR_MS
            assert await verdicts(ours, event) == [True]

    run_on_reactor(run)


def test_a_notary_that_lies_is_not_believed(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        peer, notary = house.homeserver("peer.example:8448"), house.homeserver("notary.example:8448")
        mallory = SigningKey.generate("theirs")
        real = peer.published()
        told: list[JsonObject] = []

        def answers(asked: Asked, connection: Connection) -> bytes:
            assert asked.target == "/_matrix/key/v2/query"
            queries.append(msgspec.json.decode(asked.body))
            return response(msgspec.json.encode({"server_keys": told}))

        queries: list[Any] = []
        notary.script = answers
        peer.stops()
        event = event_of(peer, house.clock.now_ms())
        house.build(notaries=("notary.example:8448",))
        forged = sign_json(
            {**real, "verify_keys": {mallory.key_id: {"key": mallory.verify_key_base64}}, "signatures": {}},
            "peer.example:8448",
            peer.key,
        )
        for lie in (
            [],
            [real],  # the notary did not sign
            [sign_json(real, "notary.example:8448", mallory)],
            [sign_json(forged, "notary.example:8448", notary.key)],
            [sign_json({**real, "server_name": "other.example"}, "notary.example:8448", notary.key)],
        ):
            told[:] = lie
            house.clock.ahead_ms += HOUR_MS
            assert await verdicts(house, event) == [False]
        told[:] = [sign_json(real, "notary.example:8448", notary.key)]
        house.clock.ahead_ms += HOUR_MS
        assert await verdicts(house, event) == [True]
        until_ts = event.origin_server_ts
        assert queries[0] == {
            "server_keys": {"peer.example:8448": {"ed25519:theirs": {"minimum_valid_until_ts": until_ts}}}
        }

    in_house(story, fresh_database(), tmp_path)


def test_a_notary_cannot_replace_a_key_that_its_owner_has_shown(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        peer, notary = house.homeserver("peer.example:8448"), house.homeserver("notary.example:8448")
        mallory = Signer(peer.name, SigningKey.generate("theirs"))
        assert await verdicts(house, event_of(peer, house.clock.now_ms())) == [True]
        peer.stops()
        house.build(notaries=("notary.example:8448",))
        house.clock.ahead_ms += 2 * DAY_MS
        fake: JsonObject = {
            "server_name": peer.name,
            "verify_keys": {mallory.key.key_id: {"key": mallory.key.verify_key_base64}},
            "valid_until_ts": house.clock.now_ms() + DAY_MS,
        }
        told = sign_json(sign_json(fake, peer.name, mallory.key), notary.name, notary.key)
        notary.script = lambda *_: response(msgspec.json.encode({"server_keys": [told]}))
        peer.signer = mallory
        assert await verdicts(house, event_of(peer, house.clock.now_ms())) == [False]

    in_house(story, fresh_database(), tmp_path)


def test_unknown_key_ids_do_not_make_us_ask_for_each(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        peer = house.homeserver("peer.example:8448")
        for number in range(10):
            signed = sign_json({"a": 1}, peer.name, SigningKey.generate(f"invented_{number}"))
            with pytest.raises(BadSignature):
                await house.ring.verify_json(peer.name, signed)
        assert peer.key_requests == 1

    in_house(story, fresh_database(), tmp_path)


def test_our_own_signatures_need_no_request_and_old_keys_of_ours_count(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        now_ms = house.clock.now_ms()
        old = SigningKey.generate("old")
        house.old_keys[old.key_id] = (old.verify_key_base64, now_ms - HOUR_MS)
        house.build()
        events = [event_of(house, now_ms)]
        new, house.signer = house.signer, Signer(house.signer.server, old)
        events += [event_of(house, now_ms - 2 * HOUR_MS), event_of(house, now_ms)]
        house.signer = new
        assert await verdicts(house, *events) == [True, True, False]
        await house.ring.verify_json("ours.example", sign_json({"a": 1}, "ours.example", new.key))
        published = house.own.published()
        assert published["old_verify_keys"] == {
            old.key_id: {"key": old.verify_key_base64, "expired_ts": now_ms - HOUR_MS}
        }
        assert house.wires.dialled == []

    in_house(story, fresh_database(), tmp_path)


def test_published_keys_are_always_valid_for_hours_and_at_most_a_week(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        for _ in range(30):
            until_ts = house.own.published()["valid_until_ts"]
            assert isinstance(until_ts, int)
            assert HOUR_MS < until_ts - house.clock.now_ms() <= 7 * DAY_MS
            house.clock.ahead_ms += 5 * HOUR_MS

    in_house(story, fresh_database(), tmp_path)


def test_we_are_a_notary_with_both_methods_also_for_servers_that_are_gone(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def run(reactor: Any) -> None:
        async with (
            open_house(reactor, fresh_database(), tmp_path) as ours,
            open_house(reactor, fresh_database(), tmp_path, name="theirs.example", beside=ours) as asking,
        ):
            ours.open_doors()
            peer = ours.homeserver("peer.example:8448")
            query = "/_matrix/key/v2/query"

            async def ask(body: JsonObject) -> list[Any]:
                answer = await asking.client.post("ours.example", query, body={"server_keys": body}, signed=False)
                found: Any = answer["server_keys"]
                return list(found)

            one: Any = await asking.client.get("ours.example", f"{query}/peer.example%3A8448", signed=False)
            (keys,) = one["server_keys"]
            assert set(keys["signatures"]) == {"peer.example:8448", "ours.example"}
            assert keys["verify_keys"] == peer.published()["verify_keys"]
            await asking.ring.verify_json("ours.example", keys)
            assert await ask({"peer.example:8448": {}}) == [keys]
            assert await ask({"peer.example:8448": {peer.key.key_id: {}}}) == [keys]
            assert peer.key_requests == 1
            # Half of its life later it is asked for again, and so it is where it must be valid for longer.
            ours.clock.ahead_ms += 13 * HOUR_MS
            assert await ask({"peer.example:8448": {}}) != [keys]
            assert peer.key_requests == 2
            ours.clock.ahead_ms += HOUR_MS
            later: JsonObject = {"minimum_valid_until_ts": ours.clock.now_ms() + 5 * DAY_MS}
            (stale,) = await ask({"peer.example:8448": {peer.key.key_id: later}})
            assert peer.key_requests == 3
            # What is gone is answered from memory, what never was is left out, and we are among the servers.
            peer.stops()
            ours.clock.ahead_ms += 30 * DAY_MS
            many = await ask({"peer.example:8448": {}, "never.example": {}, "no name": {}, "ours.example": {}})
            assert [each["server_name"] for each in many] == ["ours.example", "peer.example:8448"]
            assert many[1] == stale
            assert await ask({}) == []
            own = await asking.client.get("ours.example", "/_matrix/key/v2/server", signed=False)
            assert own == many[0]
            assert await asking.client.get("ours.example", "/_matrix/key/v2/server/ed25519:x", signed=False) == own

    run_on_reactor(run)
