"""Numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from zope.interface import implementer

from smtpeter.interfaces import IMetrics

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "submissions": ("Messages taken into the queue", ("channel",)),
    "recipients": ("Recipients taken into the queue", ("channel",)),
    "smtp_sessions": ("SMTP sessions that ended", ()),
    "smtp_authentications": ("Attempts to authenticate over SMTP", ("result",)),
    "deliveries": ("Ends of delivery attempts, for each recipient", ("outcome",)),
    "delivery_failures": ("Ends of attempts that delivered nothing, by whose trouble it was", ("failure",)),
    "route_failures": ("Ends of attempts because no way to the recipient's domain was found", ("outcome",)),
    "rest_requests": ("Requests of the REST API, by the status of their answers", ("status",)),
    "events_recorded": ("Clicks and opens written to the journal", ()),
    "events_lost": ("Clicks and opens that could not be written", ()),
    "prepared": ("Messages that workers prepared, by what came of it", ("result",)),
    "workers_ended": ("Worker processes that ended while the server ran", ("why",)),
    "settlements_fenced": ("Recipients whose lease was lost before their outcome was written", ()),
}
_HISTOGRAMS: dict[str, str] = {"delivery_seconds": "How long delivery attempts took"}


@implementer(IMetrics)
class Metrics:
    """Counts, and shows what was counted.  All names begin with ``smtpeter_``.

    Counters are plain numbers, touched by the reactor's thread alone: a lock for each would be felt in every message.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counts: dict[tuple[str, ...], int] = {(name,): 0 for name, (_, labels) in _COUNTERS.items() if not labels}
        self._registry.register(_Counters(self._counts))
        self._histograms = {
            name: Histogram(f"smtpeter_{name}", text, registry=self._registry) for name, text in _HISTOGRAMS.items()
        }

    def count(self, name: str, value: int = 1, **labels: str) -> None:
        """See :meth:`smtpeter.interfaces.IMetrics.count`."""
        key = (name, *labels.values())
        if key not in self._counts:
            if tuple(labels) != _COUNTERS[name][1]:
                raise ValueError(f"{name} has other labels")
            self._counts[key] = 0
        self._counts[key] += value

    def observe(self, name: str, seconds: float) -> None:
        """See :meth:`smtpeter.interfaces.IMetrics.observe`."""
        self._histograms[name].observe(seconds)

    def gauge(self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Show what ``read`` gives, by values of ``label``, whenever somebody asks."""
        self._registry.register(_Gauge(f"smtpeter_{name}", text, label, read))

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)


class _Counters(Collector):
    def __init__(self, counts: Mapping[tuple[str, ...], int]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[CounterMetricFamily]:
        families = {
            name: CounterMetricFamily(f"smtpeter_{name}", text, labels=labels)
            for name, (text, labels) in _COUNTERS.items()
        }
        for (name, *labels), value in self._counts.items():
            families[name].add_metric(labels, value)
        return families.values()


class _Gauge(Collector):
    def __init__(self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        self._name = name
        self._text = text
        self._label = label
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        for value, number in self._read().items():
            family.add_metric([value], number)
        return [family]
