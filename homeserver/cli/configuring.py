"""The commands `init` and `config`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config import sample
from config.load import BadConfig, load, loads
from config.manual import manual
from config.settings import Settings
from homeserver.cli.data_folder import DataFolder
from homeserver.cli.keys import KeyProblem, make_missing, write_secret
from homeserver.cli.problem import Problem


def init(asked: argparse.Namespace) -> int:
    """Write config, signing key and certificate of a new server."""
    folder = DataFolder.of(asked.data, asked.config)
    settings, made = create(folder, asked.server_name, asked.set)
    for file in (folder.config, *made):
        print(f"made {file}")
    print(f"Start {settings.server_name} with: {command_line(asked, folder, 'start')}")
    return 0


def create(folder: DataFolder, server_name: str, overrides: Sequence[str] = ()) -> tuple[Settings, list[Path]]:
    """The same for `start` in an empty folder; answers with the settings and the files made beside the config."""
    if folder.config.exists():
        raise Problem(f"{folder.config} is there already and is not overwritten: edit it, or name another --data")
    options = [f"server_name={json.dumps(server_name)}", *overrides]
    try:
        settings = loads("", str(folder.config), folder.path, overrides=options)
    except BadConfig as problem:
        raise Problem(*(str(mistake) for mistake in problem.mistakes)) from problem
    try:
        write_secret(folder.config, sample.write(relative_to(folder.path, sample.plain(settings))))
        return settings, make_missing(settings, folder.admin_secret)
    except (OSError, KeyProblem) as problem:
        raise Problem(f"the new server's files could not be made: {problem}") from problem


def relative_to(folder: Path, value: Any) -> Any:
    """Plain values with names of files in this folder relative to it, as an admin would write them."""
    if isinstance(value, dict):
        return {key: relative_to(folder, entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [relative_to(folder, entry) for entry in value]
    return value.removeprefix(f"{folder}/") if isinstance(value, str) else value


def config(asked: argparse.Namespace) -> int:
    """Check the config, or print what is made from the settings."""
    if asked.what == "sample":
        print(sample.write(), end="")
    elif asked.what == "manual":
        print(manual(), end="")
    else:
        folder = DataFolder.of(asked.data, asked.config)
        check(folder, load_settings(folder))
        print(f"{folder.config} is in order")
    return 0


def load_settings(folder: DataFolder) -> Settings:
    """The settings as a server started here now would have them; Problem with all mistakes."""
    try:
        return load(folder.config, folder.path)
    except BadConfig as problem:
        raise Problem(*(str(mistake) for mistake in problem.mistakes)) from problem


def check(folder: DataFolder, settings: Settings) -> None:
    """What the file alone does not show: do the files that it names exist?"""
    wrong = []
    named = [(f"appservices.{place}", file) for place, file in enumerate(settings.appservices)]
    if settings.federation.ca_file is not None:
        named.append(("federation.ca_file", settings.federation.ca_file))
    for key, file in named:
        if not file.is_file():
            wrong.append(f"{folder.config}: {key}: there is no file {file}")
    for place, listener in enumerate(settings.listeners):
        if listener.tls is not None:
            there = [getattr(listener.tls, field.name).is_file() for field in dataclasses.fields(listener.tls)]
            if any(there) and not all(there):
                wrong.append(
                    f"{folder.config}: listeners.{place}.tls: only one of {listener.tls.certificate} and "
                    f"{listener.tls.private_key} is there; a pair is made only where both are missing"
                )
    if wrong:
        raise Problem(*wrong)


def command_line(asked: argparse.Namespace, folder: DataFolder, words: str) -> str:
    """How to give another command for the same folder."""
    program = Path(__file__).parents[2] / "synctl"
    try:
        shown = f"./{program.relative_to(Path.cwd())}"
    except ValueError:
        shown = str(program)
    options = f" --data {asked.data}" if asked.data else ""
    options += f" --config {asked.config}" if asked.config else ""
    return f"{shown} {words}{options}"


def warn(text: str) -> None:
    """A line for the admin that does not end the command."""
    print(f"synctl: {text}", file=sys.stderr)
