"""One sentence for each way in which a recipient can stand."""

from __future__ import annotations

import pytest

from smtpeter.cli.reasons import Around, explain
from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind, JournalEntry
from smtpeter.model.listing import MOST_AHEAD, Parking, Standing
from smtpeter.model.route import SiteCondition, SiteState
from tests.fakes.reading_back import make_submission

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20
DEAD = SiteState("mx.b", "", SiteCondition.PAUSED, "No connection to mx.b", NOW - 60, NOW + 600)
SLOW = SiteState("mx.b", "192.0.2.1", SiteCondition.SLOWED, "it said 421", NOW - 60, NOW + 300)
SAID = {"to": "192.0.2.9", "code": 450, "status": "4.2.2", "description": "full"}
SUBMISSION = make_submission()._replace(time=NOW - 100, due=NOW - 100, expires=NOW + 86400)


def event(kind, time=NOW - 50, **data):
    return JournalEntry(1, "m1", 1, EventKind(kind), time, data)


def told(state="due", *events, submission=SUBMISSION, sites=(), paused=False, served=True, **standing):
    standing = Standing(RecipientState(state), **{"attempts": 0, "due": NOW - 100, **standing})
    return explain("m1", "b.example", standing, submission, events, Around(NOW, sites, paused, served))


@pytest.mark.parametrize(
    ("state", "events", "why"),
    [
        (
            "delivered",
            [event("delivery", to="192.0.2.9", code=250, status="2.0.0", description="Ok")],
            "it was delivered at 2023-11-14 22:12:30: 192.0.2.9 said 250 2.0.0 Ok",
        ),
        (
            "delivered",
            [event("delivery", captured=True, description="captured")],
            "it was kept at 2023-11-14 22:12:30 and not sent, since delivery.mode was capture",
        ),
        ("delivered", [], "it was delivered"),  # its events are no longer kept
        (
            "failed",
            [event("failure", code=556, description="b.example takes no mail")],
            "it failed at 2023-11-14 22:12:30: b.example takes no mail",
        ),
        (
            "expired",
            [event("deferral", NOW - 70), event("failure", **SAID)],
            "its time for delivery was over at 2023-11-14 22:12:30: 192.0.2.9 said 450 4.2.2 full",
        ),
        ("cancelled", [event("cancelled")], "it was cancelled at 2023-11-14 22:12:30"),
        (
            "held",
            [event("held")],
            "it is held since 2023-11-14 22:12:30, as an operator wanted; `smtpeter queue release m1` lets it go on",
        ),
        (
            "held",
            [event("held", **{**SAID, "code": 535, "status": ""})],
            "it is held since 2023-11-14 22:12:30: 192.0.2.9 said 535 full; `smtpeter queue release m1` lets it go on",
        ),
    ],
)
def test_what_does_not_move(state, events, why):
    for served in (True, False):
        assert told(state, *events, served=served) == (why, None)


def test_being_attempted():
    assert told("leased", until=NOW + 900) == (
        "it is being attempted now, or about to be (its lease ends at 2023-11-14 22:28:20, if it is not prolonged)",
        NOW + 900,
    )


def test_without_a_server():
    assert told("leased", served=False, until=NOW + 9).why.startswith("no server seems to be running; the next one")
    assert told(served=False) == ("no server seems to be running, so that nothing is delivered", None)
    reason = told(served=False, due=NOW + 60)
    assert reason.why.endswith("and it is not to be attempted before 2023-11-14 22:14:20") and reason.until == NOW + 60


def test_paused_delivery_tells_how_to_go_on():
    assert told(paused=True).why == "all delivery is paused: `smtpeter queue resume` starts it again"
    assert "not to be attempted before 2023-11-14 22:14:20" in told(paused=True, due=NOW + 60).why
    assert "all delivery is paused" not in told("leased", paused=True, until=NOW + 9).why


def test_features():
    assert told(unprepared=True) == ("it waits for its features to prepare it", None)
    assert told(unprepared=True, until=NOW + 60).why.startswith("its features are preparing it now (its lease ends")
    later = told("due", event("deferral", description="it is Tuesday"), unprepared=True, postponed=True, until=NOW + 60)
    assert later.why == (
        "its features try again to prepare it at 2023-11-14 22:14:20; at 2023-11-14 22:12:30: it is Tuesday"
    )
    assert later.until == NOW + 60


def test_the_next_attempt():
    said = event("deferral", **SAID)
    assert told("due", event("deferral", NOW - 70, code=1), said, attempts=2, due=NOW + 60) == (
        "it waits for its next attempt, not before 2023-11-14 22:14:20; "
        "at 2023-11-14 22:12:30: 192.0.2.9 said 450 4.2.2 full",
        NOW + 60,
    )


def test_what_its_sender_wants():
    later = SUBMISSION._replace(due=NOW + 60)
    assert told(submission=later, due=NOW + 60) == (
        "its sender wants it to be delivered not before 2023-11-14 22:14:20",
        NOW + 60,
    )
    assert "its sender wants" not in told(submission=later, due=NOW + 60, attempts=1).why
    assert "its sender wants" not in told(due=NOW + 60).why


def test_its_turn():
    assert told().why == "it waits for its turn"
    assert told(ahead=3).why == "it waits for its turn behind 3 of the same account to b.example"
    assert told(ahead=MOST_AHEAD).why.endswith("behind 1000 or more of the same account to b.example")
    assert told(parking=Parking("", NOW + 30)).why == (
        "it waits for its turn; the way to b.example has just been looked for in the DNS"
    )


def test_its_site():
    parking = Parking("mx.b", NOW + 600)
    assert told(parking=parking).why == "it waits for its site mx.b, which takes no more at the moment"
    assert told(parking=parking, sites=[DEAD, DEAD._replace(site="mx.other")]) == (
        "it waits for its site mx.b, paused until 2023-11-14 22:23:20: No connection to mx.b "
        "(`smtpeter queue sites --resume mx.b` ends that)",
        NOW + 600,
    )
    slow = told(parking=parking, sites=[SLOW])
    assert "mx.b, slowed from 192.0.2.1 until 2023-11-14 22:18:20: it said 421 (" in slow.why and slow.until is None
    both = told(parking=parking, sites=[SLOW, DEAD])
    assert "it said 421; paused until" in both.why and both.until == NOW + 600


def test_a_site_that_is_paused_for_longer_than_until_the_next_attempt():
    parking = Parking("mx.b", NOW + 600)
    reason = told(parking=parking, sites=[DEAD], attempts=1, due=NOW + 60)
    assert reason.why.startswith("it is to be attempted again at 2023-11-14 22:14:20, but then waits for its site mx.b")
    assert reason.until == NOW + 600
    assert told(parking=parking, sites=[DEAD], attempts=1, due=NOW + 900).until == NOW + 900


def test_a_site_that_is_paused_for_longer_than_the_message_may_wait():
    reason = told(parking=Parking("mx.b", NOW + 600), sites=[DEAD], submission=SUBMISSION._replace(expires=NOW + 60))
    assert reason.why.endswith("; before that, at 2023-11-14 22:14:20, its time is over")


def test_a_long_reply_is_one_line_and_cut():
    why = told("due", event("deferral", **{**SAID, "description": "so\nmuch " * 200}), attempts=1).why
    assert "\n" not in why and len(why) < 450 and why.endswith("...")
