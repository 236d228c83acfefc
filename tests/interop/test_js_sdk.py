"""A person with matrix-js-sdk: cross-signing, secret storage, key backup, and all of it restored on a new device."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cast import PASSWORD, Cast

pytestmark = pytest.mark.interop

STEPS = """\
cross-signing is set up
secret storage is set up
a key backup is set up
bob reads what alice says
alice reads what bob says
the backup holds both sessions
the new device finds the public keys
sessions are restored from the backup
the new device reads what was said before
the new device is signed
bob sees that alice has signed it
the new device reads what is said now
"""


def test_a_new_device_restores_what_the_old_one_has_set_up(cast: Cast, scripts: Path) -> None:
    alice, bob = cast("alice"), cast("bob")
    done = subprocess.run(
        ["node", "encryption.mjs", cast.server.url, alice.user_id, bob.user_id, PASSWORD],
        cwd=scripts,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # The library itself prints there, too.
    steps = [line.removeprefix("* ") for line in done.stdout.splitlines() if line.startswith("* ")]
    assert steps == STEPS.splitlines(), done.stderr[-4000:]
    assert done.returncode == 0
