"""What is written beside the code agrees with it: the manual, the lock file, the tables."""

from __future__ import annotations

from importlib import metadata

import pytest
import yaml

from config import manual, rules
from homeserver.core.room_rules import ROOM_RULES
from tests.tidy import endpoint_table, locked
from tests.tidy.project import ROOT


def test_the_manual_of_the_config_is_the_one_that_the_settings_make() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == manual.manual(), (
        "write it anew: ./synctl config manual > docs/configuration.md"
    )


def test_every_setting_is_in_the_manual() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert [key for key in manual.every_key() if f"`{key}`" not in text] == []


def test_the_lock_file_holds_all_that_is_needed_and_nothing_else() -> None:
    written = (ROOT / "requirements.lock").read_text("utf-8")
    assert locked.pins(written).keys() == locked.pins(locked.lock()).keys()


def test_what_is_installed_is_what_the_lock_file_says() -> None:
    wanted = locked.pins((ROOT / "requirements.lock").read_text("utf-8"))
    assert {name: metadata.version(name) for name in wanted} == wanted


def test_the_config_knows_the_room_versions_that_there_are_rules_for() -> None:
    assert set(rules.ROOM_VERSIONS) == set(ROOM_RULES)


def test_every_declared_endpoint_is_in_the_table() -> None:
    table = endpoint_table.read()
    assert endpoint_table.updated(table, endpoint_table.declared()) == table, (
        "write it anew: python -m tests.tidy.endpoint_table > docs/endpoints.tsv"
    )


def test_the_table_has_every_endpoint_of_the_specification() -> None:
    specification = endpoint_table.from_specification()
    if not specification:
        pytest.skip("the specification's table is not beside the checkout")
    there = {row.key for row in endpoint_table.read()}
    assert [row.key for row in specification if row.key not in there] == []


def test_the_check_of_every_change_runs_the_whole_suite() -> None:
    assert "./synctl test" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_sample_config_is_yaml_with_every_section() -> None:
    from config import sample

    assert set(yaml.safe_load(sample.write())) == {key.partition(".")[0] for key in manual.every_key()}
