"""What everything stands on: time, the database, the log."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.settings import Settings
from homeserver.core.ids import ServerName
from homeserver.core.signatures import Signer, SigningKey
from homeserver.core.state_trie import SlotHasher
from homeserver.runtime.clock import Clock, ReactorClock
from homeserver.runtime.log import Ring, Writer
from homeserver.runtime.measures import LogMeasures
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.tasks import Tasks
from storage import secrets as secret_table
from storage.database import Database
from storage.persist import PERSIST

SLOT_SECRET = "state_slots"


@dataclass(frozen=True, slots=True)
class Foundations:
    """What everything stands on: time, the database, the log."""

    settings: Settings
    folder: Path
    reactor: Any
    clock: Clock
    metrics: Metrics
    tasks: Tasks
    database: Database
    ring: Ring
    writer: Writer
    signer: Signer
    slots: SlotHasher
    local_secret: str
    """What `synctl` on this machine shows to make accounts."""

    @property
    def server_name(self) -> ServerName:
        """The name of this server."""
        return self.signer.server


async def lay_foundations(settings: Settings, folder: Path, dsn: str, reactor: Any) -> Foundations:
    """Open the database and become the writer of its log."""
    clock = ReactorClock(reactor)
    server_name = ServerName(settings.server_name)
    database = Database(dsn, reactor, pool_size=settings.database.pool_size, server_name=server_name)
    await database.start()
    ring = Ring()
    writer = Writer(database, ring, PERSIST, reactor)
    await writer.start()
    metrics = Metrics()
    metrics.collect(LogMeasures(database, ring, writer))
    slot_secret = await database.write(secret_table.keep, SLOT_SECRET, secrets.token_bytes(32))
    return Foundations(
        settings=settings,
        folder=folder,
        reactor=reactor,
        clock=clock,
        metrics=metrics,
        tasks=Tasks(clock),
        database=database,
        ring=ring,
        writer=writer,
        signer=Signer(server_name, SigningKey.load(settings.signing_key.read_text())),
        slots=SlotHasher(slot_secret),
        local_secret=(folder / "admin.secret").read_text().strip(),
    )
