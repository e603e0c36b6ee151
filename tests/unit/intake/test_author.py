"""Mail has to be from a domain of its account, where that is wanted: the same by SMTP and by HTTPS."""

from __future__ import annotations

import pytest

from smtpeter.errors import Refusal
from smtpeter.intake.author import header_of, refuse_foreign_author
from smtpeter.intake.message import MessagePolicy
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.submission import Submission
from tests.fakes.domains import make_domains
from tests.fakes.intake import ALICE
from tests.unit.intake.test_message import NOW, ORIGIN, FakeSubmitter, HeaderRoom, IncomingMessage, Spool
from tests.unit.intake.test_whole import Door, result_of

DOMAINS = make_domains("own.example", account=ALICE.number)
POLICY = MessagePolicy("mx.test", 100_000, 3, 3600.0, sender_domains=DOMAINS)
REST = b"Message-ID: <m@x>\r\nDate: today\r\n\r\nhello\r\n"
GOOD = [
    b"From: a@own.example\r\n",
    b"From: Ann <a@shop.own.example>, b@own.example\r\n",
    b'from : "eve@evil.example" <a@OWN.example>\r\n',
]
BAD = [
    (b"From: a@other.example\r\n", "may not send from other.example"),
    (b"From: a@own.example, eve@evil.example\r\n", "may not send from evil.example"),
    (b"From: a@own.example.evil.example\r\n", "may not send from own.example.evil.example"),
    (b"From: a@example\r\n", "may not send from example"),
    ("From: a@bücher.example\r\n".encode(), "may not send from xn--bcher-kva.example"),
    (b"", "there is no From field"),
    (b"From:\r\n", "no address in the From field"),
    (b"From: a@own.example\r\nFrom: eve@evil.example\r\n", "more than one From field"),
    (b"From: Group: a@own.example;\r\n", "write it as name@example.com"),
    (b"From: a@own.example\r\nno field\r\n", "is no field"),
    (b"From: " + b"x" * 9000 + b" <a@own.example>\r\n", "too long"),
]


def by_smtp(content: bytes, policy: MessagePolicy = POLICY) -> Submission:
    envelope = Envelope("s@x", (Recipient("a@y", "y"),))
    message = IncomingMessage("id1", NOW, envelope, ORIGIN, FakeSubmitter(), Spool(), policy, HeaderRoom())  # type: ignore[arg-type]
    message.write(content)
    results: list[Submission] = []
    message.finish().addCallback(results.append)
    return results[0]


def door() -> Door:
    made = Door()
    made.whole._policy = made.whole._policy._replace(sender_domains=DOMAINS)
    return made


@pytest.mark.parametrize("field", GOOD)
def test_mail_from_a_domain_of_the_account_is_taken(field: bytes) -> None:
    assert by_smtp(field + REST).id == "id1"
    assert door().taken(field + REST).account == ALICE.number


@pytest.mark.parametrize(("field", "why"), BAD)
def test_attack_other_mail_is_refused_at_every_door(field: bytes, why: str) -> None:
    with pytest.raises(Refusal) as refused:
        by_smtp(field + REST)
    assert str(refused.value.reply).startswith("550 5.7.1 ")
    assert why in refused.value.reply.text
    with pytest.raises(Refusal) as refused_too:
        door().take(field + REST)
    assert refused_too.value.reply == refused.value.reply


def test_without_the_rule_everybody_may_be_anybody() -> None:
    for field, _ in BAD:
        assert by_smtp(field + REST, POLICY._replace(sender_domains=None)).id == "id1"


def test_attack_a_body_without_a_header() -> None:
    with pytest.raises(Refusal, match="no From field"):
        by_smtp(b"\r\nFrom: a@own.example\r\n\r\n")
    with pytest.raises(Refusal, match="no From field"):
        by_smtp(b"hello\r\nFrom: a@own.example\r\n")


def test_a_domain_may_be_somebody_elses_by_now() -> None:
    with pytest.raises(Refusal, match=r"may not send from own\.example"):
        refuse_foreign_author(b"From: a@own.example\r\n", 8, DOMAINS)


def test_attack_the_same_message_sent_again() -> None:
    """What was taken before the rule, or before a domain was somebody else's, is looked at again."""
    again = door()
    for field, is_own in ((GOOD[0], True), (BAD[0][0], False)):
        submission = door_without_rule().taken(field + REST)
        again.content.kept[submission.id] = submission.content.data
        results: list[object] = []
        again.whole.again(submission, [1], again.submitter).addBoth(results.append)  # type: ignore[arg-type]
        while not results:
            again.timers.advance(0)
        if is_own:
            assert len(again.intake.submissions) == 1
        else:
            with pytest.raises(Refusal, match=r"may not send from other\.example"):
                result_of(results)
    assert len(again.intake.submissions) == 1
    assert all(spool.aborted for spool in again.content.spools[1:])


def door_without_rule() -> Door:
    return Door()


def test_the_header_of_a_message() -> None:
    assert header_of(b"A: b\r\n\r\nbody") == header_of(b"A: b\r\n") == b"A: b\r\n"
    assert header_of(b"\r\nA: b\r\n") == b""
