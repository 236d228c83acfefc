"""What is measured about the log and the database. The parts count; they are asked when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from homeserver.runtime.ring import Ring
from homeserver.runtime.writer import Writer
from storage.database import Database


class LogMeasures(Collector):
    """The numbers of the log and the database; register it with `Metrics.collect`."""

    def __init__(self, database: Database, ring: Ring, writer: Writer) -> None:
        self._database = database
        self._ring = ring
        self._writer = writer

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """The metric families of this moment."""
        ring, writer = self._ring, self._writer
        yield GaugeMetricFamily("myelin_log_position", "Position of the newest entry of the log.", value=ring.head)
        yield CounterMetricFamily("myelin_log_batches", "Transactions in which the log was written.", writer.batches)
        yield GaugeMetricFamily(
            "myelin_log_waiting", "Appends that wait for the next batch.", value=writer.queued_calls
        )
        yield GaugeMetricFamily("myelin_log_ring_entries", "Recent entries of the log in memory.", value=len(ring))
        yield GaugeMetricFamily("myelin_log_ring_bytes", "About what these take in memory.", value=ring.size_bytes)
        sent = CounterMetricFamily(
            "myelin_database_statements", "Statements sent, by what sent them: read, write or log.", labels=("by",)
        )
        counts = self._database.statements
        for by, count in (("read", counts.read), ("write", counts.write), ("log", counts.log)):
            sent.add_metric((by,), count)
        yield sent
