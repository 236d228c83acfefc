"""Fixtures for tests with other homeservers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.federated import Federated, TestAuthority, faultless
from tests.interop.lacking import is_lacking
from tests.interop.synapse import Both, LinkedMyelin, NotInstalled, Sides, Synapse, install
from tests.postgres import TestServer
from tests.servers import Homeserver

SCRIPTS = Path(__file__).parent / "js"


@pytest.fixture(scope="session")
def authority() -> Iterator[TestAuthority]:
    """Whom all test servers trust."""
    made = TestAuthority()
    yield made
    made.remove()


@pytest.fixture(scope="session")
def both(postgres: TestServer, authority: TestAuthority) -> Iterator[Both]:
    """Our server and Synapse, in one federation. Ours makes no mistakes of its own."""
    try:
        install()
    except NotInstalled as reason:
        is_lacking(str(reason))
    ours, synapse = LinkedMyelin(postgres.fresh_database(), authority), Synapse(authority)
    with faultless(ours, synapse):
        yield Both(ours, synapse)


@pytest.fixture(scope="session")
def twins(postgres: TestServer, authority: TestAuthority) -> Iterator[tuple[Federated, Federated]]:
    """Two servers of ours, in one federation. They make no mistakes of their own."""
    here, there = (Federated(postgres.fresh_database(), authority) for _ in range(2))
    with faultless(here, there):
        yield here, there


@pytest.fixture
def another(both: Both, postgres: TestServer, authority: TestAuthority) -> Iterator[Federated]:
    """One more server of ours. It asks Synapse for the keys of servers that it does not reach."""
    federation = {"trusted_key_servers": [both.synapse.server_name]}
    server = Federated(postgres.fresh_database(), authority, federation=federation)
    with faultless(server):
        yield server


@pytest.fixture(params=["ours", "synapse"])
def sides(both: Both, request: pytest.FixtureRequest) -> Sides:
    """Whose room it is: ours, with people of Synapse coming to it, and the other way round."""
    return Sides(*both) if request.param == "ours" else Sides(*reversed(both))


@pytest.fixture(params=["two of ours", "ours first", "synapse first"])
def ends(request: pytest.FixtureRequest) -> Sequence[Homeserver]:
    """The server on which rooms are made, and the one whose people come to them."""
    if request.param == "two of ours":
        here, there = request.getfixturevalue("twins")
        return here, there
    ours, synapse = request.getfixturevalue("both")
    return (ours, synapse) if request.param == "ours first" else (synapse, ours)


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts in a folder with what they need from npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        is_lacking("Node.js with npm is not installed")
    folder = tmp_path_factory.mktemp("js")
    shutil.copytree(SCRIPTS, folder, dirs_exist_ok=True)
    installed = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, check=False
    )
    if installed.returncode:
        is_lacking(f"npm cannot fetch the library: {installed.stderr[-500:]}")
    return folder
