"""The command `explain`: what became of an event, and which rule decided."""

from __future__ import annotations

import argparse
import http.client
from urllib.parse import quote

from homeserver.cli.ask_server import ask, listener_for
from homeserver.cli.configuring import command_line, load_settings
from homeserver.cli.data_folder import DataFolder
from homeserver.cli.problem import Problem

PATH = "/_myelin/admin/v1/explain/"


def explain(asked: argparse.Namespace) -> int:
    """Ask the running server."""
    folder = DataFolder.of(asked.data, asked.config)
    if folder.process_id() is None:
        raise Problem(f"Myelin does not run in {folder.path}: first give {command_line(asked, folder, 'start')}")
    listener = listener_for(load_settings(folder), "admin", "client")
    try:
        secret = folder.admin_secret.read_text("utf-8").strip()
    except OSError as problem:
        raise Problem(
            f"{folder.admin_secret} cannot be read: {problem.strerror}; run this as the server's user"
        ) from problem
    try:
        answer = ask(listener, "GET", PATH + quote(asked.event_id, safe=""), token=secret)
    except (OSError, http.client.HTTPException) as problem:
        raise Problem(f"the server does not answer on port {listener.port}: {problem}") from problem
    if answer.status != 200:
        raise Problem(str(answer.json().get("error") or f"the server refused: status {answer.status}"))
    for line in answer.json().get("explanation", []):
        print(line)
    return 0
