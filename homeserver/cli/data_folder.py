"""A data folder: where its files are, who runs in it. Owns DIR/myelin.pid and DIR/myelin.lock.

The lock is what counts: it is held by the running server and goes with it, however it ends. The pid file beside it
only says which process that is.
"""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from homeserver import __version__

CONFIG_NAME = "myelin.yaml"


class AlreadyRuns(Exception):
    """Another server holds the data folder."""

    def __init__(self, folder: Path, process_id: int | None) -> None:
        super().__init__(f"Myelin already runs in {folder}" + (f" (process {process_id})" if process_id else ""))
        self.process_id = process_id


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The folder and the config file that belongs to it."""

    path: Path
    config: Path

    @classmethod
    def of(cls, data: Path | None, config: Path | None) -> DataFolder:
        """As named on the command line: the config's own folder where none is named, ./data where neither is."""
        if data is None:
            data = config.parent if config is not None else Path("data")
        folder = data.absolute()
        return cls(folder, config.absolute() if config is not None else folder / CONFIG_NAME)

    @property
    def log(self) -> Path:
        """Where a server in the background writes, unless log.file names another file."""
        return self.path / "myelin.log"

    @property
    def admin_secret(self) -> Path:
        """What signs the requests of ./synctl register-user."""
        return self.path / "admin.secret"

    @property
    def lock_file(self) -> Path:
        return self.path / "myelin.lock"

    @property
    def pid_file(self) -> Path:
        return self.path / "myelin.pid"

    def is_held(self) -> bool:
        """Does a server run here (perhaps not ready yet)?"""
        try:
            with self.lock_file.open("r") as lock:
                # Shared, so that two who look do not take each other for a server.
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def process_id(self) -> int | None:
        """The server's process, if one runs here."""
        if not self.is_held():
            return None
        for _ in range(20):
            try:
                return int(self.pid_file.read_text("utf-8"))
            except (OSError, ValueError):
                time.sleep(0.01)  # it has the lock and writes its number in this moment
        return None

    def running_version(self) -> str:
        """The version of the server that runs here, which may be older than this checkout."""
        return self.lock_file.read_text("utf-8").strip()

    def running_seconds(self) -> float:
        """How long the server has been running."""
        return time.time() - self.pid_file.stat().st_mtime


class Hold:
    """Holds a data folder for this process, from `with` to its end."""

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._lock: IO[str] | None = None

    def __enter__(self) -> Hold:
        self._folder.path.mkdir(parents=True, exist_ok=True)
        lock = self._folder.lock_file.open("a", encoding="utf-8")
        deadline = time.monotonic() + 0.3  # `status` looks at the lock for a moment
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.close()
                    raise AlreadyRuns(self._folder.path, self._folder.process_id()) from None
                time.sleep(0.01)
        self._lock = lock
        lock.truncate(0)
        lock.write(f"{__version__}\n")
        lock.flush()
        self._folder.pid_file.write_text(f"{os.getpid()}\n", "utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.pid_file.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None
