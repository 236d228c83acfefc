"""A page in a real browser chats over the stream: what browsers do with CORS and WebSockets, they do here."""

from __future__ import annotations

import contextlib
import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.cast import PASSWORD, Actor, Cast
from tests.interop.lacking import is_lacking
from tests.servers import MakeServer

pytestmark = [pytest.mark.browser, pytest.mark.interop, pytest.mark.myelin]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGE = Path(__file__).with_name("chat.html")
PATIENCE_MS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Where it is to be there (CI says so), its absence is a failure."""
    if CHROMIUM is None:
        is_lacking("Chromium is not installed (apt-get install chromium): no test in a browser")
    with sync_playwright() as player:
        # As root, and where /dev/shm is small, Chromium needs these to run at all.
        words = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = player.chromium.launch(executable_path=CHROMIUM, args=words)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Where the page comes from: another origin than the homeserver, as with every web client."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    handler = functools.partial(Handler, directory=str(PAGE.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{PAGE.name}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def chatting(browser: Browser, site: str, who: Actor, server: str, room: str) -> Iterator[Page]:
    """The page, logged in and connected."""
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(site)
        page.evaluate("([server, user, password]) => login(server, user, password)", [server, who.user_id, PASSWORD])
        page.evaluate("server => connect(server)", server)
        page.evaluate("room => { document.body.dataset.room = room }", room)
        page.wait_for_function("document.getElementById('state').textContent === 'connected'")
        yield page
        assert problems == []


def lines(page: Page) -> list[str]:
    """What the page shows."""
    found: list[str] = page.locator("#messages li").all_text_contents()
    return found


def shows(page: Page, text: str) -> None:
    """Wait until the page shows a message."""
    page.locator("#messages li", has_text=text).wait_for()


def test_a_page_logs_in_sends_and_sees_its_own_and_others_messages(browser: Browser, site: str, cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    romeo.says(room, "before she came")
    with chatting(browser, site, juliet, cast.server.url, room) as page:
        shows(page, "before she came")
        page.fill("#text", "O Romeo 🌹")
        page.press("#text", "Enter")
        shows(page, "O Romeo 🌹")
        romeo.says(room, "Shall I hear more?")
        shows(page, "Shall I hear more?")
        assert lines(page) == [
            f"{romeo.user_id}: before she came",
            f"{juliet.user_id}: O Romeo 🌹",
            f"{romeo.user_id}: Shall I hear more?",
        ]
    assert romeo.sync().timeline(room).bodies == ["before she came", "O Romeo 🌹", "Shall I hear more?"]


def test_two_pages_chat_with_each_other(browser: Browser, site: str, cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    url = cast.server.url
    with chatting(browser, site, romeo, url, room) as his, chatting(browser, site, juliet, url, room) as hers:
        for number in range(3):
            for page, name in ((his, "his"), (hers, "hers")):
                page.evaluate("([room, text]) => say(room, text)", [room, f"{name} {number}"])
                for other in (his, hers):
                    shows(other, f"{name} {number}")
        assert lines(his) == lines(hers)
        assert len(lines(his)) == 6


def test_a_page_comes_back_after_a_restart_and_misses_nothing(
    browser: Browser, site: str, make_server: MakeServer
) -> None:
    server = make_server()
    cast = Cast(server)
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    with chatting(browser, site, juliet, server.url, room) as page:
        romeo.says(room, "one")
        shows(page, "one")
        server.restart()
        page.wait_for_function("document.getElementById('state').textContent === 'closed with 1012'")
        romeo.says(room, "two")
        page.evaluate("server => connect(server)", server.url)
        shows(page, "two")
        assert lines(page) == [f"{romeo.user_id}: one", f"{romeo.user_id}: two"]
