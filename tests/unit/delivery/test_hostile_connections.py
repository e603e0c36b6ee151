"""Receivers that do harm over more than one connection, or to more than one message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError, DNSLookupError

from smtpeter.delivery.form import SMALL
from smtpeter.model.delivery import OutcomeKind, RecipientState
from smtpeter.model.route import TlsPolicy
from tests.fakes.agent import Bench, kinds
from tests.fakes.delivery import DeliveryBench, alarms, logged
from tests.fakes.hostile import HostileReceiver, Late
from tests.fakes.jobs import CONTENT, make_job, make_recipient
from tests.fakes.receiver import DROP, EHLO, FakeReceiver

DUE, DELIVERED, FAILED = RecipientState.DUE, RecipientState.DELIVERED, RecipientState.FAILED
PLAIN = "250 relay.example"
LARGE = (b"x" * 998 + b"\r\n") * 500


def deliver_two(script: dict[str, Any], seconds: float, **options: Any) -> DeliveryBench:
    """A message that goes well, and a second one on the same connection; others meet a good receiver."""
    made: list[Any] = []

    def connect() -> Any:
        made.append(HostileReceiver(bench.clock, **(script if not made else {})))
        return made[-1]

    bench = DeliveryBench(connect, connections=1, **options)
    bench.queue.add(make_job(3))
    bench.run(1.0)
    bench.queue.add(make_job(3, submission="s2"))
    bench.run(seconds)
    return bench


RESET = {"rcpt": ["550 no"] * 3 + ["250 ok"], "data": ["554 no recipients", "354 go"]}


@pytest.mark.parametrize(
    ("name", "rset", "seconds"),
    [("hang", None, 310), ("drop", DROP, 10), ("421", "421 bye", 10), ("500", "500 what", 10), ("999", "999 what", 10)],
)
def test_rset(name: str, rset: Any, seconds: float) -> None:
    bench = deliver_two({**RESET, "rset": rset}, seconds + 70)
    assert bench.states("s1", "s2") == [FAILED, DELIVERED]
    assert bench.network.wires[0].lost


def test_quit_that_hangs_delays_nothing() -> None:
    """Neither the outcome, nor the next message, which has another connection by then."""
    made: list[Any] = []

    def connect() -> Any:
        made.append(HostileReceiver(bench.clock, quit=None))
        return made[-1]

    bench = DeliveryBench(connect, connections=1, messages=1)
    bench.queue.add(make_job(), make_job(submission="s2"), make_job(submission="s3"))
    bench.run(1.0, step=0.05)
    assert bench.states("s1", "s2", "s3") == [DELIVERED] * 3
    bench.run(12.0)
    assert bench.network.open == 0


def test_extensions_that_change_from_one_connection_to_the_next() -> None:
    offers = iter([EHLO, PLAIN, "250-r\r\n250 SIZE"])
    bench = DeliveryBench(lambda: FakeReceiver(ehlo=next(offers)), connections=1, messages=1)
    for number in range(3):
        bench.queue.add(make_job(3, submission=f"s{number}"))
        bench.run(10.0)
    assert bench.states("s0", "s1", "s2") == [DELIVERED] * 3
    mails = [wire.receiver.commands[1] for wire in bench.network.wires]
    assert [mail.partition(">")[2] for mail in mails] == [f" SIZE={len(CONTENT)}", "", f" SIZE={len(CONTENT)}"]


def test_extensions_that_are_gone_after_starttls() -> None:
    clear = "250-r\r\n250-STARTTLS\r\n250-PIPELINING\r\n250 SIZE"
    bench = DeliveryBench(lambda: FakeReceiver(ehlo=[clear, PLAIN]), {"tls": TlsPolicy.REQUIRE})
    bench.queue.add(make_job(3))
    bench.run(5.0)
    assert bench.states("s1") == [DELIVERED]
    assert bench.network.wires[0].receiver.commands[3] == "MAIL FROM:<sender@example.org>"


def test_a_transaction_has_an_end_however_slow_each_answer_is() -> None:
    bench = DeliveryBench(
        lambda: HostileReceiver(bench.clock, ehlo=PLAIN, rcpt=Late(290.0, b"250 ok\r\n")), schedule=(7200.0,)
    )
    bench.queue.add(make_job(50))
    bench.run(3590.0, step=5)
    assert not bench.queue.settled
    bench.run(50.0, step=5)
    assert [bench.settlements(number)[0].state for number in range(1, 51)] == [DUE] * 50
    assert bench.network.wires[0].lost


def test_a_slow_line_has_the_time_that_a_large_message_needs() -> None:
    """64 kbit/s: the hour that a transaction may take is not meant for those."""
    content = LARGE * 80  # 40 MB, 5000 seconds

    def connect() -> Any:
        return Counting(bench.clock, reading=8000 * 8)

    class Counting(HostileReceiver):
        def receive(self, octets: bytes) -> Any:
            if self._in_data and not octets.endswith(b"\r\n.\r\n"):
                return b""  # lest the test be busy with joining it
            return super().receive(b"\r\n.\r\n" if self._in_data else octets)

    bench = DeliveryBench(connect)
    bench.queue.add(make_job(data=content))
    bench.run(4000.0, step=8)
    assert bench.states("s1") == [None]
    bench.run(4000.0, step=8)
    assert bench.states("s1") == [DELIVERED]


def test_a_receiver_that_trickles_a_large_message_is_cut_in_the_end() -> None:
    bench = DeliveryBench(lambda: HostileReceiver(bench.clock, reading=1000 * 5))
    bench.queue.add(make_job(data=LARGE * 10))
    bench.run(3000.0, step=5)
    assert bench.states("s1") == [None]
    bench.run(1300.0, step=5)
    assert bench.settlements()[0].state is DUE
    assert bench.settlements()[0].event.data["state"] == "message"  # type: ignore[union-attr]


@pytest.mark.parametrize("answer", ["421 4.7.0 busy", DROP, b"999\r\n"])
def test_a_receiver_that_takes_no_mail_is_not_asked_for_every_message(answer: Any) -> None:
    """Connections are opened, and none of them comes to anything: as if they could not be opened."""
    well = [False]
    bench = DeliveryBench(lambda: FakeReceiver(**({} if well[0] else {"mail": answer})))
    names = [f"s{number}" for number in range(200)]
    bench.queue.add(*(make_job(submission=name) for name in names))
    with logged() as events:
        bench.run(5.0)
    assert [event["pause"] for event in events if event.get("event") == "relay"] == [1.0, 2.0, 4.0]
    assert bench.network.tried <= 25
    assert_few_know(bench, names, 25)
    well[0] = True
    bench.run(120.0)
    assert bench.states(*names) == [DELIVERED] * 200


def assert_few_know(bench: DeliveryBench, names: list[str], most: int) -> None:
    """What was claimed is put off with the reason; the rest was not touched, and waits for the site."""
    states = bench.states(*names)
    assert 0 < states.count(DUE) <= most
    assert states.count(None) == len(names) - states.count(DUE)
    assert all(not job.recipients[0].attempts for _, job in bench.queue.waiting if job.submission not in tried(bench))
    (parking,) = bench.queue.parked.values()
    assert parking.site == "relay.example:25"


def tried(bench: DeliveryBench) -> set[str]:
    return {job.submission for job in bench.queue.settled}


def test_a_receiver_that_closes_as_soon_as_it_is_ready_is_not_asked_in_a_circle() -> None:
    """It says 421 behind its EHLO; we must neither spin nor forget that mail waits."""
    bench = DeliveryBench(lambda: FakeReceiver(ehlo=EHLO.encode() + b"\r\n421 bye\r\n"))
    bench.queue.add(make_job())
    bench.run(30.0)
    assert bench.states("s1") == [DUE]
    assert bench.network.tried < 30


def test_one_message_that_breaks_connections_holds_up_no_other() -> None:
    class Allergic(FakeReceiver):
        def _command(self, line: str) -> bytes:
            if "poison" in line:
                self.dropped = True
                return b""
            return super()._command(line)

    bench = DeliveryBench(Allergic, connections=2)
    jobs = [make_job(submission=f"s{number}") for number in range(50)]
    poison = make_job(submission="poison", recipients=[make_recipient(address="poison@example.net")])
    bench.queue.add(poison, *jobs)
    bench.run(5.0)
    assert bench.states("poison") == [DUE]
    assert bench.states(*(job.submission for job in jobs)) == [DELIVERED] * 50


@pytest.mark.parametrize(
    ("connect", "status"),
    [
        (None, "4.4.1"),
        (ConnectionRefusedError(), "4.4.1"),
        (OSError("No route to host"), "4.4.1"),
        (DNSLookupError("no results"), "4.4.3"),
    ],
)
def test_no_connection_at_all(connect: Any, status: str) -> None:
    """Refused, unreachable, swallowed by a filter or without an address: all is put off, at one try a pause."""

    def make() -> Any:
        if connect is None:
            return None
        raise connect

    bench = DeliveryBench(make, connections=5)
    names = [f"s{number}" for number in range(100)]
    bench.queue.add(*(make_job(submission=name) for name in names))
    with logged() as events:
        bench.run(35.0)
    assert_few_know(bench, names, 10)
    event = bench.settlements(submission="s0")[0].event
    assert event is not None and (event.data["status"], event.data["state"]) == (status, "connect")
    assert bench.network.tried <= 10
    assert not alarms(events)


def test_half_open_connections_end_by_themselves() -> None:
    """A cable is pulled: nobody ever hears of it, and every place is free again in ten minutes."""
    cut = [False]

    class Cut(FakeReceiver):
        def receive(self, octets: bytes) -> Any:
            return b"" if cut[0] else super().receive(octets)

    bench = DeliveryBench(Cut, connections=5)
    bench.queue.add(*(make_job(submission=f"a{number}") for number in range(20)))
    bench.run(1.0)
    cut[0] = True
    bench.queue.add(*(make_job(submission=f"b{number}") for number in range(5)))
    bench.run(1.0)
    dead = len(bench.network.wires)
    bench.run(610.0)
    assert all(wire.lost for wire in bench.network.wires[:dead])
    cut[0] = False
    bench.run(400.0)
    assert bench.states(*(f"b{number}" for number in range(5))) == [DELIVERED] * 5


def test_connections_that_close_before_the_message_can_begin_are_not_replaced_for_ever() -> None:
    """Each offers something else than the one before, and is gone while the content is put into another form for it."""
    offers = iter([EHLO, PLAIN] * 50)
    converting: list[Callable[[], None]] = []

    def in_thread(function: Callable[[], Any]) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        converting.append(lambda: result.callback(function()))
        return result

    bench = Bench(lambda: FakeReceiver(ehlo=next(offers)), connections=3, in_thread=in_thread)
    content = b"Subject: x\r\n\r\n" + b"x\r\n" * SMALL
    (fired,) = bench.start(make_job(data=content))
    for _ in range(20):
        if not fired:
            bench.network.wires[-1].lose(Exception("gone"))
            converting[-1]()
            bench.network.move()
    assert kinds(fired[0]) == [OutcomeKind.DEFERRED]
    assert bench.network.tried == 4
