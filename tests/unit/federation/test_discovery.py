"""Discovery, step by step as the specification numbers them, on tables instead of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.discovery import (
    Answer,
    AskSrv,
    AskWellKnown,
    NoService,
    Question,
    Route,
    SrvRecord,
    discover,
    in_order,
)


@dataclass
class World:
    """What the network would say."""

    well_known: Mapping[str, str] = field(default_factory=dict)
    srv: Mapping[str, Sequence[SrvRecord]] = field(default_factory=dict)
    asked: list[Question] = field(default_factory=list)

    def route(self, server_name: str) -> Route:
        steps = discover(server_name)
        try:
            question = next(steps)
            while True:
                self.asked.append(question)
                answer: Answer
                if isinstance(question, AskWellKnown):
                    answer = self.well_known.get(question.hostname)
                else:
                    answer = self.srv.get(question.name, ())
                question = steps.send(answer)
        except StopIteration as end:
            found: Route = end.value
            return found


def shown(route: Route) -> tuple[str, str, list[str]]:
    return route.host_header, route.tls_name, [f"{target.host} {target.port}" for target in route.targets]


@pytest.mark.parametrize(
    ("server_name", "expected"),
    [
        # Step 1
        ("1.2.3.4", ("1.2.3.4", "1.2.3.4", ["1.2.3.4 8448"])),
        ("1.2.3.4:443", ("1.2.3.4:443", "1.2.3.4", ["1.2.3.4 443"])),
        ("[2001:db8::1]", ("[2001:db8::1]", "2001:db8::1", ["2001:db8::1 8448"])),
        ("[2001:db8::1]:5", ("[2001:db8::1]:5", "2001:db8::1", ["2001:db8::1 5"])),
        # Step 2
        ("example.org:8448", ("example.org:8448", "example.org", ["example.org 8448"])),
        ("example.org:5", ("example.org:5", "example.org", ["example.org 5"])),
        ("localhost:1", ("localhost:1", "localhost", ["localhost 1"])),
    ],
)
def test_steps_1_and_2_need_no_question(server_name: str, expected: object) -> None:
    world = World()
    assert shown(world.route(server_name)) == expected
    assert world.asked == []


@pytest.mark.parametrize(
    ("delegated", "expected"),
    [
        # Step 3.1
        ("1.2.3.4", ("1.2.3.4", "1.2.3.4", ["1.2.3.4 8448"])),
        ("1.2.3.4:5", ("1.2.3.4:5", "1.2.3.4", ["1.2.3.4 5"])),
        ("[::ffff:9]:5", ("[::ffff:9]:5", "::ffff:9", ["::ffff:9 5"])),
        # Step 3.2
        ("d.example:5", ("d.example:5", "d.example", ["d.example 5"])),
    ],
)
def test_steps_3_1_and_3_2_end_with_what_the_host_delegates_to(delegated: str, expected: object) -> None:
    world = World(well_known={"example.org": delegated})
    assert shown(world.route("example.org")) == expected
    assert world.asked == [AskWellKnown("example.org")]


FED = SrvRecord(10, 0, 1001, "fed.example")
OLD = SrvRecord(10, 0, 1002, "old.example")


@pytest.mark.parametrize(
    ("delegated", "base", "step_1", "step_2", "step_3"),
    [("d.example", "d.example", "3.3", "3.4", "3.5"), (None, "example.org", "4", "5", "6")],
)
def test_srv_records_are_asked_for_in_order_and_the_host_itself_is_the_last_resort(
    delegated: str | None, base: str, step_1: str, step_2: str, step_3: str
) -> None:
    delegation = {} if delegated is None else {"example.org": delegated}
    fed, old = f"_matrix-fed._tcp.{base}", f"_matrix._tcp.{base}"
    world = World(delegation, {fed: [FED], old: [OLD]})
    assert shown(world.route("example.org")) == (base, base, ["fed.example 1001"]), step_1
    assert world.asked == [AskWellKnown("example.org"), AskSrv(fed)]
    world = World(delegation, {old: [OLD]})
    assert shown(world.route("example.org")) == (base, base, ["old.example 1002"]), step_2
    assert world.asked == [AskWellKnown("example.org"), AskSrv(fed), AskSrv(old)]
    world = World(delegation)
    assert shown(world.route("example.org")) == (base, base, [f"{base} 8448"]), step_3


@pytest.mark.parametrize(
    "delegated", ["", "https://d.example", "d.example:0", "d.example:70000", "d.example/x", "a b", "[::1", "-x.example"]
)
def test_a_delegation_that_is_no_server_name_counts_as_none(delegated: str) -> None:
    world = World({"example.org": delegated})
    assert shown(world.route("example.org")) == ("example.org", "example.org", ["example.org 8448"])


@pytest.mark.parametrize(
    "server_name",
    [
        "",
        "a b",
        "example.org:0",
        "example.org:99999",
        "a..b",
        ".",
        "-a.example",
        "x" * 64 + ".example",
        "[1.2.3.4]",
        "ex_ä",
    ],
)
def test_a_name_that_cannot_be_one_leads_nowhere_without_a_question(server_name: str) -> None:
    world = World()
    with pytest.raises(NoService):
        world.route(server_name)
    assert world.asked == []


def test_an_srv_record_of_a_dot_says_that_there_is_no_server() -> None:
    with pytest.raises(NoService):
        World(srv={"_matrix-fed._tcp.example.org": [SrvRecord(0, 0, 0, ".")]}).route("example.org")


def test_delegation_is_not_followed_twice() -> None:
    world = World({"example.org": "d.example", "d.example": "elsewhere.example"})
    assert world.route("example.org").host_header == "d.example"


def test_records_are_tried_by_priority_and_by_chance_within_one() -> None:
    low, heavy, light = SrvRecord(20, 5, 1, "c"), SrvRecord(10, 9, 1, "a"), SrvRecord(10, 1, 1, "b")
    assert in_order([low, light, heavy], lambda: 0.5) == [heavy, light, low]
    assert in_order([low, light, heavy], lambda: 0.0) == [light, heavy, low]
    firsts = [in_order([low, light, heavy], lambda part=part: part / 100)[0] for part in range(100)]  # type: ignore[misc]
    assert (firsts.count(heavy), firsts.count(light)) == (90, 10)


@given(
    st.lists(st.builds(SrvRecord, st.integers(0, 3), st.integers(0, 9), st.just(1), st.sampled_from("abc"))),
    st.floats(0, 0.999),
)
def test_every_record_is_tried_once(records: list[SrvRecord], chance: float) -> None:
    ordered = in_order(records, lambda: chance)
    assert sorted(ordered) == sorted(records)
    assert [record.priority for record in ordered] == sorted(record.priority for record in records)
