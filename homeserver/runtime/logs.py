"""What the server tells about its work: one line an event, as text or JSON, without anybody's secrets.

Every module says `log = structlog.get_logger("homeserver.part")` and logs a sentence with key-value pairs. A line below
the level costs next to nothing: the level decides which methods the loggers have. Lines of one request share its id.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, Final, Literal, cast

import msgspec
import structlog
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from twisted.python.failure import Failure

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]

LEVELS: Final[Mapping[Level, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
REMOVED: Final = "(removed)"

request_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The id of the request in whose name the running code works; the gate sets it."""

_SECRET_KEYS: Final = frozenset(
    {
        "access_token",
        "refresh_token",
        "token",
        "authorization",
        "password",
        "new_password",
        "passphrase",
        "secret",
        "shared_secret",
        "mac",
        "login_token",
        "as_token",
        "hs_token",
        "signing_key",
        "seed",
        "client_secret",
        "cookie",
    }
)
_SECRET_TEXT: Final = re.compile(
    r"((?:access_token|refresh_token|login_token|loginToken|client_secret|password|sig)[\"']?\s*[=:]\s*[\"']?"
    r"|\bBearer\s+)[^\s&\"',}]+",
    re.IGNORECASE,
)


class LogFile:
    """Where the lines go: a file that can be opened again after it was moved away, or stderr."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = self._open()

    def write(self, line: bytes) -> None:
        """Write one line. A full disk or closed stderr must not stop the server."""
        try:
            self._file.write(line)
            self._file.flush()
        except (OSError, ValueError):
            return

    def reopen(self) -> None:
        """Open the file anew, for those who rotate logs."""
        if self._path is not None:
            fresh = self._open()
            self._file.close()
            self._file = fresh

    def _open(self) -> IO[bytes]:
        if self._path is None:
            return sys.stderr.buffer
        return self._path.open("ab")


class _LineWriter:
    """What structlog hands finished lines to."""

    def __init__(self, file: LogFile) -> None:
        self._file = file

    def msg(self, line: bytes) -> None:
        self._file.write(line + b"\n")

    debug = info = warning = error = critical = exception = log = msg


def start_logging(level: Level = "info", file: LogFile | None = None, form: Format = "text") -> LogFile:
    """Set up logging for this process, Twisted's own lines included. Returns where the lines go."""
    output = file or LogFile(None)
    writer = _LineWriter(output)
    structlog.configure(
        processors=[
            _add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            remove_secrets,
            _as_json if form == "json" else _as_text,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *name: writer,
        cache_logger_on_first_use=False,
    )
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, _from_twisted)], redirectStandardIO=False)
    return output


def remove_secrets(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take tokens and passwords out of a line, by the names of its keys and by what its texts look like."""
    for key, value in event.items():
        if key.lower() in _SECRET_KEYS:
            event[key] = REMOVED
        elif isinstance(value, str) and _SECRET_TEXT.search(value):
            event[key] = _SECRET_TEXT.sub(rf"\1{REMOVED}", value)
    return event


def _add_request_id(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    current = request_id.get()
    if current is not None:
        event.setdefault("request_id", current)
    return event


def _as_json(_: object, __: str, event: MutableMapping[str, Any]) -> bytes:
    return msgspec.json.encode(dict(event), enc_hook=repr)


def _as_text(_: object, __: str, event: MutableMapping[str, Any]) -> bytes:
    time, level, message = event.pop("timestamp"), event.pop("level"), event.pop("event")
    traceback = event.pop("exception", None)
    pairs = "".join(f" {key}={_quoted(value)}" for key, value in event.items())
    line = f"{time} {level:7} {_one_line(str(message))}{pairs}"
    if traceback:
        # Indented, so that no line of it can pass for a line of the log.
        line += "".join(f"\n    {each}" for each in str(traceback).splitlines())
    return line.encode("utf-8", "backslashreplace")


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text) if not text or not text.isprintable() or any(character in text for character in ' "=') else text


def _one_line(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _from_twisted(event: LogEvent) -> None:
    """Twisted's own lines: its informational ones are of interest for debugging only."""
    logger = structlog.get_logger("twisted")
    failure = event.get("log_failure")
    level = event.get("log_level", LogLevel.info)
    text = formatEvent(event)
    source = event.get("log_namespace", "twisted")
    if isinstance(failure, Failure):
        logger.error(text or "unhandled failure", source=source, exception=failure.getTraceback())
    elif level in (LogLevel.error, LogLevel.critical):
        logger.error(text, source=source)
    elif level is LogLevel.warn:
        logger.warning(text, source=source)
    else:
        logger.debug(text, source=source)
