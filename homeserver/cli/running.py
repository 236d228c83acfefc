"""The commands `start`, `stop`, `restart` and `status`."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from config.settings import Settings
from homeserver import __version__
from homeserver.cli.ask_server import address, is_well, listener_for
from homeserver.cli.configuring import check, command_line, create, load_settings, warn
from homeserver.cli.data_folder import AlreadyRuns, DataFolder
from homeserver.cli.problem import Problem
from homeserver.ports import PortTaken, check_port

START_PATIENCE_SECONDS = 600.0
STOP_PATIENCE_SECONDS = 35.0
"""The server promises to be gone after 30."""

_POLL_SECONDS = 0.02


def start(asked: argparse.Namespace) -> int:
    """Start the server and return when it answers; with --foreground, become the server."""
    folder = DataFolder.of(asked.data, asked.config)
    _refuse_second(folder)
    if not folder.config.exists() and asked.config is None:
        create(folder, "localhost")
        print(f"wrote {folder.config}")
    settings = load_settings(folder)
    check(folder, settings)
    _check_ports(settings)
    server = [sys.executable, "-P", "-m", "homeserver", "--config", str(folder.config), "--data", str(folder.path)]
    if asked.foreground:
        print(f"{_introduction(settings)}; Ctrl-C stops it", flush=True)
        os.execv(sys.executable, [*server, "--log-to-stderr"])
    process_id = _start_in_background(folder, settings, [*server, "--background"])
    print(_introduction(settings))
    print(f"process {process_id}, data in {folder.path}, log in {settings.log.file or folder.log}")
    print(f"Make the first account with: {command_line(asked, folder, 'register-user NAME --admin')}")
    return 0


def stop(asked: argparse.Namespace) -> int:
    """Stop the server, and a PostgreSQL that a killed one left behind."""
    folder = DataFolder.of(asked.data, asked.config)
    process_id = folder.process_id()
    if process_id is None and folder.is_held():
        raise Problem(f"a process holds {folder.lock_file} but {folder.pid_file} does not tell which: end it yourself")
    if process_id is None:
        print(f"Myelin does not run in {folder.path}" + _stop_postgres(folder))
        return 0
    _stop_server(folder, process_id)
    print(f"stopped Myelin in {folder.path} (process {process_id})")
    return 0


def restart(asked: argparse.Namespace) -> int:
    """Stop, then start; a config that cannot be used is found before the server is stopped."""
    folder = DataFolder.of(asked.data, asked.config)
    if folder.config.exists():
        check(folder, load_settings(folder))
    stop(asked)
    return start(argparse.Namespace(**{**vars(asked), "foreground": False}))


def status(asked: argparse.Namespace) -> int:
    """Tell about the running server; Problem unless it answers."""
    folder = DataFolder.of(asked.data, asked.config)
    process_id = folder.process_id()
    if process_id is None:
        raise Problem(f"Myelin does not run in {folder.path}: {command_line(asked, folder, 'start')}")
    settings = load_settings(folder)
    if not is_well(settings):
        where = address(listener_for(settings, "client", "federation", "metrics"))
        raise Problem(f"Myelin runs (process {process_id}) but {where}/health gives no good answer; see {folder.log}")
    print(f"Myelin {folder.running_version() or __version__} runs as {settings.server_name}")
    for listener in settings.listeners:
        print(f"address   {address(listener)} ({', '.join(listener.serves)})")
    print(f"process   {process_id}")
    print(f"database  {_database(folder, settings)}")
    print(f"uptime    {_span(folder.running_seconds())}")
    print(f"data      {folder.path}")
    return 0


def _introduction(settings: Settings) -> str:
    listener = listener_for(settings, "client", "federation", "metrics")
    return f"Myelin {__version__} serves {settings.server_name} on {address(listener)}"


def _refuse_second(folder: DataFolder) -> None:
    if folder.is_held():
        raise Problem(str(AlreadyRuns(folder.path, folder.process_id())))


def _check_ports(settings: Settings) -> None:
    for listener in settings.listeners:
        try:
            check_port(listener)
        except PortTaken as problem:
            raise Problem(str(problem)) from problem


def _start_in_background(folder: DataFolder, settings: Settings, command: list[str]) -> int:
    folder.path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        begins_at = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
        )
    began = time.monotonic()
    told_at = began
    while time.monotonic() - began < START_PATIENCE_SECONDS:
        if process.poll() is not None:
            raise Problem(f"the server did not start: {_last_line(folder.log, begins_at)} (more in {folder.log})")
        if folder.process_id() == process.pid and is_well(settings):
            return process.pid
        if time.monotonic() - told_at > 10:
            told_at = time.monotonic()
            warn(f"still waiting for the server (process {process.pid}); {folder.log} tells what it does")
        time.sleep(_POLL_SECONDS)
    process.terminate()
    raise Problem(f"the server did not answer within {START_PATIENCE_SECONDS:.0f} s and is stopped; see {folder.log}")


def _last_line(file: Path, begins_at: int) -> str:
    with file.open("rb") as log:
        log.seek(begins_at)
        lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _stop_server(folder: DataFolder, process_id: int) -> None:
    os.kill(process_id, signal.SIGTERM)
    if _gone(folder, STOP_PATIENCE_SECONDS):
        return
    warn(f"process {process_id} does not stop on SIGTERM and is killed; what was answered with 200 is safe")
    os.kill(process_id, signal.SIGKILL)
    if not _gone(folder, 5.0):
        raise Problem(f"process {process_id} cannot be killed")
    _stop_postgres(folder)


def _gone(folder: DataFolder, patience_seconds: float) -> bool:
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        if not folder.is_held():
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _stop_postgres(folder: DataFolder) -> str:
    if not (folder.path / "postgres" / "postmaster.pid").exists():
        return ""
    from storage.own_postgres import OwnPostgres, OwnPostgresError

    try:
        return "; stopped the PostgreSQL that it left behind" if OwnPostgres(folder.path).stop() else ""
    except OwnPostgresError as problem:
        raise Problem(str(problem)) from problem


def _database(folder: DataFolder, settings: Settings) -> str:
    if settings.database.url is not None:
        return re.sub(r"(//[^:/@]*):[^@]*@", r"\1:***@", settings.database.url)
    from storage.own_postgres import OwnPostgres

    running = OwnPostgres(folder.path).running()
    process = f"process {running.process_id}" if running else "not running"
    return f"own PostgreSQL in {folder.path / 'postgres'} ({process})"


def _span(seconds: float) -> str:
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d"] * (days > 0) + [f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0)
    return " ".join([*parts, f"{whole} s"])
