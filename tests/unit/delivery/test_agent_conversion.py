"""What goes to a receiver depends on what that very connection offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from smtpeter.model.delivery import OutcomeKind
from tests.fakes.agent import Bench, kinds
from tests.fakes.jobs import make_job
from tests.fakes.receiver import DROP, EHLO, FakeReceiver

DELIVERED, DEFERRED, FAILED = OutcomeKind.DELIVERED, OutcomeKind.DEFERRED, OutcomeKind.FAILED

HEADER = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
EIGHT_BIT = HEADER + "\r\nUn café noir.\r\n".encode()
SEVEN_BIT = HEADER + b"Content-Transfer-Encoding: quoted-printable\r\n\r\nUn caf=C3=A9 noir.\r\n"
LONG_LINE = HEADER + b"\r\n" + b"word " * 250 + b"\r\n"
SIGNED = b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n" + b"caf\xe9 " * 250 + b"\r\n--b--\r\n"
POOR = "250-relay.example\r\n250-PIPELINING\r\n250 SIZE 50000000"


def poor(**script: Any) -> FakeReceiver:
    return FakeReceiver(ehlo=POOR, **script)


class Threads:
    """Calls that were put off, until they are made."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def __call__(self, function: Callable[[], Any]) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self.calls.append(lambda: result.callback(function()))
        return result

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def test_a_receiver_without_8bitmime_gets_7_bits_and_is_told_the_size_of_what_it_gets() -> None:
    bench = Bench(poor)
    assert kinds(bench.deliver(make_job(data=EIGHT_BIT, body="8BITMIME"))[0]) == [DELIVERED]
    assert [content for _, _, content in bench.network.messages] == [SEVEN_BIT]
    assert bench.network.wires[0].receiver.commands[1] == f"MAIL FROM:<sender@example.org> SIZE={len(SEVEN_BIT)}"


def test_a_receiver_that_knows_only_helo_gets_7_bits() -> None:
    bench = Bench(lambda: FakeReceiver(ehlo="502 what?"))
    assert kinds(bench.deliver(make_job(data=EIGHT_BIT, body="8BITMIME"))[0]) == [DELIVERED]
    assert [content for _, _, content in bench.network.messages] == [SEVEN_BIT]


def test_the_outcome_tells_of_the_conversion() -> None:
    receivers = iter([poor(), FakeReceiver(), poor(), poor(rcpt="550 no")])
    told = [
        Bench(lambda: next(receivers)).deliver(make_job(data=data))[0][1].seven_bit
        for data in (EIGHT_BIT, EIGHT_BIT, b"Subject: x\r\n\r\nhello\r\n", EIGHT_BIT)
    ]
    assert told == [True, False, False, False]


def test_what_needs_no_conversion_goes_as_it_is() -> None:
    bench = Bench()
    bench.deliver(make_job(data=EIGHT_BIT))
    assert [content for _, _, content in bench.network.messages] == [EIGHT_BIT]


def test_a_long_line_goes_to_nobody() -> None:
    for receiver in (FakeReceiver, poor):
        bench = Bench(receiver)
        bench.deliver(make_job(data=LONG_LINE))
        ((_, _, content),) = bench.network.messages
        assert max(map(len, content.split(b"\r\n"))) <= 998
        assert content.startswith(HEADER + b"Content-Transfer-Encoding: quoted-printable\r\n")


def test_what_is_signed_goes_as_it_is_or_not_at_all() -> None:
    bench = Bench()
    assert kinds(bench.deliver(make_job(data=SIGNED))[0]) == [DELIVERED]
    assert [content for _, _, content in bench.network.messages] == [SIGNED]
    bench = Bench(poor)
    (outcomes,) = bench.deliver(make_job(2, data=SIGNED))
    assert [(each.kind, each.code, each.enhanced) for each in outcomes.values()] == [(FAILED, 554, "5.6.3")] * 2
    assert not bench.network.messages


@pytest.mark.parametrize(
    ("first", "second", "content"), [(EHLO, POOR, SEVEN_BIT), (POOR, EHLO, EIGHT_BIT)], ids=["worse", "better"]
)
def test_it_is_decided_anew_when_8bitmime_changes_between_ehlos(first: str, second: str, content: bytes) -> None:
    # The first connection breaks while it is idle; what it was about to carry goes by another one.
    receivers = iter([FakeReceiver(ehlo=first, mail=["250 ok", DROP]), FakeReceiver(ehlo=second)])
    bench = Bench(lambda: next(receivers))
    bench.deliver()
    assert kinds(bench.deliver(make_job(data=EIGHT_BIT))[0]) == [DELIVERED]
    assert bench.network.messages[-1][2] == content
    assert ("BODY=8BITMIME" in bench.network.wires[1].receiver.commands[1]) is (content is EIGHT_BIT)


def test_a_message_over_the_receivers_limit_fails_without_being_sent() -> None:
    bench = Bench(lambda: FakeReceiver(ehlo="250-relay.example\r\n250 SIZE 100"))
    (outcomes,) = bench.deliver(make_job(data=EIGHT_BIT))
    assert (outcomes[1].kind, outcomes[1].code, outcomes[1].enhanced) == (FAILED, 552, "5.3.4")
    # The connection is good for what is smaller.
    assert kinds(bench.deliver()[0]) == [DELIVERED]
    assert bench.network.tried == 1
    assert [command[:4] for command in bench.network.wires[0].receiver.commands[1:]] == ["MAIL", "RCPT", "DATA"]


def test_the_limit_is_for_the_message_as_it_would_go() -> None:
    size = len(SEVEN_BIT)
    for limit, kind in ((size - 1, FAILED), (size, DELIVERED)):
        receiver = FakeReceiver(ehlo=f"250-relay.example\r\n250 SIZE {limit}")
        assert kinds(Bench(lambda receiver=receiver: receiver).deliver(make_job(data=EIGHT_BIT))[0]) == [kind]  # type: ignore


# --- in a thread ---

LARGE = HEADER + b"\r\n" + "Un café noir.\r\n".encode() * 20_000


def test_what_is_small_and_needs_nothing_waits_for_no_thread() -> None:
    threads = Threads()
    bench = Bench(in_thread=threads)
    assert kinds(bench.deliver(make_job(data=EIGHT_BIT))[0]) == [DELIVERED]
    bench.start(make_job(data=LONG_LINE), make_job(data=LARGE))
    bench.advance(0.5, 0.5)  # until another connection is worth it
    assert len(threads.calls) == 2


def test_content_is_converted_in_a_thread() -> None:
    threads = Threads()
    bench = Bench(poor, in_thread=threads)
    (fired,) = bench.start(make_job(data=LARGE))
    assert not fired and len(threads.calls) == 1
    threads.run()
    bench.network.move()
    assert kinds(fired[0]) == [DELIVERED]
    assert bench.network.messages[0][2].endswith(b"\r\n\r\n" + b"Un caf=C3=A9 noir.\r\n" * 20_000)


def test_it_is_converted_once_for_all_transactions() -> None:
    threads = Threads()
    bench = Bench(poor, in_thread=threads)
    (fired,) = bench.start(make_job(250, data=LARGE))
    threads.run()
    bench.network.move()
    assert kinds(fired[0]) == [DELIVERED] * 250
    assert not threads.calls


def test_a_connection_lost_during_conversion_is_replaced_and_what_the_new_one_takes_is_sent() -> None:
    receivers = iter([poor(), FakeReceiver()])
    threads = Threads()
    bench = Bench(lambda: next(receivers), connections=1, in_thread=threads)
    (fired,) = bench.start(make_job(data=LARGE))
    bench.network.wires[0].lose(Exception("gone"))
    threads.run()
    bench.network.move()
    threads.run()
    bench.network.move()
    assert kinds(fired[0]) == [DELIVERED]
    assert [content for _, _, content in bench.network.messages] == [LARGE]


def test_stopping_during_conversion() -> None:
    threads = Threads()
    bench = Bench(poor, in_thread=threads, stop_timeout=20.0)
    (fired,) = bench.start(make_job(data=LARGE))
    stopped: list[None] = []
    bench.agent.stop().addCallback(stopped.append)
    bench.advance(21.0)
    threads.run()
    bench.network.move()
    assert kinds(fired[0]) == [OutcomeKind.NOT_TRIED]
    assert stopped == [None]


def test_a_conversion_that_fails_is_a_delay() -> None:
    bench = Bench(poor, in_thread=lambda function: fail(MemoryError()))
    (fired,) = bench.start(make_job(data=LARGE))
    assert kinds(fired[0]) == [DEFERRED]
