"""A config file becomes settings, or a list of mistakes that each say where and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.load import BadConfig, load, loads
from config.settings import Settings

FOLDER = Path("/data")


def settings_of(text: str, environment: Mapping[str, str] | None = None, overrides: Sequence[str] = ()) -> Settings:
    return loads(text, "myelin.yaml", FOLDER, environment, overrides)


def mistakes_of(text: str, environment: Mapping[str, str] | None = None, overrides: Sequence[str] = ()) -> list[str]:
    with pytest.raises(BadConfig) as caught:
        settings_of(text, environment, overrides)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_an_empty_file_gives_the_defaults_with_file_names_in_the_data_folder() -> None:
    settings = settings_of("")
    assert settings.server_name == "localhost"
    assert settings.signing_key == FOLDER / "signing.key"
    assert [listener.port for listener in settings.listeners] == [8008, 8448, 9090]
    tls = settings.listeners[1].tls
    assert tls is not None
    assert tls.certificate == FOLDER / "tls.crt"
    assert settings.media.max_upload == 100 * 1024 * 1024
    assert settings.passwords.memory == 19 * 1024 * 1024


def test_every_mistake_is_named_at_once_with_its_line_its_key_and_what_is_allowed() -> None:
    text = """\
server_name: https://example.org
log: {level: loud}
rats: 1
rate_limits:
  enabled: maybe
media: {max_upload: 10Q}
"""
    found = mistakes_of(text)
    assert [mistake.split(": ")[:2] for mistake in found] == [
        ["myelin.yaml:1", "server_name"],
        ["myelin.yaml:2", "log.level"],
        ["myelin.yaml:3", "rats"],
        ["myelin.yaml:5", "rate_limits.enabled"],
        ["myelin.yaml:6", "media.max_upload"],
    ]
    assert "expected debug, info, warning or error" in found[1]
    assert "allowed here: server_name, public_baseurl" in found[2]
    assert "expected true or false" in found[3]
    assert "a size such as 100M" in found[4]


def test_mistakes_are_in_the_order_of_their_lines_past_line_nine() -> None:
    text = "\n" * 8 + "a: 1\nb: 2\nc: 3\n"
    assert [mistake.split(": ")[0] for mistake in mistakes_of(text)] == [f"myelin.yaml:{line}" for line in (9, 10, 11)]


def test_an_unknown_key_of_a_section_is_named_with_the_section() -> None:
    assert "myelin.yaml:2: registration.enable: there is no such key" in mistakes_of("registration:\n  enable: true")[0]


def test_a_key_that_stands_twice_is_a_mistake() -> None:
    assert mistakes_of("presence: {enabled: true}\npresence: {enabled: false}") == [
        "myelin.yaml:2: presence: stands here twice"
    ]


def test_a_number_where_text_belongs_is_refused_with_a_hint() -> None:
    assert '"12345678"' in mistakes_of("registration: {shared_secret: 12345678}")[0]


def test_a_room_version_may_be_written_as_a_number() -> None:
    assert settings_of("rooms: {default_version: 11}").rooms.default_version == "11"
    assert "a room version, one of 1, 2" in mistakes_of("rooms: {default_version: 99}")[0]


def test_a_secret_is_never_repeated_in_messages_or_in_the_settings_text() -> None:
    assert "short" not in mistakes_of("registration: {shared_secret: short}")[0]
    settings = settings_of(
        "registration: {shared_secret: hush-hush-hush}\ndatabase: {url: 'postgresql://a:geheim@b/c'}"
    )
    assert settings.registration.shared_secret == "hush-hush-hush"
    assert "hush" not in repr(settings)
    assert "geheim" not in repr(settings)


def test_listeners_are_checked_entry_by_entry() -> None:
    text = """\
listeners:
  - {bind: example.org, port: 80}
  - {port: 70000}
  - {serves: [client]}
  - {port: 1, serves: [clients]}
  - {port: 1, tls: {certificate: a}}
  - 8008
"""
    found = mistakes_of(text)
    assert [mistake.split(": ")[:2] for mistake in found] == [
        ["myelin.yaml:2", "listeners.0.bind"],
        ["myelin.yaml:3", "listeners.1.port"],
        ["myelin.yaml:4", "listeners.2.port"],
        ["myelin.yaml:5", "listeners.3.serves.0"],
        ["myelin.yaml:6", "listeners.4.tls.private_key"],
        ["myelin.yaml:7", "listeners.5"],
    ]


def test_two_listeners_on_one_port_are_a_mistake() -> None:
    found = mistakes_of("listeners:\n  - {port: 8008}\n  - {bind: 0.0.0.0, port: 8008}\n  - {port: 8009}\n")
    assert found == ["myelin.yaml:3: listeners.1.port: port 8008 of this address is taken by listeners.0"]
    settings_of("listeners: [{bind: 127.0.0.1, port: 1}, {bind: 127.0.0.2, port: 1}]")


def test_text_that_is_no_yaml_is_told_with_its_line() -> None:
    assert mistakes_of("log: {level: info}\nmedia: ]\nrooms: {}")[0].startswith("myelin.yaml:2: this is not YAML")
    assert mistakes_of("a\0b")[0].startswith("myelin.yaml: this is not YAML")
    assert "expected the keys server_name" in mistakes_of("- just\n- a list")[0]


@pytest.mark.parametrize(
    "name", ["localhost", "example.org", "example.org:8448", "1.2.3.4", "[::1]:8448", "a-b.example"]
)
def test_a_server_name_of_the_specification_is_taken(name: str) -> None:
    assert settings_of(f"server_name: '{name}'").server_name == name


@pytest.mark.parametrize(
    "name",
    ["", "Example.org", "exa mple", "example.org/", "http://a", "a:b", "a:0", "a:70000", "[::g]", "a..b", "-a", "ä.de"],
)
def test_a_server_name_that_is_none_is_refused(name: str) -> None:
    assert "server_name" in mistakes_of(f"server_name: '{name}'")[0]


def test_the_environment_overrides_the_file_and_set_overrides_the_environment() -> None:
    text = "log: {level: warning}\nmedia: {max_upload: 1M}"
    environment = {"MYELIN_LOG__LEVEL": "debug", "MYELIN_MEDIA__MAX_UPLOAD": "2M", "MYELIN_SERVER_NAME": "a.example"}
    settings = settings_of(text, environment, ["media.max_upload=3M"])
    assert settings.log.level == "debug"
    assert settings.media.max_upload == 3 * 1024 * 1024
    assert settings.server_name == "a.example"


def test_a_mistake_in_an_override_names_the_variable_or_the_option() -> None:
    assert mistakes_of("", {"MYELIN_LOG__LEVEL": "loud"})[0].startswith(
        "environment variable MYELIN_LOG__LEVEL: log.level"
    )
    assert "there is no such key" in mistakes_of("", {"MYELIN_LOG__COLOUR": "red"})[0]
    assert mistakes_of("", overrides=["log.level=loud"])[0].startswith("--set log.level: log.level: expected debug")
    assert "expected KEY=VALUE" in mistakes_of("", overrides=["log.level"])[0]
    assert "this is not YAML" in mistakes_of("", overrides=["appservices=[a"])[0]


def test_variables_that_a_container_platform_sets_are_left_alone() -> None:
    assert settings_of("", {"MYELIN_PORT": "tcp://10.0.0.1:80", "MYELIN_SERVICE_HOST": "10.0.0.1"}) == settings_of("")


def test_an_entry_of_a_list_is_overridden_by_its_number_also_where_the_file_has_no_list() -> None:
    settings = settings_of("", overrides=["listeners.0.port=18008", "listeners.0.bind=0.0.0.0"])
    assert (settings.listeners[0].bind, settings.listeners[0].port) == ("0.0.0.0", 18008)
    assert len(settings.listeners) == 3
    assert "expected the number of an entry, 0 to 2" in mistakes_of("", overrides=["listeners.7.port=1"])[0]


def test_an_override_goes_through_a_section_that_is_null_or_absent() -> None:
    assert settings_of("database:", overrides=["database.pool_size=3"]).database.pool_size == 3
    assert settings_of("", {"MYELIN_DATABASE__URL": "postgresql://a@b/c"}).database.url == "postgresql://a@b/c"


def test_a_missing_file_is_one_mistake_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="there is no such file; `./synctl init` writes one"):
        load(tmp_path / "myelin.yaml", environment={})


def test_a_file_that_is_no_text_is_one_mistake(tmp_path: Path) -> None:
    (tmp_path / "myelin.yaml").write_bytes(b"\xff\xfe\x00garbage\x80")
    with pytest.raises(BadConfig, match="cannot be read|not YAML"):
        load(tmp_path / "myelin.yaml", environment={})


def test_file_names_are_relative_to_the_named_folder(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.yaml"
    file.write_text("signing_key: keys/a.key\nappservices: [/abs/x.yaml, y.yaml]")
    settings = load(file, FOLDER, environment={})
    assert settings.signing_key == FOLDER / "keys" / "a.key"
    assert settings.appservices == (Path("/abs/x.yaml"), FOLDER / "y.yaml")


@given(st.text(max_size=200))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        assert isinstance(settings_of(text), Settings)
    except BadConfig as problem:
        assert problem.mistakes


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["port", "bind", "tls", "serves"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_no_value_of_a_key_does_more_than_be_refused(value: object) -> None:
    import yaml

    try:
        assert isinstance(settings_of(yaml.safe_dump({"listeners": value, "database": value})), Settings)
    except BadConfig as problem:
        assert all("listeners" in mistake.key or "database" in mistake.key for mistake in problem.mistakes)


def test_old_signing_keys_are_public_keys_with_the_time_of_their_end() -> None:
    key = "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"
    text = f"federation: {{old_signing_keys: [{{key_id: ed25519:a_1, public_key: {key}, expired_ts: 5}}]}}"
    (old,) = settings_of(text).federation.old_signing_keys
    assert (old.key_id, old.public_key, old.expired_ts) == ("ed25519:a_1", key, 5)
    for wrong in (("ed25519:a_1", "rsa:1"), (key, "AAAA"), ("expired_ts: 5", "expired_ts: -5")):
        assert len(mistakes_of(text.replace(*wrong))) == 1


def test_a_delegation_is_a_server_name_or_nothing() -> None:
    assert settings_of("federation: {delegate_to: 'matrix.example.org:443'}").federation.delegate_to is not None
    assert settings_of("federation: {delegate_to: null}").federation.delegate_to is None
    assert len(mistakes_of("federation: {delegate_to: 'https://matrix.example.org'}")) == 1
