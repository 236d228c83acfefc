"""Server access control lists, as the specification has them."""

from __future__ import annotations

import pytest

from homeserver.rooms.server_acl import OPEN, ServerAcl


def test_a_room_without_a_list_is_open_to_all() -> None:
    assert OPEN.allows("anyone.example")


def test_a_list_that_allows_nobody_shuts_all_out() -> None:
    assert not ServerAcl({}).allows("anyone.example")
    assert not ServerAcl({"allow": "*"}).allows("anyone.example")


@pytest.mark.parametrize(
    ("server", "allowed"),
    [
        ("good.example", True),
        ("GOOD.example", True),
        ("good.example:8448", True),
        ("evil.example", False),
        ("Evil.Example", False),
        ("evil.example:1234", False),
        ("sub.evil.example", False),
        ("devil.example", True),
        ("ab.example", False),
        ("abc.example", True),
        ("1.2.3.4", False),
        ("1.2.3.4:8448", False),
        ("[2001:db8::1]", False),
        ("[2001:db8::1]:8448", False),
    ],
)
def test_names_are_matched_without_port_and_case(server: str, allowed: bool) -> None:
    acl = ServerAcl(
        {"allow": ["*"], "deny": ["evil.example", "*.evil.example", "a?.example", 7], "allow_ip_literals": False}
    )
    assert acl.allows(server) is allowed


def test_ip_addresses_are_allowed_unless_the_list_says_no() -> None:
    assert ServerAcl({"allow": ["*"]}).allows("1.2.3.4")
    assert ServerAcl({"allow": ["*"], "allow_ip_literals": "no"}).allows("[::1]:8448")


def test_who_is_denied_is_not_allowed_by_another_entry() -> None:
    assert not ServerAcl({"allow": ["evil.example", "*"], "deny": ["evil.example"]}).allows("evil.example")
