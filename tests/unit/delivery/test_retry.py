"""What follows from outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.delivery.retry import (
    CAPTURED,
    Conclusion,
    RetryPolicy,
    conclude,
    conclude_overdue,
    conclude_waiting,
    is_overdue,
)
from smtpeter.model.delivery import FailureKind, Outcome, OutcomeKind, RecipientState, Settlement
from smtpeter.model.event import EventKind, format_time
from tests.fakes.jobs import NOW, make_job, make_recipient

POLICY = RetryPolicy((60.0, 300.0, 900.0))
HOLDING = POLICY._replace(hold_in_doubt=True)


def settle(kind: OutcomeKind, policy: RetryPolicy = POLICY, *, now: float = NOW, **changes: Any) -> Settlement:
    outcome = Outcome(kind, 450, "4.2.0", "text", "192.0.2.1", "192.0.2.25", "relay.example", "rcpt")
    job = make_job(recipients=[make_recipient(1, **changes)])
    (conclusion,) = conclude(job, {1: outcome}, now, policy, 0.5)
    return conclusion.settlement


FIELDS = {
    "attempt": 2,
    "from": "192.0.2.1",
    "to": "192.0.2.25",
    "code": 450,
    "status": "4.2.0",
    "description": "text",
    "state": "rcpt",
}


def event_of(settlement: Settlement) -> tuple[EventKind, dict[str, Any]]:
    assert settlement.event is not None
    assert settlement.event.time == NOW
    return settlement.event.kind, dict(settlement.event.data)


def test_delivered() -> None:
    settlement = settle(OutcomeKind.DELIVERED, attempts=2)
    assert settlement[:3] == (1, RecipientState.DELIVERED, 3)
    assert event_of(settlement) == (EventKind.DELIVERY, FIELDS)


def test_failed() -> None:
    settlement = settle(OutcomeKind.FAILED, attempts=2)
    assert settlement[:3] == (1, RecipientState.FAILED, 3)
    assert event_of(settlement) == (EventKind.FAILURE, {**FIELDS, "type": "failed"})


def test_deferred() -> None:
    settlement = settle(OutcomeKind.DEFERRED, attempts=2)
    assert settlement[:4] == (1, RecipientState.DUE, 3, NOW + 900)
    assert event_of(settlement) == (EventKind.DEFERRAL, {**FIELDS, "next_attempt": format_time(NOW + 900)})
    assert not settlement.possible_duplicate


def test_held() -> None:
    settlement = settle(OutcomeKind.HOLD, attempts=2)
    assert settlement[:3] == (1, RecipientState.HELD, 3)
    assert event_of(settlement) == (EventKind.HELD, FIELDS)


def test_not_tried_is_no_attempt() -> None:
    assert settle(OutcomeKind.NOT_TRIED, attempts=2) == Settlement(1, RecipientState.DUE, 2, NOW, None)
    assert settle(OutcomeKind.NOT_TRIED, now=NOW + 10**7).state is RecipientState.DUE


def test_in_doubt_is_tried_again_as_a_possible_duplicate() -> None:
    settlement = settle(OutcomeKind.IN_DOUBT, attempts=2)
    assert settlement[:4] == (1, RecipientState.DUE, 3, NOW + 900)
    assert settlement.possible_duplicate
    kind, data = event_of(settlement)
    assert (kind, data["possible_duplicate"]) == (EventKind.DEFERRAL, True)


def test_in_doubt_is_held_where_the_operator_wants_it() -> None:
    settlement = settle(OutcomeKind.IN_DOUBT, HOLDING, attempts=2)
    assert settlement[:3] == (1, RecipientState.HELD, 3)
    assert settlement.possible_duplicate
    assert event_of(settlement) == (EventKind.HELD, {**FIELDS, "possible_duplicate": True})


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_what_may_have_arrived_once_stays_a_possible_duplicate(kind: OutcomeKind) -> None:
    settlement = settle(kind, possible_duplicate=True)
    assert settlement.possible_duplicate
    if settlement.event:
        assert settlement.event.data["possible_duplicate"] is True, "after a crash this is all that tells of it"


@pytest.mark.parametrize("kind", [OutcomeKind.DEFERRED, OutcomeKind.IN_DOUBT])
@pytest.mark.parametrize(("left", "expired"), [(59.9, True), (60.0, False), (0.0, True), (-5.0, True)])
def test_expired_when_the_next_attempt_would_come_too_late(kind: OutcomeKind, left: float, expired: bool) -> None:
    job = make_job(expires=NOW + left)
    (conclusion,) = conclude(job, {1: Outcome(kind)}, NOW, POLICY, 0.5)
    assert (conclusion.settlement.state is RecipientState.EXPIRED) == expired
    if expired:
        assert conclusion.settlement.event is not None
        assert conclusion.settlement.event.kind is EventKind.FAILURE
        assert conclusion.settlement.event.data["type"] == "expired"


def test_a_recipient_without_an_outcome_is_tried_again() -> None:
    conclusions = conclude(make_job(2), {1: Outcome(OutcomeKind.DELIVERED, 250)}, NOW, POLICY, 0.5)
    assert [conclusion.settlement.state for conclusion in conclusions] == [RecipientState.DELIVERED, RecipientState.DUE]
    assert conclusions[1].settlement.attempts == 1


def test_an_event_tells_in_what_form_the_message_went() -> None:
    for seven_bit, told in ((True, "7bit"), (False, None)):
        (conclusion,) = conclude(
            make_job(), {1: Outcome(OutcomeKind.DELIVERED, 250, seven_bit=seven_bit)}, NOW, POLICY, 0.5
        )
        assert conclusion.settlement.event is not None
        assert conclusion.settlement.event.data.get("converted") == told


def test_captured_mail_says_so() -> None:
    (conclusion,) = conclude(make_job(), {1: CAPTURED}, NOW, POLICY, 0.5)
    assert conclusion.settlement.event is not None
    assert conclusion.settlement.event.data["captured"] is True
    assert conclusion.settlement.event.data["description"] == "captured"


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_waits_follow_the_schedule_within_a_tenth(attempts: int, random: float) -> None:
    wait = POLICY.schedule[min(attempts, 2)]
    assert 0.9 * wait <= POLICY.wait(attempts, random) <= 1.1 * wait + 1e-6


def test_a_sender_s_limit_is_kept_to_the_letter() -> None:
    job = make_job(expires=NOW + 100)
    assert not is_overdue(job, NOW + 99, POLICY)
    assert is_overdue(job, NOW + 100, POLICY)


def test_so_it_is_where_the_message_was_wanted_for_a_later_day() -> None:
    later = NOW + 5 * 86400
    job = make_job(due=later, expires=later + 3600)
    assert not is_overdue(job, later + 3599, POLICY)
    assert is_overdue(job, later + 3600, POLICY)
    own = job._replace(expires=later + POLICY.lifetime)
    assert not is_overdue(own, own.expires, POLICY)


def test_our_own_limit_leaves_one_last_attempt() -> None:
    """So a clock that jumps ahead by days makes no queue expire untried."""
    job = make_job(recipients=[make_recipient(attempts=5)])
    assert not is_overdue(job, NOW + 5 * 86400, POLICY)
    (conclusion,) = conclude(job, {1: Outcome(OutcomeKind.DEFERRED)}, NOW + 5 * 86400, POLICY, 0.5)
    assert conclusion.settlement.state is RecipientState.EXPIRED


def test_overdue_counts_no_attempt() -> None:
    job = make_job(2, recipients=[make_recipient(1, attempts=3), make_recipient(2)])
    conclusions: list[Conclusion] = conclude_overdue(job, NOW)
    assert [conclusion.settlement[:3] for conclusion in conclusions] == [
        (1, RecipientState.EXPIRED, 3),
        (2, RecipientState.EXPIRED, 0),
    ]
    assert {kind for kind, _ in (event_of(conclusion.settlement) for conclusion in conclusions)} == {EventKind.FAILURE}


# --- what the timeline tells ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in OutcomeKind if kind is not OutcomeKind.NOT_TRIED])
def test_every_attempt_tells_how_it_went_and_whose_trouble_it_is(kind: OutcomeKind) -> None:
    told = {"tls": "TLSv1.3 TLS_AES_256_GCM_SHA384, verified", "dialogue": "0 < 220 hi\n3 > EHLO x"}
    outcome = Outcome(kind, 450, failure=FailureKind.REPUTATION, **told)
    (conclusion,) = conclude(make_job(), {1: outcome}, NOW, POLICY, 0.5)
    assert event_of(conclusion.settlement)[1].items() >= {**told, "class": "reputation"}.items()
    (conclusion,) = conclude(make_job(), {1: Outcome(kind, 450)}, NOW, POLICY, 0.5)
    assert not {"tls", "class", "dialogue"} & set(event_of(conclusion.settlement)[1])


# --- pauses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pause", "wait"), [(0.0, 60.0), (59.0, 60.0), (1800.0, 1800.0)])
@pytest.mark.parametrize("kind", [OutcomeKind.DEFERRED, OutcomeKind.IN_DOUBT])
def test_there_is_no_attempt_before_the_pause_is_over(kind: OutcomeKind, pause: float, wait: float) -> None:
    (conclusion,) = conclude(make_job(), {1: Outcome(kind, pause=pause)}, NOW, POLICY, 0.5)
    assert conclusion.settlement.due == NOW + wait
    assert event_of(conclusion.settlement)[1]["next_attempt"] == format_time(NOW + wait)


def test_a_recipient_that_was_not_tried_waits_for_the_pause_too() -> None:
    (conclusion,) = conclude(make_job(), {1: Outcome(OutcomeKind.NOT_TRIED, pause=300.0)}, NOW, POLICY, 0.5)
    assert conclusion.settlement == Settlement(1, RecipientState.DUE, 0, NOW + 300, None)


def test_a_pause_beyond_the_time_for_delivery_is_the_end() -> None:
    job = make_job(expires=NOW + 600)
    (conclusion,) = conclude(job, {1: Outcome(OutcomeKind.DEFERRED, pause=601.0)}, NOW, POLICY, 0.5)
    assert conclusion.settlement.state is RecipientState.EXPIRED


# --- delays -----------------------------------------------------------------------------------------------------------

PATIENT = POLICY._replace(delay_notice=7200.0)


@pytest.mark.parametrize("notify", ["DELAY", "SUCCESS,FAILURE,DELAY", "SUCCESS", "NEVER", None])
@pytest.mark.parametrize("waited", [7199.0, 7200.0])
def test_a_delay_is_told_after_the_time_that_is_set_to_who_asked(notify: str | None, waited: float) -> None:
    job = make_job(recipients=[make_recipient(notify=notify)])
    wanted = waited >= 7200 and notify is not None and "DELAY" in notify
    for conclusions in (
        conclude(job, {1: Outcome(OutcomeKind.DEFERRED)}, NOW + waited, PATIENT, 0.5),
        conclude_waiting(job, PAUSED, NOW + waited, PATIENT),
    ):
        assert [conclusion.settlement.delay_told for conclusion in conclusions] == [wanted]


@pytest.mark.parametrize("waited", [7199.0, 7200.0])
def test_what_was_wanted_for_later_is_not_late_before_it_has_waited_since_then(waited: float) -> None:
    """The time until then is no delay: its sender asked for it."""
    job = make_job(recipients=[make_recipient(notify="DELAY")], due=NOW + 50_000)
    for conclusions in (
        conclude(job, {1: Outcome(OutcomeKind.DEFERRED)}, job.due + waited, PATIENT, 0.5),
        conclude_waiting(job, PAUSED, job.due + waited, PATIENT),
    ):
        assert [conclusion.settlement.delay_told for conclusion in conclusions] == [waited >= 7200]


@pytest.mark.parametrize("kind", list(OutcomeKind))
@pytest.mark.parametrize("policy", [PATIENT, HOLDING])
def test_what_was_told_stays_told(kind: OutcomeKind, policy: RetryPolicy) -> None:
    """Also of what is held, which may be released."""
    job = make_job(recipients=[make_recipient(notify="DELAY", delay_told=True)])
    for conclusions in (
        conclude(job, {1: Outcome(kind)}, NOW, policy, 0.5),
        conclude_waiting(job, PAUSED, NOW, policy),
    ):
        assert [conclusion.settlement.delay_told for conclusion in conclusions] == [True]


@pytest.mark.parametrize("kind", [OutcomeKind.DELIVERED, OutcomeKind.FAILED, OutcomeKind.HOLD, OutcomeKind.NOT_TRIED])
def test_what_does_not_go_on_waiting_is_not_told_as_a_delay(kind: OutcomeKind) -> None:
    assert not settle(kind, PATIENT, now=NOW + 7200, notify="DELAY").delay_told


def test_a_null_path_is_not_asked_about_again() -> None:
    """It gets no report; but a claim of what is delayed and untold would find it for ever."""
    job = make_job(reverse_path="", recipients=[make_recipient(notify="DELAY")])
    assert conclude_waiting(job, PAUSED, NOW + 7200, PATIENT)[0].settlement.delay_told


# --- behind a site that is paused -------------------------------------------------------------------------------------

PAUSED = Outcome(
    OutcomeKind.DEFERRED, 0, "4.4.1", "No host of example.net answers", stage="connect", failure=FailureKind.NETWORK
)


def test_what_waits_for_a_paused_site_stays_as_it_is() -> None:
    job = make_job(recipients=[make_recipient(1, attempts=3), make_recipient(2, possible_duplicate=True)])
    assert [conclusion.settlement for conclusion in conclude_waiting(job, PAUSED, NOW + 60, POLICY)] == [
        Settlement(1, RecipientState.DUE, 3, None, None),
        Settlement(2, RecipientState.DUE, 0, None, None, True),
    ]


@pytest.mark.parametrize("lifetime", [86400.0, 10 * 86400.0])
def test_what_waits_for_a_paused_site_expires_by_any_limit_for_the_site_s_reason(lifetime: float) -> None:
    """Our own limit leaves one last attempt elsewhere; here there is none to be had."""
    policy = POLICY._replace(lifetime=lifetime)
    job = make_job(recipients=[make_recipient(attempts=2)], expires=NOW)
    assert is_overdue(job._replace(time=NOW - 86400), NOW, policy) == (lifetime > 86400)
    (waiting,) = conclude_waiting(job, PAUSED, NOW - 0.1, policy)
    assert waiting.settlement.state is RecipientState.DUE
    (conclusion,) = conclude_waiting(job._replace(time=NOW - 86400), PAUSED, NOW, policy)
    assert conclusion.outcome == PAUSED
    assert conclusion.settlement[:3] == (1, RecipientState.EXPIRED, 2)
    assert event_of(conclusion.settlement) == (
        EventKind.FAILURE,
        {
            "attempt": 2, "from": "", "to": "", "code": 0, "status": "4.4.1", "state": "connect", "class": "network",
            "description": "No host of example.net answers", "type": "expired",
        },
    )  # fmt: skip


def test_our_own_reports_end_behind_a_dead_site() -> None:
    job = make_job(reverse_path="", recipients=[make_recipient(notify="NEVER")])
    (conclusion,) = conclude_waiting(job, PAUSED, job.expires, POLICY)
    assert conclusion.settlement.state is RecipientState.EXPIRED
    assert conclusion.settlement.event is not None


@given(
    st.sampled_from(OutcomeKind), st.floats(0, 3 * 86400), st.floats(0, 7200), st.booleans(), st.floats(0, 0.999),
    st.sampled_from([None, "NEVER", "DELAY"]),
)  # fmt: skip
def test_nobody_waits_beyond_the_time_for_delivery(
    kind: OutcomeKind, passed: float, pause: float, hold: bool, random: float, notify: str | None
) -> None:
    """However it ends: nothing is due later than its limit after an attempt, and nothing waits on when it is over."""
    now, policy = NOW + passed, POLICY._replace(hold_in_doubt=hold)
    job = make_job(recipients=[make_recipient(notify=notify)])
    (after,) = conclude(job, {1: Outcome(kind, pause=pause)}, now, policy, random)
    if after.settlement.state is RecipientState.DUE and kind is not OutcomeKind.NOT_TRIED:
        assert after.settlement.due is not None
        assert now + pause <= after.settlement.due <= job.expires
    (waiting,) = conclude_waiting(job, PAUSED, now, policy)
    assert (waiting.settlement.state is RecipientState.DUE) == (now < job.expires)


def test_mail_for_a_site_that_is_only_busy_has_its_last_attempt() -> None:
    """Our own lifetime was over while the server stood still: that is no reason to give up untried."""
    job = make_job(time=NOW - 90_000, expires=NOW - 3_600)
    assert job.expires - job.time >= POLICY.lifetime - 1
    (busy,) = conclude_waiting(job, PAUSED, NOW, POLICY, paused=False)
    (dead,) = conclude_waiting(job, PAUSED, NOW, POLICY)
    assert (busy.settlement.state, dead.settlement.state) == (RecipientState.DUE, RecipientState.EXPIRED)
    limited = make_job(time=NOW - 600, expires=NOW - 1)  # by its sender
    (over,) = conclude_waiting(limited, PAUSED, NOW, POLICY, paused=False)
    assert over.settlement.state is RecipientState.EXPIRED
