"""What features have to say of a message before it is taken: over the whole door, with transports in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.logger import capturedLogs
from zope.interface import implementer

from smtpeter.errors import Refusal
from smtpeter.features.catalog import Catalog, Installed
from smtpeter.features.options import OptionTable
from smtpeter.intake.features import FeatureIntake
from smtpeter.intake.gate import Backlog
from smtpeter.interfaces import ICheckingFeature, IPreparingFeature
from smtpeter.model.feature import FailurePolicy, MessageSummary, Option, OptionKind
from tests.fakes.smtp_connection import MAIL, Connection

TABLE = OptionTable(
    (Option("track", "tracks", aliases=("tracking",)), Option("check", "checks"), Option("color", "x", OptionKind.TEXT))
)
TAKEN = b"250 2.0.0"


@implementer(IPreparingFeature)
class Track:
    on_failure = FailurePolicy.SEND

    def wants(self, options):
        return options.get("track") == "true"

    def prepare(self, message, context):
        raise AssertionError("not here")


@implementer(ICheckingFeature)
class Check:
    """Raises what it was given; remembers what it saw."""

    def __init__(self, trouble=None):
        self.trouble = trouble
        self.seen = []

    def wants(self, options):
        return options.get("check") == "true"

    def check(self, summary, options):
        self.seen.append((summary, dict(options)))
        if self.trouble is not None:
            raise self.trouble


def intake(*features, backlog=None):
    installed = [Installed(type(each).__name__, None, each, Path("x.py")) for each in features]
    return FeatureIntake(Catalog(installed, TABLE), backlog)


def send(features, header=b"", defaults=(), body=b"hello"):
    """Submit one message; gives the reply, the connection."""
    connection = Connection(features=features)
    connection.directory.submitter.options = defaults
    connection.log_in()
    assert connection.codes(MAIL) == [250, 250, 354]
    return connection.say(header + b"Subject: hi\r\n\r\n" + body + b"\r\n.\r\n"), connection


def taken(*arguments, **how):
    reply, connection = send(*arguments, **how)
    assert reply.startswith(TAKEN), reply
    [submission] = connection.intake.submissions
    return submission


def refused(*arguments, **how):
    reply, connection = send(*arguments, **how)
    assert connection.intake.submissions == []
    assert connection.content.spools[-1].aborted
    assert connection.codes(b"NOOP\r\n") == [250]
    return reply.decode().strip()


# --- effective options ---


@pytest.mark.parametrize(
    ("defaults", "header", "options", "prepare"),
    [
        ((), b"", (), False),
        ((), b"X-SMTPeter-Tracking: yes\r\n", (("track", "true"),), True),
        ((), b"X-SMTPeter-Tracking: no\r\n", (("track", "false"),), False),
        ((("track", "true"),), b"", (("track", "true"),), True),
        ((("track", "true"),), b"X-SMTPeter-Track: off\r\n", (("track", "false"),), False),
        ((("track", "true"),), b"X-SMTPeter-Color: red\r\n", (("color", "red"), ("track", "true")), True),
        ((("track", "true"), ("check", "true")), b"", (("check", "true"), ("track", "true")), True),
        ((("gone", "true"),), b"", (), False),
        ((("gone", "true"),), b"X-SMTPeter-Gone: true\r\nX-SMTPeter-Check: 1\r\n", (("check", "true"),), False),
    ],
)
def test_what_a_message_says_stands_over_its_logins_defaults(defaults, header, options, prepare):
    submission = taken(intake(Track()), header, defaults)
    assert (submission.options, submission.prepare) == (options, prepare)


@pytest.mark.parametrize("features", [None, intake(Track())])
def test_a_logins_tags_are_on_all_its_mail_that_names_none_itself(features):
    defaults = (("tags", "shop,news"), ("images", "default"))
    submission = taken(features, b"", defaults)
    assert (submission.tags, submission.options) == (("shop", "news"), ())
    assert taken(features, b"X-SMTPeter-Tags: other\r\n", defaults).tags == ("other",)


def test_a_value_that_cannot_be_read_is_refused_with_the_fields_name():
    assert refused(intake(Track()), b"X-SMTPeter-Tracking: perhaps\r\n") == (
        "554 5.6.0 X-SMTPeter-tracking: write true or false"
    )


# --- preparing is behind ---


def test_only_mail_that_has_to_be_prepared_is_refused_while_that_is_behind():
    backlog = Backlog(600.0)
    features = intake(Track(), backlog=backlog)
    backlog.measured(0.0, 1000.0)
    assert refused(features, b"X-SMTPeter-Track: true\r\n").startswith("451 4.3.2 Preparing is behind")
    assert refused(features, defaults=(("track", "true"),)).startswith("451 4.3.2 ")
    assert not taken(features, b"X-SMTPeter-Track: false\r\n", (("track", "true"),)).prepare
    assert not taken(features).prepare
    backlog.measured(None, 1000.0)
    assert taken(features, b"X-SMTPeter-Track: true\r\n").prepare


# --- features that check ---


def test_a_feature_sees_what_it_wants_to_see_and_lets_it_in():
    check = Check()
    submission = taken(intake(check), b"X-SMTPeter-Check: true\r\n")
    [(summary, options)] = check.seen
    assert summary == MessageSummary(
        submission.id,
        "alice@example.com",
        "alice-login",
        "a@example.com",
        ("b@example.net",),
        submission.content.size,
        "hi",
    )
    assert options == {"check": "true"}
    taken(intake(check))
    assert len(check.seen) == 1


def test_a_refusal_is_told_as_the_feature_words_it():
    check = Check(Refusal(550, "5.7.1", "No links to example.org, please", "private"))
    assert refused(intake(check), b"X-SMTPeter-Check: true\r\n") == "550 5.7.1 No links to example.org, please"


@pytest.mark.parametrize("trouble", [ZeroDivisionError("x"), Refusal(250, "2.0.0", "fine"), Refusal(354, "", "go on")])
def test_attack_a_feature_that_fails_neither_takes_nor_loses_a_message(trouble):
    with capturedLogs() as events:
        reply = refused(intake(Check(trouble)), b"X-SMTPeter-Check: true\r\n")
    assert reply == "451 4.3.0 Something went wrong here; try again later"
    assert [event for event in events if event["log_level"].name == "critical"]


@pytest.mark.parametrize("kind", [Track, Check])
def test_a_feature_that_does_not_know_what_it_wants(kind):
    feature = kind()
    features = intake(feature)
    feature.wants = lambda options: 1 / 0
    with capturedLogs():
        assert refused(features, b"X-SMTPeter-Track: true\r\n").startswith("451 4.3.0 ")


def test_a_message_without_any_header_is_checked_too():
    class All(Check):
        def wants(self, options):
            return True

    check = All()
    connection = Connection(features=intake(check)).log_in()
    connection.codes(MAIL)
    assert connection.say(b"just text\r\n.\r\n").startswith(TAKEN)
    assert [summary.subject for summary, _ in check.seen] == [""]
