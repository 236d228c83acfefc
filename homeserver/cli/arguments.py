"""What can be typed after ./synctl. Needs only the standard library: it runs before anything is installed, too."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from homeserver import __version__

PASSED_ON = ("test", "bench")
"""Commands whose words are those of another program, as they are."""


def understand(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exits with 2 and a usage line where it makes no sense."""
    if arguments and arguments[0] in PASSED_ON:
        return argparse.Namespace(command=arguments[0], rest=list(arguments[1:]), data=None, config=None)
    asked = parser().parse_args(arguments)
    # Both `--data DIR start` and `start --data DIR` are understood; the latter wins.
    for name in ("data", "config"):
        setattr(asked, name, getattr(asked, f"{name}_after", None) or getattr(asked, name))
    return asked


def parser() -> argparse.ArgumentParser:
    """The grammar."""
    top = argparse.ArgumentParser(prog="synctl", description="Runs a Myelin homeserver.")
    top.add_argument("--version", action="version", version=f"Myelin {__version__}")
    _folder_options(top, "")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    start = _command(commands, "start", "start the server; with no config yet, write one that works at once")
    start.add_argument("--foreground", action="store_true", help="stay, log to stderr, stop on Ctrl-C")
    _command(commands, "stop", "stop the server")
    _command(commands, "restart", "stop the server and start it")
    _command(commands, "status", "say whether the server answers, and where, since when, with which database")

    init = _command(commands, "init", "write a config with every key, the keys and a certificate; never overwrite")
    init.add_argument("--server-name", required=True, metavar="NAME", help="what user ids end with, as in example.org")
    init.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another value than the default")

    register = _command(commands, "register-user", "make an account on the running server")
    register.add_argument("name", metavar="NAME", help="the part of the user id before the colon")
    register.add_argument("--admin", action="store_true", help="the account may administer the server")
    register.add_argument("--password-stdin", action="store_true", help="read the password from standard input")

    explain = _command(commands, "explain", "say what became of an event, and which rule decided")
    explain.add_argument("event_id", metavar="EVENT_ID", help="as it is written in the room or in the log")

    config = _command(commands, "config", "look at the config")
    config.add_argument(
        "what",
        choices=("check", "sample", "manual"),
        help="check: every mistake with key and line. sample: print a config of defaults. "
        "manual: print docs/configuration.md",
    )
    commands.add_parser("test", help="run the tests; words that follow are pytest's", add_help=False)
    commands.add_parser("bench", help="run the measurements; words that follow name scenarios", add_help=False)
    return top


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help: str
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    _folder_options(made, "_after")
    return made


def _folder_options(to: argparse.ArgumentParser, suffix: str) -> None:
    to.add_argument("--data", dest=f"data{suffix}", type=Path, metavar="DIR", help="the data folder (default: ./data)")
    to.add_argument(
        "--config", dest=f"config{suffix}", type=Path, metavar="FILE", help="the config (default: DIR/myelin.yaml)"
    )
