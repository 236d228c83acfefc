"""Every key that an admin may set, with its type, its default and what it is for.

A class is a section of the file, a field is a key of the same name. The sample file, the manual
(docs/configuration.md) and the checks of `./synctl config check` are made from these classes, so a new key is one
line here. Sizes are held in bytes and spans of time in milliseconds; file names are absolute once loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from config import rules
from config.kinds import Bytes, Milliseconds

Check = Callable[[Any], str | None]
"""Looks at a value of the right type; answers with what is allowed if this one is not."""

T = TypeVar("T")

Service = Literal["client", "federation", "media", "admin", "metrics"]


def setting(
    default: T, help: str, *, check: Check | None = None, secret: bool = False, number_as_text: bool = False
) -> T:
    """A key with its default and its help. A secret is never shown by repr; number_as_text takes `12` for `"12"`."""
    metadata = {"help": help, "check": check, "secret": secret, "number_as_text": number_as_text}
    made: T = field(default=default, repr=not secret, metadata=metadata)
    return made


def required(help: str, *, check: Check | None = None) -> Any:
    """A key without a default, inside an entry of a list."""
    return field(metadata={"help": help, "check": check, "secret": False, "number_as_text": False})


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificate that a listener shows."""

    certificate: Path = required("File with the certificate and those between it and the authority (PEM).")
    private_key: Path = required("File with its private key (PEM).")


@dataclass(frozen=True, slots=True)
class Listener:
    """An address and port with the services it offers."""

    port: int = required("TCP port.", check=rules.between(1, 65535))
    bind: str = setting("127.0.0.1", "Address to listen on; 0.0.0.0 or :: for all.", check=rules.bind_address)
    serves: tuple[Service, ...] = setting(
        ("client", "federation", "media", "admin"), "What this listener offers.", check=rules.not_empty
    )
    tls: Tls | None = setting(
        None,
        "Certificate and private key, {certificate: FILE, private_key: FILE}; null for plain HTTP. "
        "Where neither file exists, a self-signed pair is made.",
    )


def default_listeners() -> tuple[Listener, ...]:
    """Clients on plain HTTP for a proxy or for this machine, servers on 8448 with TLS, metrics on 9090."""
    tls = Tls(certificate=Path("tls.crt"), private_key=Path("tls.key"))
    return (
        Listener(bind="127.0.0.1", port=8008, serves=("client", "federation", "media", "admin")),
        Listener(bind="127.0.0.1", port=8448, tls=tls, serves=("federation", "media")),
        Listener(bind="127.0.0.1", port=9090, serves=("metrics",)),
    )


@dataclass(frozen=True, slots=True)
class Database:
    """Where everything is kept."""

    url: str | None = setting(
        None,
        "null: Myelin starts its own PostgreSQL in the data folder. Or a server of yours, "
        "as postgresql://user@host/database.",
        check=rules.database_url,
        secret=True,
    )
    pool_size: int = setting(
        6, "How many connections are held for reading; the writer has one more of its own.", check=rules.between(1, 100)
    )


@dataclass(frozen=True, slots=True)
class Registration:
    """Who may make an account."""

    enabled: bool = setting(False, "May anyone register through the client API?")
    shared_secret: str | None = setting(
        None,
        "Scripts and bridges that know this secret make accounts through /_synapse/admin/v1/register, "
        "also where registration is closed. null: only `./synctl register-user` on this machine.",
        check=rules.long_secret,
        secret=True,
    )
    require_token: bool = setting(False, "Must one who registers show a registration token, given out by an admin?")
    guests: bool = setting(False, "May guests, without a password, read and write where rooms allow it?")


@dataclass(frozen=True, slots=True)
class Passwords:
    """How much work it is to check a password, or to guess one (argon2id)."""

    memory: Bytes = setting(Bytes(19 * 1024 * 1024), "Memory for one check.", check=rules.at_least(8192, "8K"))
    iterations: int = setting(2, "Rounds over that memory.", check=rules.between(1, 100))
    parallelism: int = setting(1, "Threads for one check.", check=rules.between(1, 64))


@dataclass(frozen=True, slots=True)
class Rooms:
    """What new rooms are like."""

    default_version: str = setting(
        "12",
        "The room version where whoever makes a room names none. In quotes.",
        check=rules.room_version,
        number_as_text=True,
    )
    encrypted: Literal["none", "private", "all"] = setting(
        "none",
        "Which new rooms are end-to-end encrypted also where whoever makes them does not ask for it: private ones"
        " (made with the preset private_chat or trusted_private_chat), or all. Spaces are not.",
    )


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Protection against those who ask too much."""

    enabled: bool = setting(True, "Turn off only for tests and measurements.")


@dataclass(frozen=True, slots=True)
class OldSigningKey:
    """A signing key that this server used before."""

    key_id: str = required("Its id, such as ed25519:a_1.", check=rules.key_id)
    public_key: str = required("The public key (base64).", check=rules.public_key)
    expired_ts: int = required("When it was used last, in milliseconds since 1970.", check=rules.at_least(0))


@dataclass(frozen=True, slots=True)
class Federation:
    """Talking to other homeservers."""

    enabled: bool = setting(True, "Is this server part of the federation? false: users of this server only.")
    verify_tls: bool = setting(True, "Must other servers show a valid certificate? Turn off only in a test network.")
    ca_file: Path | None = setting(
        None, "Trust the authorities in this file (PEM) too: those of a test network, of a company."
    )
    allow_private_addresses: bool = setting(
        False, "May requests to other servers, push gateways and previewed pages go to loopback and private addresses?"
    )
    trusted_key_servers: tuple[str, ...] = setting(
        ("matrix.org",), "Ask these servers for the keys of servers that do not answer themselves."
    )
    old_signing_keys: tuple[OldSigningKey, ...] = setting(
        (),
        "Signing keys that this server used before, so that others can check old events. "
        "The line of a signing key file holds the secret; what belongs here is the public key "
        "(as /_matrix/key/v2/server showed it), {key_id: ID, public_key: KEY, expired_ts: TIME}.",
    )
    delegate_to: str | None = setting(
        None,
        "Where other servers reach this one, if not at its own name: a server name, told at "
        "/.well-known/matrix/server. null: nothing is told there.",
        check=rules.delegated_name,
    )


@dataclass(frozen=True, slots=True)
class Media:
    """Files that users send."""

    max_upload: Bytes = setting(Bytes(100 * 1024 * 1024), "The largest file.", check=rules.at_least(1))


@dataclass(frozen=True, slots=True)
class Presence:
    """Who is online."""

    enabled: bool = setting(True, "Tell users whether others are online?")


@dataclass(frozen=True, slots=True)
class ToDevice:
    """Messages from device to device, which wait until they are fetched."""

    max_waiting: int = setting(
        10_000,
        "How many messages may wait for one device; beyond that the oldest are dropped.",
        check=rules.between(100, 1_000_000),
    )
    max_age: Milliseconds = setting(
        Milliseconds(90 * 24 * 3_600_000),
        "After this time messages that nobody has fetched, or that another server has not taken, are dropped (those for"
        " dehydrated devices stay).",
        check=rules.at_least(60_000, "1m"),
    )


@dataclass(frozen=True, slots=True)
class Log:
    """What the server tells about its work."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", "The least important kind of line to keep.")
    file: Path | None = setting(None, "null: myelin.log in the data folder, or stderr with --foreground.")
    format: Literal["text", "json"] = setting("text", "Lines to be read by people, or a JSON object a line.")


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file."""

    server_name: str = setting(
        "localhost",
        "The part of user ids after the colon: @user:NAME. It is for ever: changing it later makes another server.",
        check=rules.server_name,
    )
    public_baseurl: str = setting(
        "http://127.0.0.1:8008/",
        "Where clients reach this server, as told to them. Behind a proxy: the proxy's URL.",
        check=rules.base_url,
    )
    listeners: tuple[Listener, ...] = setting(
        default_listeners(),
        "Where the server listens, and what it offers there. Services: client, federation, media, admin, metrics.",
        check=rules.not_empty,
    )
    database: Database = setting(Database(), "Where everything is kept.")
    signing_key: Path = setting(
        Path("signing.key"),
        'The key that proves events and requests to be ours: "ed25519 <key id> <base64 seed>". Made at first start. '
        "Keep a copy: without it the server cannot take part in its rooms under its name.",
    )
    registration: Registration = setting(Registration(), "Who may make an account.")
    passwords: Passwords = setting(Passwords(), "How much work it is to check a password, or to guess one (argon2id).")
    rooms: Rooms = setting(Rooms(), "What new rooms are like.")
    rate_limits: RateLimits = setting(RateLimits(), "Protection against those who ask too much.")
    federation: Federation = setting(Federation(), "Talking to other homeservers.")
    appservices: tuple[Path, ...] = setting((), "Registration files of bridges and bots (YAML).")
    media: Media = setting(Media(), "Files that users send.")
    presence: Presence = setting(Presence(), "Who is online.")
    to_device: ToDevice = setting(ToDevice(), "Messages from device to device, which wait until they are fetched.")
    log: Log = setting(Log(), "What the server tells about its work.")
