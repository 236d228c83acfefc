"""An admin for tests: gives ./synctl commands for a data folder of its own, on ports of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


class Admin:
    """Someone with a data folder and ./synctl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.listeners = f"listeners=[{{port: {self.port}}}]"
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("MYELIN_")}

    def says(
        self, *words: str, stdin: str | None = None, environment: Mapping[str, str] | None = None, data: bool = True
    ) -> Outcome:
        """Give a command and wait for its end."""
        folder = ["--data", str(self.folder)] if data else []
        done = subprocess.run(
            [sys.executable, str(ROOT / "synctl"), *words, *folder],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            env={**self._environment, **(environment or {})},
            cwd="/",
            timeout=180,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def inits(self, *words: str, server_name: str = "localhost") -> Outcome:
        """Write the config of a server on our port alone."""
        return self.says("init", "--server-name", server_name, "--set", self.listeners, *words)

    def foreground(self, *words: str) -> subprocess.Popen[str]:
        """Start the server as a service manager would."""
        command = [sys.executable, "-m", "homeserver", "--config", str(self.folder / "myelin.yaml"), *words]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=self._environment
        )

    def answers(self, path: str = "/health") -> int | None:
        """The status that the server gives, None where nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as problem:
            return problem.code
        except OSError:
            return None

    def process_id(self) -> int:
        """The running server's process."""
        return int((self.folder / "myelin.pid").read_text())

    def postgres_id(self) -> int:
        """The process of its PostgreSQL."""
        return int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0])

    def leaves(self) -> None:
        """Stop whatever of ours still runs."""
        self.says("stop")
        with contextlib.suppress(OSError, ValueError):
            os.kill(self.postgres_id(), signal.SIGQUIT)


@contextlib.contextmanager
def place_of_its_own() -> Iterator[Path]:
    """A temporary folder that only this test touches. pytest's own are no good for a database that runs as another
    user: every session of pytest closes the folder above them to others anew."""
    made = Path(tempfile.mkdtemp(prefix="admin-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_alive(process_id: int) -> bool:
    """Is there a process of this number that has not ended?"""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def until(question: Callable[[], bool], what: str) -> None:
    """Ask again until the answer is yes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not question():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def hired(folder: Path) -> Iterator[Admin]:
    """An admin who tidies up at the end."""
    admin = Admin(folder)
    try:
        yield admin
    finally:
        admin.leaves()
