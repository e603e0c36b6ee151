"""Whole messages on their way into a real store, and out of it and in again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from smtpeter.errors import IdempotencyConflict, Refusal
from smtpeter.intake.heading import HeaderRoom
from smtpeter.intake.message import MessagePolicy
from smtpeter.intake.submit import Intake
from smtpeter.intake.whole import WholeIntake, WholeLimits
from smtpeter.model.account import AccountState
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.event import format_time
from smtpeter.model.submission import Idempotency, Taken, WholeMessage
from tests.contract.engines import SMALL, START, Engine
from tests.fakes.intake import FakeMetrics, FakeSubmitter

RECIPIENTS = tuple(Recipient(f"{name}@y.test", "y.test", "SUCCESS,DELAY", "rfc822;x") for name in "abc")
ENVELOPE = Envelope("s@x.test", RECIPIENTS, "7BIT", False, "HDRS", "envid")
HEADER = b"Subject: hi\r\nX-SMTPeter-Tags: t\r\n\r\n"


class Gate:
    refusal = None


class AtOnce(Clock):
    """Whoever asks for a turn has it."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        call = super().callLater(delay, callable, *args, **kw)
        self.advance(delay)
        return call


class Door:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        account = engine.wait(engine.store.accounts.add_account("a@x.test", "", False, AccountState.APPROVED, ""))
        self.submitter: Any = FakeSubmitter()
        self.submitter.account = account
        self.woken: list[set[str]] = []
        self.whole = WholeIntake(
            intake=Intake(engine.store.queue, lambda domains: self.woken.append(set(domains)), FakeMetrics()),
            queue=engine.store.queue,
            content=engine.store.content,
            gate=Gate(),  # type: ignore[arg-type]
            clock=engine.clock,
            timers=AtOnce(),
            policy=MessagePolicy("mx.test", 10_000, 3, 3600.0),
            limits=WholeLimits(10_000_000, 1000),
            header_room=HeaderRoom(),
        )

    def take(self, body: bytes, key: Idempotency | None = None, **options: str) -> Taken:
        message = WholeMessage(ENVELOPE, [HEADER, body], options, "192.0.2.1", key)
        return self.engine.wait(self.whole.take(message, self.submitter))

    def content_of(self, id: str) -> bytes:
        store = self.engine.store
        return self.engine.wait(store.content.read(id, self.engine.wait(store.queue.submission(id)).content))

    def wait_until_files_are(self, count: int) -> None:
        for _ in range(100):
            files = [path for path in (self.engine.directory / "content").rglob("*") if path.is_file()]
            if len(files) == count:
                return
            self.engine.wait(self.engine.store.queue.depths())  # meanwhile others go on
            time.sleep(0.01)
        raise AssertionError(files)


@pytest.fixture
def door(engine: Engine) -> Door:
    return Door(engine)


SIZES = pytest.mark.parametrize("body", [b"hello\r\n", (b"x" * 998 + b"\r\n") * 200], ids=["small", "large"])


@SIZES
def test_the_same_message_again_is_what_was_kept_under_new_ids(door: Door, body: bytes) -> None:
    first = door.take(body)
    assert [address for _, address in first.recipients] == ["a@y.test", "b@y.test", "c@y.test"]
    submission = door.engine.wait(door.engine.store.queue.submission(first.id))
    door.engine.clock.now += 1000
    second = door.engine.wait(door.whole.again(submission, {1, 3}, door.submitter))
    assert second == Taken(second.id, ((f"{second.id}-1", "a@y.test"), (f"{second.id}-2", "c@y.test")))
    kept = door.engine.wait(door.engine.store.queue.submission(second.id))
    assert door.content_of(second.id) == door.content_of(first.id)
    assert door.content_of(first.id).endswith(b"Subject: hi\r\n\r\n" + body)
    assert kept.envelope == ENVELOPE._replace(recipients=(RECIPIENTS[0], RECIPIENTS[2]))
    assert (kept.time, kept.due, kept.expires) == (START + 1000, START + 1000, START + 4600)
    assert (kept.tags, kept.subject, kept.channel) == (("t",), "hi", "rest")


@SIZES
def test_a_request_that_is_made_again_is_answered_as_the_first_time_and_leaves_nothing_more(
    door: Door, body: bytes
) -> None:
    first = door.take(body, Idempotency("k", b"digest"))
    assert not first.again
    assert door.take(body, Idempotency("k", b"digest")) == first._replace(again=True)
    with pytest.raises(IdempotencyConflict):
        door.take(body + b"more\r\n", Idempotency("k", b"other"))
    assert door.woken == [{"y.test"}]
    door.wait_until_files_are(1 if len(body) > SMALL else 0)


def test_a_request_that_came_too_late_the_second_time_was_taken_all_the_same(door: Door) -> None:
    key, last = Idempotency("k", b"digest"), format_time(door.engine.clock.now + 4)
    first = door.take(b"hello\r\n", key, maxdelivertime=last)
    door.engine.clock.now += 5
    assert door.take(b"hello\r\n", key, maxdelivertime=last) == first._replace(again=True)
    for other in (None, Idempotency("other", b"digest")):
        with pytest.raises(Refusal, match="this time is over"):
            door.take(b"hello\r\n", other, maxdelivertime=last)


def test_content_that_is_gone_cannot_be_taken_again(door: Door) -> None:
    first = door.take(b"hello\r\n")
    submission = door.engine.wait(door.engine.store.queue.submission(first.id))
    with pytest.raises(KeyError):
        door.engine.wait(door.whole.again(submission._replace(id="0" * 26), {1}, door.submitter))
