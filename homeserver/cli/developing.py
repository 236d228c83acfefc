"""The commands `test` and `bench`, for those who work on Myelin."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from homeserver.cli.configuring import warn

ROOT = Path(__file__).parents[2]
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def test(asked: argparse.Namespace) -> int:
    """Run pytest in the checkout; with no words, the whole suite, in several processes."""
    words = asked.rest
    if not words or any("interop" in word for word in words):
        _see_to_browser()
    if not words:
        # Most tests wait for a server or a database of theirs. A file's tests stay together and share what they set up.
        words = ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadfile"]
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *words])


def bench(asked: argparse.Namespace) -> int:
    """Run the measurements in the checkout."""
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "bench", *asked.rest])


def _see_to_browser() -> None:
    """Tests in a browser need Chromium: install it where that is ours to do (CI, or root), else say so."""
    if any(shutil.which(name) for name in _BROWSERS):
        return
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        warn("there is no Chromium, which tests in a browser need: install it (on Debian: apt-get install chromium)")
        return
    warn("installing Chromium for the tests in a browser")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            [apt, *words],
            env=quiet,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode != 0:
            warn(f"apt-get {words[0]} failed: {done.stdout.decode('utf-8', 'replace').strip().splitlines()[-1:]}")
