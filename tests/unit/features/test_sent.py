"""What went to a recipient, made once more."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute, fail, succeed
from zope.interface.verify import verifyObject

from smtpeter.errors import FeatureMissing
from smtpeter.features.sent import SentMessages
from smtpeter.interfaces import ISentMessages
from smtpeter.model.event import EventKind, JournalEntry
from smtpeter.model.feature import PlacedSlot, Slot
from tests.fakes.features import FakeCatalog, Filler
from tests.fakes.jobs import make_content
from tests.fakes.reading_back import NOW, make_submission

PLAIN = b"Subject: x\r\n\r\nhello\r\n"
LATIN = b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\ncaf\xe9\r\n"
PREPARED = b"Subject: x\r\n\r\n/######/\r\n"
SLOTS = (PlacedSlot(15, Slot("links", "k-6", 6)),)


class Store:
    """As much of queue, content and journal as is asked."""

    def __init__(self, prepared: Any = None, *events: tuple[int, dict[str, Any]]) -> None:
        self._prepared = prepared
        self._events = events

    def prepared(self, submission: str) -> Any:
        return succeed(self._prepared)

    def read(self, submission: str, content: Any) -> Any:
        return fail(KeyError(submission)) if content.data is None else succeed(content.data)

    def of_submission(self, submission: str, number: int | None) -> Any:
        return succeed(
            [
                JournalEntry(1, submission, each, EventKind.DELIVERY, NOW, data)
                for each, data in self._events
                if number in (None, each)
            ]
        )


class FakeSigner:
    """Signs mail of account 7 with the length of what it is given."""

    def wants(self, account: int | None, options: Any) -> bool:
        return account == 7

    def sign(self, submission: str, account: int | None, options: Any, content: bytes) -> bytes:
        return f"S: {submission} {account} {len(content)}\r\n".encode()


def sent(store: Store, in_thread: Any = execute, signer: Any = None, **features: Any) -> SentMessages:
    return SentMessages(store, store, store, lambda: FakeCatalog(**features), in_thread, signer)  # type: ignore[arg-type,return-value]


def octets(of: SentMessages, submission: Any, number: int | None) -> bytes:
    results: list[Any] = []
    of.octets(submission, number).addBoth(results.append)
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]  # type: ignore[no-any-return]


def test_the_interface_is_provided() -> None:
    assert verifyObject(ISentMessages, sent(Store()))


def test_a_message_without_features_went_as_it_came() -> None:
    assert octets(sent(Store()), make_submission(data=PLAIN), 1) == PLAIN


def test_each_recipient_had_his_own_copy() -> None:
    of = sent(Store((make_content(PREPARED), SLOTS)), links=Filler())
    submission = make_submission(recipients=2)
    assert octets(of, submission, 1) == b"Subject: x\r\n\r\n/k-6_1_/\r\n"
    assert octets(of, submission, 2) == b"Subject: x\r\n\r\n/k-6_2_/\r\n"
    assert octets(of, submission, None) == PREPARED


def test_it_was_converted_where_its_receiver_needed_that() -> None:
    went = ((1, {"state": "end", "converted": "7bit"}), (2, {"state": "end"}))
    of = sent(Store(None, *went))
    submission = make_submission(recipients=2, data=LATIN)
    assert octets(of, submission, 1).endswith(b"\r\n\r\ncaf=E9\r\n")
    assert octets(of, submission, 2) == octets(of, submission, None) == LATIN


def test_only_the_last_attempt_tells_in_which_form_it_went() -> None:
    went = ((1, {"state": "end", "converted": "7bit"}), (1, {"state": "end"}), (1, {"state": "rcpt"}))
    assert octets(sent(Store(None, *went)), make_submission(data=LATIN), 1) == LATIN


def test_the_catalog_is_not_asked_for_where_nothing_is_to_be_filled() -> None:
    def missing() -> Any:
        raise AssertionError("no feature is needed")

    store = Store()
    of = SentMessages(store, store, store, missing, execute)  # type: ignore[arg-type]
    assert octets(of, make_submission(data=PLAIN), 1) == PLAIN


def test_a_feature_that_is_gone_leaves_no_copy_with_holes() -> None:
    with pytest.raises(FeatureMissing):
        octets(sent(Store((make_content(PREPARED), SLOTS))), make_submission(), 1)


def test_content_that_is_not_kept_any_more() -> None:
    submission = make_submission()
    with pytest.raises(KeyError):
        octets(sent(Store()), submission._replace(content=submission.content._replace(data=None)), 1)


def test_a_copy_is_made_in_a_thread() -> None:
    waiting: list[Any] = []
    done: Deferred[bytes] = Deferred()

    def in_thread(function: Any) -> Deferred[bytes]:
        waiting.append(function)
        return done

    answer = sent(Store(), in_thread).octets(make_submission(data=PLAIN), 1)
    assert not answer.called
    done.callback(waiting[0]())
    assert answer.result == PLAIN  # type: ignore[attr-defined]


def test_signatures_are_made_again_of_what_was_filled_and_converted() -> None:
    signer = FakeSigner()
    of = sent(Store((make_content(PREPARED), SLOTS)), links=Filler(), signer=signer)
    submission = make_submission(recipients=2, account=7)
    top = f"S: {submission.id} 7 {len(PREPARED)}\r\n".encode()
    assert octets(of, submission, 2) == top + b"Subject: x\r\n\r\n/k-6_2_/\r\n"
    went = (1, {"state": "end", "converted": "7bit"})
    converted = octets(sent(Store(None, went)), make_submission(data=LATIN, account=7), 1)
    signed = octets(sent(Store(None, went), signer=signer), make_submission(data=LATIN, account=7), 1)
    assert signed == f"S: {submission.id} 7 {len(converted)}\r\n".encode() + converted


def test_what_was_not_signed_is_shown_without_signatures() -> None:
    def shown(number: int | None = 1, **changes: Any) -> bytes:
        submission = make_submission(data=PLAIN, account=7)._replace(**changes)
        return octets(sent(Store(), signer=FakeSigner()), submission, number)

    assert shown() != PLAIN
    assert shown(account=8) == PLAIN, "of others"
    assert shown(number=None) == PLAIN, "of nobody's copy"
    assert shown(prepare=True) == PLAIN, "and what is not prepared yet"
