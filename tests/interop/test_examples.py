"""The examples in docs/websocket.md, as somebody who copies them runs them."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cast import Cast
from tests.servers import ROOT

pytestmark = [pytest.mark.interop, pytest.mark.myelin]

PAPER = ROOT / "docs" / "websocket.md"
LONGEST_S = 30.0


def example(server_url: str, token: str) -> str:
    """The example in Python, for a server and a token."""
    found = re.search(r"^## In Python\n+```python\n(.*?)^```", PAPER.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return f"token = {token!r}\n" + found[1].replace("ws://127.0.0.1:8008", server_url.replace("http", "ws", 1))


def test_the_example_in_python_shows_what_was_said_and_what_is_said(cast: Cast, tmp_path: Path) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    romeo.says(room, "before")
    program = tmp_path / "example.py"
    program.write_text(example(cast.server.url, juliet.token))
    running = subprocess.Popen([sys.executable, "-u", str(program)], stdout=subprocess.PIPE, text=True)
    end = threading.Timer(LONGEST_S, running.kill)
    end.start()
    try:
        assert running.stdout is not None
        lines = iter(running.stdout)
        assert f"{room} {romeo.user_id} before\n" in lines
        romeo.says(room, "it is the east")
        assert f"{room} {romeo.user_id} it is the east\n" in lines
    finally:
        end.cancel()
        running.kill()
        running.wait()
        if running.stdout is not None:
            running.stdout.close()
