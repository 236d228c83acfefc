"""./synctl inside its environment: understands the command and carries it out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from homeserver.cli.arguments import understand
from homeserver.cli.problem import Problem

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str]) -> int:
    """Carry out one command; the exit code."""
    asked = understand(arguments)
    try:
        return command(asked.command)(asked)
    except Problem as problem:
        for line in problem.lines:
            print(f"synctl: {line}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("synctl: interrupted", file=sys.stderr)
        return 1


def command(name: str) -> Command:
    """What carries out this command; each loads only what it needs."""
    if name in ("start", "stop", "restart", "status"):
        from homeserver.cli import running

        chosen: Mapping[str, Command] = {
            "start": running.start,
            "stop": running.stop,
            "restart": running.restart,
            "status": running.status,
        }
        return chosen[name]
    if name == "register-user":
        from homeserver.cli.accounts import register_user

        return register_user
    if name == "explain":
        from homeserver.cli.explaining import explain

        return explain
    if name in ("test", "bench"):
        from homeserver.cli import developing

        return developing.test if name == "test" else developing.bench
    from homeserver.cli import configuring

    return configuring.init if name == "init" else configuring.config


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
