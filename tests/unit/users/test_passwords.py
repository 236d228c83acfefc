"""Passwords are hashed and checked."""

from __future__ import annotations

from typing import Any

import pytest

from config.kinds import Bytes
from config.settings import Passwords as Settings
from homeserver.users.passwords import Passwords
from homeserver.users.secret_tokens import ACCESS, new_device_id, new_token
from homeserver.web.errors import BadRequest
from tests.reactors import run_on_reactor

QUICK = Settings(memory=Bytes(8192 * 1024), iterations=1)


def with_passwords(story: Any, settings: Settings = QUICK) -> Any:
    """Tell a story in which passwords are checked."""

    async def told(reactor: Any) -> Any:
        passwords = Passwords(settings, reactor)
        passwords.start()
        try:
            return await story(passwords)
        finally:
            passwords.stop()

    return run_on_reactor(told)


def test_the_right_password_matches_its_hash_and_no_other() -> None:
    async def story(passwords: Passwords) -> None:
        kept = await passwords.hash("röslein 🌹")
        assert kept.startswith("$argon2id$") and "röslein" not in kept
        assert await passwords.hash("röslein 🌹") != kept, "the same password has another salt"
        assert await passwords.verify(kept, "röslein 🌹")
        assert not await passwords.verify(kept, "roslein 🌹")
        assert not await passwords.verify(kept, "")

    with_passwords(story)


def test_nothing_matches_where_there_is_no_password_or_no_hash() -> None:
    async def story(passwords: Passwords) -> None:
        assert not await passwords.verify(None, "decoy")
        assert not await passwords.verify("not a hash", "x")
        assert not await passwords.verify(None, "\ud800")

    with_passwords(story)


@pytest.mark.parametrize("password", ["", "x" * 1025])
def test_passwords_that_are_empty_or_endless_are_refused(password: str) -> None:
    async def story(passwords: Passwords) -> None:
        with pytest.raises(BadRequest):
            await passwords.hash(password)

    with_passwords(story)


def test_a_hash_with_other_parameters_is_outdated() -> None:
    async def story(passwords: Passwords) -> str:
        kept = await passwords.hash("x")
        assert not passwords.is_outdated(kept)
        return kept

    async def later(passwords: Passwords) -> bool:
        return passwords.is_outdated(kept) and await passwords.verify(kept, "x")

    kept = with_passwords(story)
    assert with_passwords(later, Settings(memory=Bytes(8192 * 1024), iterations=2))


def test_tokens_are_never_the_same() -> None:
    assert len({new_token(ACCESS) for _ in range(1000)}) == 1000
    assert all(len(new_token(ACCESS)) > 40 for _ in range(10))
    assert new_device_id() != new_device_id()
