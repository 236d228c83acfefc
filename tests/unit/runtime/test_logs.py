"""Lines of the log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from homeserver.runtime.logs import REMOVED, LogFile, remove_secrets

PROGRAM = """
import sys, structlog
from pathlib import Path
from twisted.logger import Logger
from homeserver.runtime.logs import LogFile, request_id, start_logging
file = LogFile(Path(sys.argv[1]))
start_logging(sys.argv[2], file, sys.argv[3])
log = structlog.get_logger("part")
log.debug("detail")
request_id.set("r-7")
log.info("something\\nhappened", access_token="abc", count=3, path="a b")
Logger(namespace="some.library").info("noise")
Logger(namespace="some.library").warn("careful")
try:
    raise ValueError("https://h/?access_token=geheim&x=1")
except ValueError:
    log.exception("broken")
"""


def lines(tmp_path: Path, level: str, form: str) -> str:
    """What a process writes into its log. Logging is set up once a process, so this needs one of its own."""
    file = tmp_path / "log"
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", PROGRAM, str(file), level, form], check=True, cwd=root)
    return file.read_text()


def test_json_lines_tell_level_request_and_traceback_but_no_secret(tmp_path: Path) -> None:
    found = [json.loads(line) for line in lines(tmp_path, "info", "json").splitlines()]
    assert [(line["level"], line["event"]) for line in found] == [
        ("info", "something\nhappened"),
        ("warning", "careful"),
        ("error", "broken"),
    ]
    assert found[0]["request_id"] == "r-7"
    assert found[0]["access_token"] == REMOVED
    assert "Traceback" in found[2]["exception"]
    assert "geheim" not in found[2]["exception"]


def test_text_lines_are_one_line_each_whatever_is_in_them(tmp_path: Path) -> None:
    found = lines(tmp_path, "debug", "text").splitlines()
    assert "detail" in found[0]
    assert "something\\nhappened" in found[1]
    assert "count=3" in found[1] and "path='a b'" in found[1]
    assert all(line.startswith(("20", "    ")) for line in found)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET /?access_token=abc HTTP/1.1", "abc"),
        ("Authorization: Bearer abcdef", "abcdef"),
        ('{"password": "hunter2"}', "hunter2"),
        ("{'refresh_token': 'xyz'}", "xyz"),
        ("loginToken=qqq", "qqq"),
    ],
)
def test_secrets_are_taken_out_of_texts(text: str, secret: str) -> None:
    event = remove_secrets(None, "", {"event": text})
    assert secret not in event["event"]
    assert REMOVED in event["event"]


def test_keys_that_name_a_secret_lose_it() -> None:
    assert remove_secrets(None, "", {"Password": "a", "user": "b"}) == {"Password": REMOVED, "user": "b"}


def test_a_log_file_is_opened_anew_after_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LogFile(path)
    file.write(b"one\n")
    path.rename(tmp_path / "log.1")
    file.reopen()
    file.write(b"two\n")
    assert path.read_bytes() == b"two\n"
