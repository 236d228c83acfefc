"""The command `register-user`: an account made through the running server's shared-secret registration."""

from __future__ import annotations

import argparse
import getpass
import hashlib
import hmac
import http.client
import sys

from config.settings import Settings
from homeserver.cli.ask_server import Answer, ask, listener_for
from homeserver.cli.configuring import command_line, load_settings
from homeserver.cli.data_folder import DataFolder
from homeserver.cli.problem import Problem

PATH = "/_synapse/admin/v1/register"


def register_user(asked: argparse.Namespace) -> int:
    """Make an account on the running server."""
    folder = DataFolder.of(asked.data, asked.config)
    if folder.process_id() is None:
        raise Problem(f"Myelin does not run in {folder.path}: first give {command_line(asked, folder, 'start')}")
    settings = load_settings(folder)
    name = _localpart(asked.name, settings.server_name)
    password = _password(from_stdin=asked.password_stdin)
    secret = _secret(folder, settings)
    nonce = _asked(settings, "GET", None).json().get("nonce")
    if not isinstance(nonce, str):
        raise Problem(f"the server gave no nonce at {PATH}: is another program on its port?")
    body = {
        "nonce": nonce,
        "username": name,
        "password": password,
        "admin": asked.admin,
        "mac": mac(secret, nonce, name, password, admin=asked.admin),
    }
    made = _asked(settings, "POST", body).json()
    print(f"made {made.get('user_id', name)}" + (", an admin" if asked.admin else ""))
    return 0


def mac(secret: str, nonce: str, name: str, password: str, *, admin: bool) -> str:
    """What proves the knowledge of the secret: HMAC-SHA1 over the parts, with zero bytes between them."""
    parts = (nonce, name, password, "admin" if admin else "notadmin")
    return hmac.new(secret.encode(), "\0".join(parts).encode(), hashlib.sha1).hexdigest()


def _asked(settings: Settings, method: str, body: dict[str, object] | None) -> Answer:
    listener = listener_for(settings, "admin", "client")
    try:
        answer = ask(listener, method, PATH, body, timeout_seconds=60.0)
    except (OSError, http.client.HTTPException) as problem:
        raise Problem(f"the server does not answer on port {listener.port}: {problem}") from problem
    if answer.status != 200:
        reason = answer.json().get("error") or f"status {answer.status}"
        raise Problem(f"the server refused: {reason}")
    return answer


def _localpart(name: str, server_name: str) -> str:
    if not name.startswith("@"):
        return name
    localpart, _, server = name[1:].partition(":")
    if server not in ("", server_name):
        raise Problem(f"{name} is not of this server, {server_name}", exit_code=2)
    return localpart


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise Problem("the two passwords differ")
    else:
        raise Problem("there is no terminal to ask for the password: use --password-stdin", exit_code=2)
    if not password:
        raise Problem("the password is empty")
    return password


def _secret(folder: DataFolder, settings: Settings) -> str:
    if settings.registration.shared_secret is not None:
        return settings.registration.shared_secret
    try:
        return folder.admin_secret.read_text("utf-8").strip()
    except OSError as problem:
        raise Problem(
            f"{folder.admin_secret} cannot be read: {problem.strerror}; run this as the server's user"
        ) from problem
