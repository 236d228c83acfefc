"""Measures for Prometheus. Labels are resolved when a part is built, so that counting in the hot path is one call.

A `Metrics` owns its registry: there is none at module level, and two servers in one process do not mix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Makes counters, gauges and histograms, all named myelin_..., and writes them out."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        """Something that only grows."""
        return Counter(name, help_text, labels, namespace="myelin", registry=self._registry)

    def gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        """Something that goes up and down."""
        return Gauge(name, help_text, labels, namespace="myelin", registry=self._registry)

    def histogram(
        self, name: str, help_text: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS_BUCKETS
    ) -> Histogram:
        """How something is distributed."""
        return Histogram(name, help_text, labels, namespace="myelin", registry=self._registry, buckets=buckets)

    def collect(self, collector: Collector) -> None:
        """Include what a part counts by itself and reports when asked."""
        self._registry.register(collector)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)
