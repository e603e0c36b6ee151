"""Mail that is handed over again under the same key."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from smtpeter.errors import IdempotencyConflict
from smtpeter.model.delivery import RecipientState
from smtpeter.model.envelope import Recipient
from smtpeter.model.listing import Filter, Verb
from smtpeter.model.submission import Idempotency, Submission, Taken
from tests.contract.engines import Engine, claim, make, settle

DAY = 86400.0
LARGE = b"x" * 300_000
RETENTION = (1000 * DAY, 1000 * DAY, 1000 * DAY)


def request(engine: Engine, *addresses: str, key: str = "k", digest: bytes | None = b"d", **fields: Any) -> Submission:
    return make(engine, *addresses, **({"account": 1, "idempotency": Idempotency(key, digest)} | fields))


def take(engine: Engine, submission: Submission) -> Taken:
    taken = engine.wait(engine.store.queue.enqueue(submission))
    assert taken is not None
    return taken


def queued(engine: Engine) -> list[tuple[str, str]]:
    """Id and address of each recipient, oldest submission first."""
    rows = engine.wait(engine.store.queue.select(Filter(), 1000))
    return sorted((row.id, row.recipient) for row in rows)


def files(engine: Engine) -> list[Path]:
    return [path for path in (engine.directory / "content").rglob("*") if path.is_file()]


def wait_until_files_are(engine: Engine, count: int) -> None:
    for _ in range(500):
        if len(files(engine)) == count:
            return
        engine.wait(engine.store.queue.paused())
        time.sleep(0.01)
    raise AssertionError(files(engine))


# --- a request as a whole ---


def test_a_request_that_is_made_again_is_answered_as_before(engine: Engine) -> None:
    first = request(engine, "a@example.net", "b@example.org", "a@example.net")
    expected = (
        (f"{first.id}-1", "a@example.net"),
        (f"{first.id}-2", "b@example.org"),
        (f"{first.id}-3", "a@example.net"),
    )
    assert take(engine, first) == Taken(first.id, expected)
    for _ in range(2):
        again = request(engine, "a@example.net", "b@example.org", "a@example.net")
        assert take(engine, again) == Taken(first.id, expected, again=True)
    engine.reopen()
    assert take(engine, request(engine, "a@example.net", "b@example.org", "a@example.net")).again
    assert queued(engine) == list(expected)


def test_one_recipient_has_the_id_of_its_submission(engine: Engine) -> None:
    first = request(engine, "a@example.net")
    assert take(engine, first) == Taken(first.id, ((first.id, "a@example.net"),))
    assert take(engine, request(engine, "a@example.net")) == Taken(first.id, ((first.id, "a@example.net"),), again=True)


def test_mail_without_a_key_is_told_nothing_and_taken_each_time(engine: Engine) -> None:
    for _ in range(2):
        assert engine.wait(engine.store.queue.enqueue(make(engine, account=1))) is None
    assert len(queued(engine)) == 2


def test_another_request_under_the_same_key_is_a_conflict(engine: Engine) -> None:
    first = request(engine)
    take(engine, first)
    with pytest.raises(IdempotencyConflict):
        take(engine, request(engine, digest=b"other"))
    assert take(engine, request(engine)).id == first.id
    assert len(queued(engine)) == 1


def test_keys_are_an_accounts_own(engine: Engine) -> None:
    ids = {take(engine, request(engine, account=account, key=key)).id for account in (1, 2) for key in ("k", "K", "k ")}
    assert len(ids) == 6


def test_a_key_may_be_long_and_strange(engine: Engine) -> None:
    for key in ("", "x" * 100_000, "\0", "\udc80", "ü"):
        first = request(engine, key=key)
        assert not take(engine, first).again
        assert take(engine, request(engine, key=key)) == Taken(first.id, ((first.id, "you@example.net"),), again=True)


def test_a_key_outlives_delivery_and_the_message_itself(engine: Engine) -> None:
    first = request(engine)
    take(engine, first)
    settle(engine, claim(engine)[0], RecipientState.DELIVERED)
    assert take(engine, request(engine)).id == first.id
    assert engine.wait(engine.store.queue.purge(engine.clock.now + 100, 1, 1, 1, 9)) == 1
    assert take(engine, request(engine)) == Taken(first.id, ((first.id, "you@example.net"),), again=True)


def test_a_key_is_forgotten_after_a_day(engine: Engine) -> None:
    first = request(engine)
    take(engine, first)
    engine.clock.now += DAY - 1
    assert take(engine, request(engine)).again
    engine.clock.now += 1
    second = request(engine, digest=b"other")
    assert take(engine, second) == Taken(second.id, ((second.id, "you@example.net"),))
    engine.clock.now += DAY - 1
    assert take(engine, request(engine, digest=b"other")).id == second.id


def test_old_keys_are_purged_in_steps(engine: Engine) -> None:
    take(engine, request(engine, *[f"{number}@example.net" for number in range(7)], digest=None))
    take(engine, request(engine, time=engine.clock.now + 1))
    purge = engine.store.queue.purge
    assert engine.wait(purge(engine.clock.now + DAY - 1, *RETENTION, 3)) == 0
    assert [engine.wait(purge(engine.clock.now + DAY, *RETENTION, 3)) for _ in range(4)] == [3, 3, 1, 0]
    assert take(engine, request(engine)).again
    assert engine.wait(purge(engine.clock.now + DAY + 1, *RETENTION, 3)) == 1


def test_what_an_operator_cancelled_was_taken_all_the_same(engine: Engine) -> None:
    first = request(engine)
    take(engine, first)
    engine.wait(engine.store.queue.apply(Filter(submission=first.id), Verb.CANCEL, engine.clock.now, 9))
    assert take(engine, request(engine)).id == first.id


def test_content_that_is_not_needed_is_removed(engine: Engine) -> None:
    take(engine, request(engine, data=LARGE))
    assert len(files(engine)) == 1
    take(engine, request(engine, data=LARGE))
    with pytest.raises(IdempotencyConflict):
        take(engine, request(engine, data=LARGE, digest=b"other"))
    take(engine, request(engine, "a@example.net", data=LARGE, digest=None))
    take(engine, request(engine, "a@example.net", data=LARGE, digest=None))
    wait_until_files_are(engine, 2)
    assert len(queued(engine)) == 2


# --- what was taken, asked beforehand ---


def ask(engine: Engine, submission: Submission) -> Taken | None:
    assert submission.idempotency is not None
    asked = engine.store.queue.taken(1, submission.idempotency, submission.envelope.recipients, engine.clock.now)
    return engine.wait(asked)


def test_what_was_taken_under_a_key_can_be_asked(engine: Engine) -> None:
    first = request(engine, "a@example.net", "b@example.org")
    assert ask(engine, first) is None
    assert ask(engine, first) is None  # to ask leaves nothing behind
    told = take(engine, first)
    assert not told.again
    again = request(engine, "a@example.net", "b@example.org")
    assert ask(engine, again) == told._replace(again=True) == take(engine, again)
    assert ask(engine, request(engine, key="other")) is None
    assert engine.wait(engine.store.queue.taken(2, Idempotency("k", b"d"), (), engine.clock.now)) is None


def test_another_request_under_the_key_that_is_asked_for_is_a_conflict(engine: Engine) -> None:
    take(engine, request(engine))
    with pytest.raises(IdempotencyConflict):
        ask(engine, request(engine, digest=b"other"))


def test_a_key_that_is_asked_for_is_forgotten_after_a_day(engine: Engine) -> None:
    first = request(engine)
    take(engine, first)
    engine.clock.now += DAY - 1
    told = ask(engine, first)
    assert told is not None
    assert told.id == first.id
    engine.clock.now += 1
    assert ask(engine, request(engine, digest=b"other")) is None


# --- each recipient for itself ---


def test_recipients_that_were_taken_are_left_out(engine: Engine) -> None:
    first = request(engine, "a@example.net", "b@example.net", digest=None)
    assert take(engine, first) == Taken(
        first.id, ((f"{first.id}-1", "a@example.net"), (f"{first.id}-2", "b@example.net"))
    )
    second = request(engine, "c@example.net", "b@Example.NET", "d@example.net", digest=None)
    assert take(engine, second) == Taken(
        second.id,
        (
            (f"{second.id}-1", "c@example.net"),
            (f"{first.id}-2", "b@Example.NET"),
            (f"{second.id}-2", "d@example.net"),
        ),
    )
    third = request(engine, "d@example.net", "a@example.net", digest=None)
    assert take(engine, third) == Taken(
        second.id, ((f"{second.id}-2", "d@example.net"), (f"{first.id}-1", "a@example.net")), again=True
    )
    assert queued(engine) == sorted(
        [
            (f"{first.id}-1", "a@example.net"),
            (f"{first.id}-2", "b@example.net"),
            (f"{second.id}-1", "c@example.net"),
            (f"{second.id}-2", "d@example.net"),
        ]
    )
    jobs = claim(engine)
    assert sorted(len(job.recipients) for job in jobs) == [2, 2]


def test_only_one_new_recipient_has_the_id_of_its_submission(engine: Engine) -> None:
    first = request(engine, "a@example.net", digest=None)
    take(engine, first)
    second = request(engine, "a@example.net", "b@example.net", digest=None)
    assert take(engine, second).recipients == ((first.id, "a@example.net"), (second.id, "b@example.net"))
    assert queued(engine) == [(first.id, "a@example.net"), (second.id, "b@example.net")]


def test_a_recipient_that_is_named_twice_is_taken_once(engine: Engine) -> None:
    taken = request(engine, "a@example.net", "a@EXAMPLE.net", "b@example.net", "a@example.net", digest=None)
    assert [id[-1] for id, _ in take(engine, taken).recipients] == ["1", "1", "2", "1"]
    assert [address for _, address in queued(engine)] == ["a@example.net", "b@example.net"]


def test_local_parts_differ_by_their_case(engine: Engine) -> None:
    """RFC 5321 section 2.4: whoever took them for the same would lose mail."""
    addresses = ("joe@example.net", "Joe@example.net", "ä@example.net", "Ä@example.net", '"a@b"@example.net')
    first = request(engine, *addresses[1:], digest=None)
    assert not take(engine, first).again
    second = request(engine, *addresses, digest=None)
    assert take(engine, second).recipients[0] == (second.id, "joe@example.net")
    assert sorted(address for _, address in queued(engine)) == sorted(addresses)


def test_a_domain_is_the_same_however_it_is_written(engine: Engine) -> None:
    def to(address: str) -> Submission:
        submission = request(engine, digest=None)
        recipients = (Recipient(address, "xn--bcher-kva.example"),)
        return submission._replace(envelope=submission.envelope._replace(recipients=recipients))

    first = to("joe@bücher.example")
    assert take(engine, first).id == first.id
    assert take(engine, to("joe@XN--Bcher-kva.example")).id == first.id


def test_the_two_forms_share_no_keys(engine: Engine) -> None:
    whole, each = request(engine, "a@example.net"), request(engine, "a@example.net", digest=None)
    assert take(engine, whole).id == whole.id
    assert take(engine, each).id == each.id
    assert take(engine, request(engine, "a@example.net")).id == whole.id
    assert take(engine, request(engine, "a@example.net", digest=None)).id == each.id


# --- many at once ---


def together(engine: Engine, submissions: list[Submission]) -> list[Taken | IdempotencyConflict]:
    """What many are told who come at the same moment."""
    results: list[Any] = []
    waiting: list[Deferred[Any]] = [engine.store.queue.enqueue(each) for each in submissions]
    for each in waiting:
        try:
            results.append(engine.wait(each))
        except IdempotencyConflict as conflict:
            results.append(conflict)
    return results


@pytest.mark.parametrize("data", [b"small", LARGE])
def test_of_equal_requests_at_once_one_is_taken(engine: Engine, data: bytes) -> None:
    requests = [request(engine, "a@example.net", "b@example.net", data=data) for _ in range(30)]
    results = together(engine, requests)
    assert len({each.id for each in results if isinstance(each, Taken)}) == 1
    assert [isinstance(each, Taken) and each.again for each in results].count(False) == 1
    assert len(queued(engine)) == 2
    wait_until_files_are(engine, 1 if data is LARGE else 0)


def test_who_conflicts_takes_no_neighbour_along(engine: Engine) -> None:
    requests = [request(engine, digest=digest) for digest in (b"1", b"2", b"1", b"2")]
    plain = [make(engine), make(engine)]
    results = together(engine, [plain[0], *requests, plain[1]])
    assert results[0] is None
    assert results[5] is None
    first, *others = results[1:5]
    assert isinstance(first, Taken)
    assert not first.again
    assert [isinstance(each, IdempotencyConflict) for each in others] == [True, False, True]
    assert len(queued(engine)) == 3


def test_transactions_of_one_message_overlap(engine: Engine) -> None:
    parts = [
        request(engine, *[f"{number}@example.net" for number in range(start, start + 6)], digest=None)
        for start in range(0, 20, 3)
    ]
    told = [{address: id for id, address in each.recipients} for each in together(engine, parts)]  # type: ignore[union-attr]
    rows = {address: id for id, address in queued(engine)}
    assert len(rows) == len(queued(engine)) == 24
    for part in told:
        assert part.items() <= rows.items()
