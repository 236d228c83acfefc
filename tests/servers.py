"""Homeservers for scenario tests: ours as a child process, or any other that runs already.

Ours is `python -m homeserver --config FILE` on a free port with a database of its own. Another one is named by
environment variables, so that the same scenarios tell what it does: MYELIN_TEST_HOMESERVER (its URL),
MYELIN_TEST_SHARED_SECRET (for /_synapse/admin/v1/register), MYELIN_TEST_SERVER_NAME (unless it is `bench.localhost`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg2.extensions

from tests.integration.admin import free_port
from tests.postgres import ending_with_tests
from tests.wire import Json, Wire

ROOT: Final = Path(__file__).resolve().parents[1]
SHARED_SECRET: Final = "a secret that all tests know"
START_S: Final = 60.0
STOP_S: Final = 35.0

OURS: Final[dict[str, Json]] = {
    "server_name": "test.localhost",
    "registration": {"enabled": True, "shared_secret": SHARED_SECRET},
    "passwords": {"memory": "8K", "iterations": 1, "parallelism": 1},
    "rate_limits": {"enabled": False},
    "federation": {"enabled": False},
    "log": {"level": "warning"},
}


class Homeserver:
    """A server to speak to."""

    def __init__(self, url: str, server_name: str, shared_secret: str) -> None:
        self.url = url
        self.server_name = server_name
        self.shared_secret = shared_secret
        self.wire = Wire(url)

    @property
    def is_ours(self) -> bool:
        """Is it Myelin?"""
        return False


class Myelin(Homeserver):
    """This homeserver, out of this checkout, with settings of the test's choice."""

    def __init__(self, dsn: str, *, port: int | None = None, **settings: Json) -> None:
        port = port or free_port()
        config = {**OURS, **settings}
        super().__init__(f"http://127.0.0.1:{port}", config["server_name"], SHARED_SECRET)
        self.folder = Path(tempfile.mkdtemp(prefix="myelin-server-"))
        config.setdefault("public_baseurl", self.url + "/")
        config.setdefault("listeners", [{"port": port, "serves": ["client", "federation", "media", "admin"]}])
        config.setdefault("database", {"url": database_url(dsn)})
        (self.folder / "myelin.yaml").write_text(json.dumps(config, indent=1))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_ours(self) -> bool:
        return True

    @property
    def process_id(self) -> int:
        """The server's process."""
        assert self._process is not None, "it is not started"
        return self._process.pid

    def start(self) -> None:
        """Start, or start again, and wait until it answers and its database does."""
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "homeserver", "--config", str(self.folder / "myelin.yaml")],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env={name: value for name, value in os.environ.items() if not name.startswith("MYELIN_")},
                start_new_session=True,
                preexec_fn=ending_with_tests(),
            )
        deadline_s = time.monotonic() + START_S
        while self.health() != 200:
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"Myelin did not start:\n{self.output()[-4000:]}")
            time.sleep(0.02)

    def health(self) -> int | None:
        """The status of /health, None where nobody answers."""
        try:
            return self.wire.ask("GET", "/health", timeout_s=20).status
        except OSError:
            return None

    def stop(self) -> int:
        """Stop it in order; its exit code."""
        process, self._process = self._process, None
        assert process is not None, "it is not started"
        process.terminate()
        try:
            return process.wait(STOP_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            self.wire.close()

    def kill(self) -> None:
        """End it at once, with no chance to tidy up."""
        process, self._process = self._process, None
        assert process is not None, "it is not started"
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.wire.close()

    def restart(self) -> None:
        """Stop in order and start again."""
        assert self.stop() == 0, self.output()
        self.start()

    def output(self) -> str:
        """What it has logged."""
        return (self.folder / "output").read_text(errors="replace")

    def errors(self) -> list[str]:
        """What it has logged as a mistake of its own."""
        entries = re.split(r"^(?=\d{4}-\d\d-\d\dT)", self.output(), flags=re.MULTILINE)
        return [entry for entry in entries if re.match(r"\S+Z (error|critical) ", entry) or "Traceback" in entry]

    def remove(self) -> None:
        """Stop it, if it runs, and delete its folder."""
        if self._process is not None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


MakeServer = Callable[..., Myelin]
"""Makes and starts a server of the test's own; its arguments are settings."""


def database_url(dsn: str) -> str:
    """The words of libpq as a URL."""
    words = psycopg2.extensions.parse_dsn(dsn)
    return f"postgresql://{words['user']}@/{words['dbname']}?host={quote(words['host'], safe='')}"


def another_server() -> Homeserver | None:
    """The server that the environment names."""
    url = os.environ.get("MYELIN_TEST_HOMESERVER")
    if url is None:
        return None
    name = os.environ.get("MYELIN_TEST_SERVER_NAME", "bench.localhost")
    return Homeserver(url, name, os.environ["MYELIN_TEST_SHARED_SECRET"])
