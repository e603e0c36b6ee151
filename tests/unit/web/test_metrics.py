"""Numbers for Prometheus."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families
from zope.interface.verify import verifyObject

from smtpeter.interfaces import IMetrics
from smtpeter.web.metrics import Metrics


def samples(metrics):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_counters_count_by_their_labels():
    metrics = Metrics()
    assert verifyObject(IMetrics, metrics)
    metrics.count("submissions", channel="smtp")
    metrics.count("submissions", channel="smtp")
    metrics.count("submissions", channel="rest")
    metrics.count("recipients", 5, channel="smtp")
    metrics.count("smtp_sessions")
    seen = samples(metrics)
    assert seen["smtpeter_submissions_total", ("channel", "smtp")] == 2
    assert seen["smtpeter_submissions_total", ("channel", "rest")] == 1
    assert seen["smtpeter_recipients_total", ("channel", "smtp")] == 5
    assert seen["smtpeter_smtp_sessions_total",] == 1


def test_histograms_observe():
    metrics = Metrics()
    metrics.observe("delivery_seconds", 0.3)
    seen = samples(metrics)
    assert seen["smtpeter_delivery_seconds_count",] == 1 and seen["smtpeter_delivery_seconds_sum",] == 0.3


def test_gauges_are_read_when_somebody_asks():
    metrics, depths = Metrics(), {}
    metrics.gauge("queue", "Recipients", "state", lambda: depths)
    assert ("smtpeter_queue", ("state", "due")) not in samples(metrics)
    depths.update(due=3, held=1)
    assert samples(metrics)["smtpeter_queue", ("state", "due")] == 3


def test_what_was_never_declared_is_an_error():
    with pytest.raises(KeyError):
        Metrics().count("whatever")
    with pytest.raises(KeyError):
        Metrics().observe("whatever", 1.0)


def test_two_of_them_share_nothing():
    first, second = Metrics(), Metrics()
    first.count("smtp_sessions")
    assert samples(second)["smtpeter_smtp_sessions_total",] == 0


def test_every_number_is_ours_by_name():
    names = re.findall(r"^# TYPE (\S+)", Metrics().render().decode(), re.MULTILINE)
    assert names and all(name.startswith("smtpeter_") for name in names)
