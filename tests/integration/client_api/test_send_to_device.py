"""Messages from device to device over HTTP, seen in the queues of the devices."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.integration.client_api.people import House, Person, house
from tests.postgres import FreshDatabase


def queue(person: Person) -> list[Any]:
    """What waits for the person's device."""
    rows = person.house.asks(
        "SELECT json FROM to_device JOIN devices USING (device)"
        " WHERE user_id = %s AND device_id = %s ORDER BY position",
        person.user_id,
        person.device_id,
    )
    return [json.loads(bytes(row)) for (row,) in rows]


def test_a_message_waits_for_the_device_that_is_named_or_for_all(verona: House) -> None:
    alice, bob = verona.person("alice"), verona.person("bob")
    phone = bob.another_device()
    messages = {bob.user_id: {"*": {"to": "all"}, phone.device_id: {"to": "phone"}, "NONE": {}}}
    assert alice.call("PUT", "/sendToDevice/m.test/1", {"messages": messages}).status == 200
    assert queue(bob) == [{"content": {"to": "all"}, "sender": alice.user_id, "type": "m.test"}]
    assert queue(phone) == [{"content": {"to": "phone"}, "sender": alice.user_id, "type": "m.test"}]


def test_a_repeat_sends_nothing_again_but_another_device_or_type_does(verona: House) -> None:
    carol, dan = verona.person("carol"), verona.person("dan")
    laptop = carol.another_device()
    body: dict[str, Any] = {"messages": {dan.user_id: {"*": {}}}}
    with ThreadPoolExecutor(4) as pool:
        repeats = [pool.submit(carol.call, "PUT", "/sendToDevice/m.test/same", body) for _ in range(8)]
    assert [each.result().status for each in repeats] == [200] * 8
    assert len(queue(dan)) == 1
    laptop.call("PUT", "/sendToDevice/m.test/same", body)
    carol.call("PUT", "/sendToDevice/m.other/same", body)
    carol.call("PUT", f"/sendToDevice/m.test/{'long' * 1000}", body)
    carol.call("PUT", f"/sendToDevice/m.test/{'long' * 1000}", body)
    assert len(queue(dan)) == 4


def test_a_repeat_after_a_restart_sends_nothing_again(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()
    with house(dsn) as before:
        eve = before.person("eve")
        body: dict[str, Any] = {"messages": {eve.user_id: {eve.device_id: {}}}}
        eve.call("PUT", "/sendToDevice/m.test/1", body)
    with house(dsn) as after:
        eve.house = after
        assert eve.call("PUT", "/sendToDevice/m.test/1", body).status == 200
        assert len(queue(eve)) == 1


def test_messages_of_the_wrong_form_are_refused_and_those_for_elsewhere_are_let_go(verona: House) -> None:
    frank = verona.person("frank")

    def refusal(messages: object) -> tuple[int, str]:
        return frank.call("PUT", "/sendToDevice/m.test/x", {"messages": messages}).refusal

    assert frank.call("PUT", "/sendToDevice/m.test/x", {}).refusal == (400, "M_MISSING_PARAM")
    assert refusal([]) == (400, "M_BAD_JSON")
    assert refusal({"frank": {"*": {}}}) == (400, "M_INVALID_PARAM")
    assert refusal({frank.user_id: {"*": 1}}) == (400, "M_BAD_JSON")
    assert refusal({"@somebody:elsewhere.example": {"*": {}}}) == (200, "")
    assert queue(frank) == []
