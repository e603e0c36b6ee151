"""Lines of the log about deliveries: all of them, a few at a time."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from smtpeter.delivery.report import AT_ONCE, DeliveryReport
from smtpeter.model.delivery import FailureKind, LeasedRecipient, Outcome, OutcomeKind

DELIVERED = Outcome(OutcomeKind.DELIVERED, 250, "2.0.0", "Ok", remote_mta="relay.example", stage="end")


class Turns(Clock):
    """A clock that runs only what was asked for before the turn."""

    def turn(self):
        for call in self.getDelayedCalls():
            self.calls.remove(call)
            call.func(*call.args)


class Counted:
    def __init__(self):
        self.outcomes = []

    def count(self, name, value=1, **labels):
        self.outcomes.append((name, *labels.values()))


def recipient(number):
    return LeasedRecipient(number, f"id-{number}", "b@example.net", "example.net", None, None, 0, False)


def test_lines_are_written_a_few_in_each_turn_and_in_order():
    clock, metrics = Turns(), Counted()
    report = DeliveryReport(clock, metrics)
    with capturedLogs() as events:
        for number in range(AT_ONCE + 1):
            report.add(recipient(number), DELIVERED, 0.5)
        assert events == [] and metrics.outcomes == [("deliveries", "delivered")] * (AT_ONCE + 1)
        clock.turn()
        assert len(events) == AT_ONCE
        clock.turn()
    assert [event["id"] for event in events] == [f"id-{number}" for number in range(AT_ONCE + 1)]
    assert clock.getDelayedCalls() == []


def test_a_log_that_fell_behind_catches_up():
    clock = Turns()
    report = DeliveryReport(clock, Counted())
    with capturedLogs() as events:
        for number in range(100 * AT_ONCE):
            report.add(recipient(number), DELIVERED, 0.5)
        clock.turn()
    assert len(events) == 10 * AT_ONCE


def test_at_the_end_every_line_is_written():
    clock = Turns()
    report = DeliveryReport(clock, Counted())
    with capturedLogs() as events:
        for number in range(3 * AT_ONCE):
            report.add(recipient(number), DELIVERED, 0.5)
        report.finish()
        report.finish()
    assert len(events) == 3 * AT_ONCE and clock.getDelayedCalls() == []


def test_what_is_held_is_an_error():
    clock = Turns()
    report = DeliveryReport(clock, Counted())
    with capturedLogs() as events:
        report.add(recipient(1), Outcome(OutcomeKind.HOLD, 535, "5.7.8", "no"), 0.5)
        clock.turn()
    assert events[0]["log_level"] is LogLevel.error


def test_failures_are_counted_by_whose_trouble_they_are_and_where_no_way_was_found():
    metrics = Counted()
    report = DeliveryReport(Turns(), metrics)
    refused = Outcome(OutcomeKind.FAILED, 550, stage="rcpt", failure=FailureKind.RECIPIENT_HARD)
    lost = Outcome(OutcomeKind.DEFERRED, stage="route", failure=FailureKind.NETWORK)
    for outcome in (refused, lost, DELIVERED):
        report.add(recipient(1), outcome, 0.5)
    assert metrics.outcomes == [
        ("deliveries", "failed"),
        ("delivery_failures", "recipient_hard"),
        ("deliveries", "deferred"),
        ("delivery_failures", "network"),
        ("route_failures", "deferred"),
        ("deliveries", "delivered"),
    ]
