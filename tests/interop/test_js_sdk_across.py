"""People with matrix-js-sdk on two servers: they verify each other, and read what came while they were logged out."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.cast import PASSWORD, Cast, Device, logged_in
from tests.key_ring import queries
from tests.servers import Homeserver
from tests.wire import Json

pytestmark = pytest.mark.interop

BEFORE = ["they talk", "they have verified each other"]
SLEEPING = [
    "the server takes devices that sleep",
    "they talk",
    "bob sees that only a sleeping device is left",
    "the next device reads what came to the sleeping one",
    "another sleeping device has taken its place",
]
AFTER = [
    "a new device knows who is verified",
    "bob trusts the new device",
    "new keys of bob are noticed",
    "they verify each other anew",
]


def test_users_verify_each_other_and_nobody_else_learns_of_it(ends: Sequence[Homeserver], scripts: Path) -> None:
    here, there = ends
    alice, bob = Cast(here)("alice"), Cast(there)("bob")
    arguments = [here.url, alice.user_id, there.url, bob.user_id, PASSWORD]
    with _running(["node", "verification.mjs", *arguments], scripts) as script:
        assert _steps(script, len(BEFORE)) == BEFORE
        for reader, whom, other in ((alice, bob, alice), (bob, alice, bob)):
            signers = _signers_of_master(logged_in(reader.wire, reader.user_id), whom)
            assert other.user_id in signers
            # The one who was verified does not see who did it, nor does anybody on either server.
            witnesses = [logged_in(whom.wire, whom.user_id), Cast(here)("nurse"), Cast(there)("nurse")]
            for witness in witnesses:
                assert other.user_id not in _signers_of_master(witness, whom)
        assert script.stdin is not None
        script.stdin.write("go on\n")
        script.stdin.flush()
        assert _steps(script, len(AFTER)) == AFTER
        assert script.wait(30) == 0


def test_what_is_said_while_somebody_is_logged_out_is_read_with_the_next_device(
    twins: Sequence[Homeserver], scripts: Path
) -> None:
    here, there = twins
    alice, bob = Cast(here)("alice"), Cast(there)("bob")
    arguments = [here.url, alice.user_id, there.url, bob.user_id, PASSWORD]
    with _running(["node", "dehydration.mjs", *arguments], scripts) as script:
        assert _steps(script, len(SLEEPING)) == SLEEPING
        assert script.wait(30) == 0


def _signers_of_master(reader: Device, whom: Device) -> Json:
    return queries(reader, whom)["master_keys"][whom.user_id].get("signatures", {})


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    with (folder / "problems").open("w") as problems:
        script = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=problems, text=True
        )
        try:
            yield script
        finally:
            script.kill()
            script.communicate()


def _steps(script: subprocess.Popen[str], number: int) -> list[str]:
    """The next things that are done; fewer, if the script ends. The library itself prints there, too."""
    assert script.stdout is not None
    found: list[str] = []
    readline: Callable[[], str] = script.stdout.readline
    while len(found) < number and (line := readline()):
        if line.startswith("* "):
            found.append(line.removeprefix("* ").rstrip())
    return found
