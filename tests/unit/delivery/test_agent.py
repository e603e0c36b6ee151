"""The relay's agent over connections in memory, with a clock that stands until it is moved."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from zope.interface.verify import verifyObject

from smtpeter.errors import ContentCorrupt, StorageUnavailable
from smtpeter.interfaces import IDeliveryAgent
from smtpeter.model.delivery import OutcomeKind
from smtpeter.model.route import TlsPolicy
from tests.fakes.agent import Bench, kinds
from tests.fakes.jobs import CONTENT, FakeQueue, make_job
from tests.fakes.receiver import DROP, EHLO, FakeReceiver

DELIVERED, DEFERRED, HOLD = OutcomeKind.DELIVERED, OutcomeKind.DEFERRED, OutcomeKind.HOLD
IN_DOUBT, NOT_TRIED = OutcomeKind.IN_DOUBT, OutcomeKind.NOT_TRIED


def test_the_interface_is_provided() -> None:
    assert verifyObject(IDeliveryAgent, Bench().agent)


def test_jobs_share_one_connection() -> None:
    bench = Bench(connections=1)
    outcomes = bench.deliver(*(make_job(submission=f"s{number}") for number in range(5)))
    assert [kinds(each) for each in outcomes] == [[DELIVERED]] * 5
    assert bench.network.tried == 1
    assert len(bench.network.messages) == 5
    assert outcomes[0][1].remote == "192.0.2.25"
    assert outcomes[0][1].local == "192.0.2.1"
    assert bench.network.wires[0].no_delay
    assert bench.deliver()
    assert bench.network.tried == 1


def test_as_many_connections_as_allowed() -> None:
    bench = Bench(lambda: FakeReceiver(end=None), connections=3)
    assert bench.capacity() == 3
    bench.start(make_job())
    assert bench.capacity() == 2
    bench.start(*[make_job()] * 5)
    assert bench.capacity() == 0
    assert bench.network.tried == bench.network.open == 3


def test_a_connection_is_left_after_its_share_of_messages() -> None:
    bench = Bench(connections=1, messages=2)
    bench.deliver(*[make_job()] * 5)
    assert bench.network.tried == 3
    assert bench.network.wires[0].receiver.commands[-1] == "QUIT"


def test_an_idle_connection_leaves_politely() -> None:
    bench = Bench()
    bench.deliver()
    bench.advance(*[5.0] * 5)
    assert bench.network.open == 1
    bench.advance(5.0)
    assert bench.network.open == 0
    assert bench.network.wires[0].receiver.commands[-1] == "QUIT"
    assert not bench.clock.getDelayedCalls()
    assert kinds(bench.deliver()[0]) == [DELIVERED]


def test_a_receiver_that_does_not_answer_quit_is_cut() -> None:
    bench = Bench(lambda: FakeReceiver(quit=None))
    bench.deliver()
    bench.advance(*[5.0] * 8)
    assert bench.network.open == 0
    assert bench.network.wires[0].aborted


def test_many_recipients_go_in_several_transactions() -> None:
    bench = Bench()
    (outcomes,) = bench.deliver(make_job(250))
    assert kinds(outcomes) == [DELIVERED] * 250
    assert [len(recipients) for _, recipients, _ in bench.network.messages] == [100, 100, 50]
    assert bench.network.tried == 1


def test_too_many_recipients_are_sent_again_at_once() -> None:
    full = "452 4.5.3 Too many recipients"
    bench = Bench(lambda: FakeReceiver(rcpt=["250 ok", "250 ok", full, full, full, "250 ok", "250 ok", full, "250 ok"]))
    (outcomes,) = bench.deliver(make_job(5))
    assert kinds(outcomes) == [DELIVERED] * 5
    assert [len(recipients) for _, recipients, _ in bench.network.messages] == [2, 2, 1]


def test_a_connection_that_died_while_idle_costs_nothing() -> None:
    receivers = iter([FakeReceiver(mail=["250 ok", DROP]), FakeReceiver()])
    bench = Bench(lambda: next(receivers))
    bench.deliver()
    assert kinds(bench.deliver()[0]) == [DELIVERED]
    assert bench.network.tried == 2


def test_large_content_waits_for_the_receiver() -> None:
    bench = Bench()
    data = b"x" * 998 + b"\r\n"
    job = make_job(data=data * 1000)
    results: list[Any] = []
    bench.agent.deliver(job).addCallback(results.append)
    wire = bench.network.wires[0]
    wire.move()  # greeting
    wire.move()  # EHLO
    write = wire.write

    def write_and_pause(octets: bytes) -> None:
        write(octets)
        if wire.producer is not None:
            wire.producer.pauseProducing()

    wire.write = write_and_pause
    wire.move()
    wire.move()
    pieces = 1
    while wire.producer is not None:
        before = len(wire.writes)
        wire.producer.resumeProducing()
        assert len(wire.writes) == before + 1
        pieces += 1
    assert pieces == 17  # the final dot is one of its own
    assert max(wire.writes) <= 65536 + 5
    bench.network.move()
    assert kinds(results[0]) == [DELIVERED]
    assert bench.network.messages[0][2] == data * 1000


@pytest.mark.parametrize(
    ("silent", "seconds", "kind"),
    [
        ("greeting", 300, DEFERRED),
        ("ehlo", 300, DEFERRED),
        ("mail", 300, DEFERRED),
        ("rcpt", 300, DEFERRED),
        ("data", 120, DEFERRED),
        ("end", 600, IN_DOUBT),
    ],
)
def test_a_receiver_that_hangs_is_given_its_time(silent: str, seconds: int, kind: OutcomeKind) -> None:
    bench = Bench(lambda: FakeReceiver(**{silent: None}))
    (fired,) = bench.start()
    bench.advance(*[1.0] * (seconds - 1))
    assert not fired
    bench.advance(1.0)
    assert kinds(fired[0]) == [kind]
    assert "Timeout" in fired[0][1].text
    assert bench.network.open == 0


def test_one_octet_every_half_minute_gains_no_time() -> None:
    bench = Bench(lambda: FakeReceiver(mail=None))
    (fired,) = bench.start()
    for _ in range(10):
        bench.network.wires[0].protocol.dataReceived(b"2" if not fired else b"")
        bench.advance(*[5.0] * 6)
    assert kinds(fired[0]) == [DEFERRED]


def test_a_receiver_that_never_reads_is_cut_after_the_time_for_a_block() -> None:
    bench = Bench(lambda: FakeReceiver())
    wire_job = make_job(data=b"x" * 998 + b"\r\n" + b"y" * 500_000)
    (fired,) = [[]]  # type: ignore[var-annotated]
    bench.agent.deliver(wire_job).addCallback(fired.append)
    wire = bench.network.wires[0]
    write = wire.write

    def write_and_pause(octets: bytes) -> None:
        write(octets)
        if wire.producer is not None:
            wire.producer.pauseProducing()

    wire.write = write_and_pause
    bench.network.move()
    bench.clock.pump([5.0] * 35)
    assert not fired
    bench.clock.pump([5.0])
    assert kinds(fired[0]) == [DEFERRED]
    assert wire.aborted


# --- a relay in trouble ---


def refuse() -> FakeReceiver:
    raise ConnectionRefusedError


def test_a_dead_relay_defers_what_waits_and_then_takes_nothing() -> None:
    bench = Bench(refuse)
    outcomes = bench.deliver(make_job(2), make_job(2))
    assert [kinds(each) for each in outcomes] == [[DEFERRED] * 2] * 2
    assert outcomes[0][1].enhanced == "4.4.1"
    assert outcomes[0][1].stage == "connect"
    assert "refused" in outcomes[0][1].text
    assert bench.capacity() == 0
    tried = bench.network.tried
    assert kinds(bench.deliver()[0]) == [DEFERRED]
    assert bench.network.tried == tried


def test_pauses_grow_to_a_minute_and_end_with_the_trouble() -> None:
    dead = [True]
    bench = Bench(lambda: refuse() if dead[0] else FakeReceiver())
    pauses = []
    for _ in range(9):
        bench.deliver()
        start = bench.clock.seconds()
        while not bench.capacity():
            bench.advance(0.5)
        pauses.append(bench.clock.seconds() - start)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    dead[0] = False
    assert kinds(bench.deliver()[0]) == [DELIVERED]
    assert bench.capacity() == 20


def test_after_trouble_one_connection_goes_ahead() -> None:
    receivers = iter([ConnectionRefusedError(), FakeReceiver(greeting=None)])

    def make() -> FakeReceiver:
        receiver = next(receivers)
        if isinstance(receiver, Exception):
            raise receiver
        return receiver

    bench = Bench(make)
    bench.deliver()
    bench.advance(1.0)
    bench.start(*[make_job()] * 10)
    assert bench.network.tried == 2


def test_a_relay_that_is_not_there_is_given_half_a_minute() -> None:
    bench = Bench(lambda: None)
    (fired,) = bench.start()
    bench.advance(29.0)
    assert not fired
    bench.advance(1.0)
    assert kinds(fired[0]) == [DEFERRED]
    assert fired[0][1].enhanced == "4.4.1"
    assert fired[0][1].text == "No connection to relay.example: it took too long"


def test_one_connection_too_many_does_no_harm_to_the_others() -> None:
    receivers = iter([FakeReceiver()] + [FakeReceiver(greeting="421 4.7.0 too many connections") for _ in range(19)])
    bench = Bench(lambda: next(receivers))
    outcomes = bench.deliver(*[make_job()] * 10)
    assert [kinds(each) for each in outcomes] == [[DELIVERED]] * 10
    tried = bench.network.tried
    assert tried > 1
    assert [kinds(each) for each in bench.deliver(*[make_job()] * 10)] == [[DELIVERED]] * 10
    assert bench.network.tried == tried


@pytest.mark.parametrize(
    ("script", "profile", "kind", "stage"),
    [
        ({"greeting": "554 go away"}, {}, DEFERRED, "greeting"),
        ({"ehlo": "250 relay"}, {"tls": TlsPolicy.REQUIRE}, DEFERRED, "hello"),
        ({"ehlo": "250-r\r\n250 AUTH PLAIN", "auth": "535 5.7.8 no"}, {"username": "u", "password": "p"}, HOLD, "auth"),
    ],
)
def test_a_session_that_cannot_be_opened(
    script: dict[str, str], profile: dict[str, Any], kind: OutcomeKind, stage: str
) -> None:
    bench = Bench(lambda: FakeReceiver(**script), profile)
    outcomes = bench.deliver(make_job(), make_job())
    assert [(kinds(each), each[1].stage) for each in outcomes] == [([kind], stage)] * 2
    assert bench.capacity() == 0
    assert bench.network.open == 0


# --- TLS ---


def test_tls_from_the_start_comes_before_any_octet() -> None:
    bench = Bench(tls_first=True)
    bench.deliver()
    assert bench.network.wires[0].tls == "options"


def test_starttls_comes_before_mail() -> None:
    bench = Bench(lambda: FakeReceiver(ehlo=["250-r\r\n250 STARTTLS", EHLO]), {"tls": TlsPolicy.REQUIRE})
    assert kinds(bench.deliver()[0]) == [DELIVERED]
    assert bench.network.wires[0].tls == "options"


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ([("SSL routines", "", "certificate verify failed")], "certificate verify failed"),
        ([object()], "the certificate is for another host"),
        ([], "the connection broke"),
        ("unexpected eof", "unexpected eof"),
    ],
)
def test_tls_that_fails_defers(argument: Any, text: str) -> None:
    bench = Bench(lambda: FakeReceiver(ehlo=["250-r\r\n250 STARTTLS", None]), {"tls": TlsPolicy.REQUIRE})
    (fired,) = bench.start()
    bench.network.wires[0].lose(Exception(argument))
    assert kinds(fired[0]) == [DEFERRED]
    assert (fired[0][1].enhanced, fired[0][1].text) == ("4.7.5", f"TLS failed: {text}")


# --- content ---


@pytest.mark.parametrize(
    ("error", "kind"), [(ContentCorrupt("bad"), HOLD), (KeyError("s1"), HOLD), (StorageUnavailable("disk"), DEFERRED)]
)
def test_content_that_cannot_be_read_is_not_sent(error: Exception, kind: OutcomeKind) -> None:
    bench = Bench()
    bench.contents.answer = lambda: fail(error)
    outcomes = bench.deliver(*[make_job(2)] * 50)
    assert [kinds(each) for each in outcomes] == [[kind] * 2] * 50
    bench.contents.answer = None
    assert kinds(bench.deliver()[0]) == [DELIVERED]
    assert [content for _, _, content in bench.network.messages] == [CONTENT]


def test_a_connection_lost_while_content_is_read_is_replaced() -> None:
    bench = Bench(connections=1)
    reading: Deferred[bytes] = Deferred()
    bench.contents.answer = lambda: reading
    (fired,) = bench.start()
    bench.network.wires[0].lose(Exception("gone"))
    reading.callback(CONTENT)
    bench.network.move()
    assert kinds(fired[0]) == [DELIVERED]
    assert bench.network.tried == 2


# --- in doubt ---


def test_the_store_is_told_before_each_final_dot() -> None:
    queue = FakeQueue()
    bench = Bench(mark=queue.mark_in_doubt)
    assert kinds(bench.deliver(make_job(101))[0]) == [DELIVERED] * 101
    assert queue.marked == [("s1", 1, list(range(1, 101))), ("s1", 1, [101])]


@pytest.mark.parametrize("trouble", [None, StorageUnavailable("disk")])
def test_nothing_is_sent_under_a_lease_that_was_lost(trouble: Exception | None) -> None:
    queue = FakeQueue()
    queue.ours, queue.trouble = False, trouble
    bench = Bench(mark=queue.mark_in_doubt)
    assert kinds(bench.deliver(make_job(101))[0]) == [NOT_TRIED] * 101
    assert len(queue.marked) == 1
    assert not bench.network.messages


# --- stopping ---


def test_stopping_finishes_what_is_under_way_and_gives_back_what_waits() -> None:
    bench = Bench(lambda: FakeReceiver(end=None), connections=1)
    busy, waiting = bench.start(make_job(), make_job())
    stopped: list[None] = []
    bench.agent.stop().addCallback(stopped.append)
    assert kinds(waiting[0]) == [NOT_TRIED]
    assert not busy and not stopped
    bench.network.wires[0].protocol.dataReceived(b"250 ok\r\n")
    bench.network.move()
    assert kinds(busy[0]) == [DELIVERED]
    bench.advance(5.0, 5.0)  # it answers QUIT as little
    assert stopped == [None]
    assert bench.network.open == 0
    assert bench.capacity() == 0
    assert kinds(bench.deliver()[0]) == [NOT_TRIED]
    assert not bench.clock.getDelayedCalls()


@pytest.mark.parametrize(("silent", "kind", "seconds"), [("rcpt", NOT_TRIED, 10.0), ("end", IN_DOUBT, 20.0)])
def test_stopping_does_not_wait_for_ever(silent: str, kind: OutcomeKind, seconds: float) -> None:
    bench = Bench(lambda: FakeReceiver(**{silent: None}), stop_timeout=20.0)
    (fired,) = bench.start()
    stopped: list[None] = []
    bench.agent.stop().addCallback(stopped.append)
    bench.advance(seconds - 1)
    assert not stopped
    bench.advance(1.0)
    assert kinds(fired[0]) == [kind]
    assert stopped == [None]
    assert not bench.clock.getDelayedCalls()


def test_stopping_sends_no_final_dot_so_late_that_its_answer_could_not_be_waited_for() -> None:
    bench = Bench(lambda: FakeReceiver(data=None), stop_timeout=20.0)
    (fired,) = bench.start()
    bench.agent.stop()
    bench.advance(11.0)
    assert kinds(fired[0]) == [NOT_TRIED]
    assert not bench.network.messages


def test_stopping_waits_for_what_has_had_its_final_dot() -> None:
    bench = Bench(lambda: FakeReceiver(end=None), stop_timeout=20.0)
    (fired,) = bench.start()
    bench.agent.stop()
    bench.advance(15.0)
    bench.network.wires[0].protocol.dataReceived(b"250 ok\r\n")
    assert kinds(fired[0]) == [DELIVERED]


def test_stopping_gives_up_connections_that_are_being_made() -> None:
    for receivers in (lambda: None, lambda: FakeReceiver(greeting=None)):
        bench = Bench(receivers)
        (fired,) = bench.start()
        stopped: list[None] = []
        bench.agent.stop().addCallback(stopped.append)
        bench.network.move()
        assert kinds(fired[0]) == [NOT_TRIED]
        assert stopped == [None]


def test_stopping_closes_idle_connections() -> None:
    bench = Bench()
    bench.deliver()
    stopped: list[None] = []
    bench.agent.stop().addCallback(stopped.append)
    bench.network.move()
    assert stopped == [None]
    assert bench.network.wires[0].receiver.commands[-1] == "QUIT"


def test_a_bug_ends_its_own_job_and_takes_no_place_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(connections=1)
    assert kinds(*bench.deliver(make_job(submission="s1"))) == [DELIVERED]

    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("smtpeter.smtp.client.compose_commands", broken)
        (outcomes,) = bench.deliver(make_job(2, submission="s2"))
    assert kinds(outcomes) == [DEFERRED, DEFERRED]
    assert bench.capacity() == 1
    assert kinds(*bench.deliver(make_job(submission="s3"))) == [DELIVERED]
