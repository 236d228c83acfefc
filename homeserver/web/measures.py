"""What is measured about requests. Counting is a few integer additions; Prometheus' objects are made when it asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class EndpointMeasures:
    """The numbers of one endpoint."""

    __slots__ = ("buckets", "method", "path", "statuses", "total_s", "waiting")

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path = path
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0
        self.waiting = 0

    def done(self, status: int, seconds: float) -> None:
        """Count an answered request."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds


class HttpMeasures(Collector):
    """The numbers of all endpoints; register it with `Metrics.collect`."""

    def __init__(self) -> None:
        self._endpoints: list[EndpointMeasures] = []
        self._unmatched: dict[int, int] = {}
        self.connections = 0

    def of(self, method: str, path: str) -> EndpointMeasures:
        """New numbers for an endpoint; call it once for each, when it is bound."""
        for each in self._endpoints:
            if each.method == method and each.path == path:
                return each
        measures = EndpointMeasures(method, path)
        self._endpoints.append(measures)
        return measures

    def unmatched(self, status: int) -> None:
        """Count a request that reached no endpoint."""
        self._unmatched[status] = self._unmatched.get(status, 0) + 1

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """The metric families of this moment."""
        labels = ("method", "endpoint")
        requests = CounterMetricFamily(
            "myelin_http_requests", "Requests answered, by status.", labels=(*labels, "status")
        )
        seconds = HistogramMetricFamily("myelin_http_request_seconds", "From request to answer.", labels=labels)
        waiting = GaugeMetricFamily("myelin_http_requests_in_flight", "Requests without an answer yet.", labels=labels)
        connections = GaugeMetricFamily("myelin_http_connections", "Open connections.", value=self.connections)
        for status, count in sorted(self._unmatched.items()):
            requests.add_metric(("", "", str(status)), count)
        for each in self._endpoints:
            if not each.statuses and not each.waiting:
                continue
            values = (each.method, each.path)
            for status, count in sorted(each.statuses.items()):
                requests.add_metric((*values, str(status)), count)
            seconds.add_metric(values, _cumulated(each.buckets), each.total_s)
            waiting.add_metric(values, each.waiting)
        yield from (requests, seconds, waiting, connections)


def _cumulated(buckets: list[int]) -> list[tuple[str, float]]:
    total = 0
    cumulated: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), buckets, strict=True):
        total += count
        cumulated.append((bound, total))
    return cumulated
