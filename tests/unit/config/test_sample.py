"""The sample file says every key, and reading it gives the defaults back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from config import sample
from config.kinds import format_bytes, format_milliseconds, parse_bytes, parse_milliseconds
from config.load import loads
from config.manual import every_key

FOLDER = Path("/data")


def test_the_sample_read_back_is_the_defaults() -> None:
    assert loads(sample.write(), "sample", FOLDER) == loads("", "empty", FOLDER)


def test_the_sample_names_every_key() -> None:
    written = yaml.safe_load(sample.write())
    for key in every_key():
        if not key.startswith("listeners."):
            place: Any = written
            for part in key.split("."):
                assert part in place, key
                place = place[part]


def test_every_key_has_a_comment_above_it() -> None:
    lines = sample.write().splitlines()
    bare = [
        line
        for before, line in zip(lines, lines[1:], strict=False)
        if ":" in line and not line.lstrip().startswith(("#", "-")) and not before.lstrip().startswith("#")
    ]
    assert bare == []


def test_other_values_take_the_place_of_defaults() -> None:
    given_values = {
        "server_name": "a.example",
        "rooms": {"default_version": "11"},
        "listeners": [],
        "appservices": ["x"],
    }
    written = yaml.safe_load(sample.write(given_values))
    assert written["server_name"] == "a.example"
    assert written["rooms"]["default_version"] == "11"
    assert written["listeners"] == []
    assert written["appservices"] == ["x"]
    assert written["media"]["max_upload"] == "100M"


@pytest.mark.parametrize(
    "value", ["12", "1.0", "null", "true", "a: b", "#x", "", "'\"", "{a}", "line\nbreak", "ünï", "- x", "@", "1e3", "~"]
)
def test_any_text_survives_being_written_and_read(value: str) -> None:
    written = yaml.safe_load(sample.write({"registration": {"shared_secret": value}}))
    assert written["registration"]["shared_secret"] == value


@given(st.integers(min_value=0, max_value=2**60))
def test_sizes_and_times_survive_being_written_and_read(number: int) -> None:
    assert parse_bytes(format_bytes(number)) == number
    assert parse_milliseconds(format_milliseconds(number)) == number


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("1K", 1024), ("2 ", 2), ("3mb", 3 * 1024**2), ("1GiB", 1024**3)])
def test_sizes_are_read_the_ways_that_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "1X", "1 M M"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_bytes(text)
