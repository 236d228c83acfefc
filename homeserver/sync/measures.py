"""What is measured about those who follow: the parts are asked when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from homeserver.rooms.heads import Heads
from homeserver.sync.feeds import Feeds
from homeserver.sync.stream import Streams


class SyncMeasures(Collector):
    """The numbers of readers and of the rooms in memory; register it with `Metrics.collect`."""

    def __init__(self, feeds: Feeds, streams: Streams, heads: Heads) -> None:
        self._feeds = feeds
        self._streams = streams
        self._heads = heads

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metric families of this moment."""
        yield GaugeMetricFamily("myelin_readers", "Users who are, or lately were, connected.", value=len(self._feeds))
        yield GaugeMetricFamily(
            "myelin_readers_waiting", "Requests and streams that wait for news.", value=self._feeds.waiting
        )
        yield GaugeMetricFamily("myelin_streams", "Devices subscribed over WebSocket.", value=len(self._streams))
        yield GaugeMetricFamily("myelin_rooms_in_memory", "Rooms whose heads are in memory.", value=len(self._heads))
