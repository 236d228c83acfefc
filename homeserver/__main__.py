"""The server in the foreground: `python -m homeserver --config FILE`, for service managers and test harnesses.

It asks nothing and needs no step beforehand: keys and folders that are missing are made. It holds its data folder for
as long as it runs, so that a second one cannot start there.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from config.load import BadConfig, load
from config.settings import Settings
from homeserver.cli.data_folder import AlreadyRuns, DataFolder, Hold
from homeserver.cli.keys import KeyProblem, make_missing
from homeserver.ports import PortTaken, check_port


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until stopped by SIGTERM or SIGINT; the exit code."""
    asked = _parser().parse_args(arguments)
    # Until the reactor takes over: leave through every `finally`, so that a PostgreSQL just started is stopped again.
    signal.signal(signal.SIGTERM, _stop_early)
    folder = DataFolder.of(asked.data, asked.config)
    try:
        settings = load(folder.config, folder.path, overrides=asked.set)
        with Hold(folder):
            return _serve(settings, folder, asked)
    except KeyboardInterrupt:
        return 0
    except BadConfig as problem:
        for mistake in problem.mistakes:
            print(mistake, file=sys.stderr)
    except (AlreadyRuns, KeyProblem, PortTaken) as problem:
        print(problem, file=sys.stderr)
    except OSError as problem:
        print(f"the server cannot run in {folder.path}: {problem}", file=sys.stderr)
    return 1


def _stop_early(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m homeserver", description="Run a Myelin homeserver in the foreground."
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the config file")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the data folder (default: the config file's folder)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the config")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--log-to-stderr", action="store_true", help="log to stderr, whatever log.file says")
    where.add_argument("--background", action="store_true", help="log to DIR/myelin.log, where log.file names no file")
    return parser


def _serve(settings: Settings, folder: DataFolder, asked: argparse.Namespace) -> int:
    for listener in settings.listeners:
        check_port(listener)
    os.umask(0o077)  # logs and media are nobody else's business
    made = make_missing(settings, folder.admin_secret)

    import structlog

    from homeserver.runtime.logs import LogFile, start_logging

    log_file = None if asked.log_to_stderr else settings.log.file or (folder.log if asked.background else None)
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
    output = start_logging(settings.log.level, LogFile(log_file), settings.log.format)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asked us not to listen
        # With a log file: it was moved away. Without: the terminal was closed, which is a way to say stop.
        signal.signal(
            signal.SIGHUP,
            lambda number, frame: output.reopen() if log_file else os.kill(os.getpid(), signal.SIGTERM),
        )
    log = structlog.get_logger("homeserver")
    for file in made:
        log.info("made a file that was missing", file=str(file))

    from homeserver.app import run

    try:
        return run(settings, folder.path, foreground_log=log_file is None)
    except Exception as problem:  # the last line of defence: whatever it is, the admin gets one line
        log.error("the server stopped on an error", exc_info=problem)
        print(f"the server stopped on an error: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
