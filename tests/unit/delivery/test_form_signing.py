"""Signed forms: last of all, in a thread, and never left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute, succeed
from twisted.logger import capturedLogs
from zope.interface import implementer

from smtpeter.delivery.form import SIGNED_HERE, FormMaker, Impersonal
from smtpeter.delivery.waiting import Work
from smtpeter.errors import FeatureMissing
from smtpeter.features.personal import Personalizer
from smtpeter.interfaces import ISigner
from smtpeter.mime.convert import convert
from smtpeter.model.delivery import Job, OutcomeKind
from smtpeter.model.feature import Options, Slot
from tests.fakes.features import FakeCatalog, Filler, make_personal_job
from tests.fakes.jobs import make_job

LATIN = b"Subject: x\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\ncaf\xe9\r\n"
SLOT = Slot("links", "k-6", 6)


@implementer(ISigner)
class FakeSigner:
    """Puts a number on top; ``fails`` are the numbers at which it fails."""

    def __init__(self, wanted: bool = True, fails: tuple[int, ...] = (), quick: bool = True) -> None:
        self.wanted, self.fails, self.quick = wanted, fails, quick
        self.signed: list[tuple[str, int | None, Options, bytes]] = []
        self.threaded = False

    def wants(self, account: int | None, options: Options) -> bool:
        return self.wanted

    def is_quick(self, account: int | None, options: Options) -> bool:
        return self.quick

    def sign(self, submission: str, account: int | None, options: Options, content: bytes) -> bytes:
        assert self.threaded or (self.quick and len(content) <= SIGNED_HERE), "it would hold the reactor"
        self.signed.append((submission, account, options, content))
        if len(self.signed) in self.fails:
            raise FeatureMissing("no key")
        return b"S: %d\r\n" % len(self.signed)


class Content:
    def read(self, submission: str, content: Any) -> Deferred[bytes]:
        return succeed(content.data)


class Forms:
    """A maker of forms whose threads are at once, and a job."""

    def __init__(self, job: Job, signer: FakeSigner) -> None:
        self.signer = signer
        self.work = Work(job)
        personalizer = Personalizer(FakeCatalog(links=Filler())) if job.slots else Impersonal()  # type: ignore[arg-type]
        self.maker = FormMaker(Content(), personalizer, self.in_thread, signer)  # type: ignore[arg-type]

    def in_thread(self, function: Callable[[], Any]) -> Deferred[Any]:
        self.signer.threaded = True
        try:
            return execute(function)
        finally:
            self.signer.threaded = False

    def make(self, eight_bit: bool = True) -> bytes | None:
        while self.maker.make(self.work, eight_bit) is not None:
            pass
        return None if self.work.form is None or not self.work.left else self.work.form.content


def test_the_signature_is_on_top_of_what_goes() -> None:
    signer = FakeSigner()
    job = make_job(data=LATIN, options=(("a", "true"),))
    assert Forms(job, signer).make() == b"S: 1\r\n" + LATIN
    assert signer.signed == [("s1", 7, {"a": "true"}, LATIN)]


def test_it_is_made_once_for_all_recipients_and_transactions() -> None:
    signer = FakeSigner()
    forms = Forms(make_job(3, data=LATIN), signer)
    assert forms.make() == forms.make() == b"S: 1\r\n" + LATIN
    forms.work.take(1)
    assert forms.make() == b"S: 1\r\n" + LATIN
    assert len(signer.signed) == 1


def test_it_is_of_the_octets_as_they_were_converted() -> None:
    signer = FakeSigner()
    forms = Forms(make_job(data=LATIN), signer)
    seven_bit = convert(LATIN, eight_bit=False)
    assert seven_bit != LATIN
    assert forms.make(eight_bit=False) == b"S: 1\r\n" + seven_bit
    assert forms.work.form is not None and forms.work.form.seven_bit
    assert forms.make(eight_bit=True) == b"S: 2\r\n" + LATIN
    assert not forms.work.form.seven_bit
    assert [content for _, _, _, content in signer.signed] == [seven_bit, LATIN]


def test_each_personal_copy_has_its_own_made_of_what_was_filled() -> None:
    signer = FakeSigner()
    forms = Forms(make_personal_job([b"Subject: x\r\n\r\n", SLOT, b"\r\n"], 2), signer)
    assert forms.make() == b"S: 1\r\nSubject: x\r\n\r\nk-6_1_\r\n"
    forms.work.take(1)
    assert forms.make() == b"S: 2\r\nSubject: x\r\n\r\nk-6_2_\r\n"


def test_where_nobody_signs_no_thread_is_needed() -> None:
    forms = Forms(make_job(data=LATIN), FakeSigner(wanted=False))
    forms.in_thread = lambda function: pytest.fail("a thread")  # type: ignore[assignment,method-assign]
    forms.maker = FormMaker(Content(), Impersonal(), forms.in_thread, forms.signer)  # type: ignore[arg-type]
    assert forms.make() == LATIN


def test_what_cannot_be_signed_waits() -> None:
    forms = Forms(make_job(3, data=LATIN), FakeSigner(fails=(1,)))
    with capturedLogs() as logs:
        assert forms.make() is None
    assert sorted(forms.work.outcomes) == [1, 2, 3]
    assert {(each.kind, each.enhanced) for each in forms.work.outcomes.values()} == {(OutcomeKind.DEFERRED, "4.3.0")}
    assert [each["submission"] for each in logs] == ["s1"]


def test_copies_that_were_sent_before_stay_sent() -> None:
    forms = Forms(make_personal_job([b"Subject: x\r\n\r\n", SLOT, b"\r\n"], 3), FakeSigner(fails=(2,)))
    assert forms.make() is not None
    forms.work.take(1)
    with capturedLogs():
        assert forms.make() is None
    assert sorted(forms.work.outcomes) == [2, 3]


def test_what_takes_long_to_sign_is_signed_in_a_thread() -> None:
    signer = FakeSigner()
    large = b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * (SIGNED_HERE // 72 + 1)
    forms = Forms(make_job(data=large), signer)
    assert forms.make() == b"S: 1\r\n" + large


def test_so_is_what_is_small_where_the_key_is_long() -> None:
    signer = FakeSigner(quick=False)
    assert Forms(make_job(data=LATIN), signer).make() == b"S: 1\r\n" + LATIN


def test_what_is_small_needs_no_thread_where_the_key_is_short() -> None:
    forms = Forms(make_job(data=LATIN), FakeSigner())
    forms.maker = FormMaker(Content(), Impersonal(), lambda function: pytest.fail("a thread"), forms.signer)  # type: ignore[arg-type]
    assert forms.make() == b"S: 1\r\n" + LATIN
