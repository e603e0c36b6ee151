"""How much of the messages under way is in memory: bounded for all connections together."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from smtpeter.errors import StorageUnavailable
from smtpeter.model.delivery import Job, OutcomeKind
from smtpeter.model.submission import Content
from tests.fakes.agent import Bench, kinds
from tests.fakes.jobs import make_job
from tests.fakes.receiver import FakeReceiver

DELIVERED, DEFERRED, NOT_TRIED = OutcomeKind.DELIVERED, OutcomeKind.DEFERRED, OutcomeKind.NOT_TRIED
SIZE = 1000


def large(submission: str, size: int = SIZE) -> Job:
    """A job whose content has to be read from the store."""
    return make_job(submission=submission)._replace(content=Content(size, b"", None, "file"))


class Reads:
    """Answers the agent's reads, and remembers for whom."""

    def __init__(self, bench: Bench) -> None:
        self.submissions: list[str] = []
        self.trouble: Exception | None = None
        bench.contents.read = self.read  # type: ignore[method-assign]

    def read(self, submission: str, content: Content) -> Deferred[bytes]:
        self.submissions.append(submission)
        if self.trouble is not None:
            return fail(self.trouble)
        return succeed(content.data or b"x" * (content.size - 2) + b"\r\n")


def stalling(**options: Any) -> tuple[Bench, Reads]:
    """Every connection takes its content and does not answer the final dot."""
    bench = Bench(lambda: FakeReceiver(end=b""), memory=3 * SIZE, **options)
    return bench, Reads(bench)


def answer(bench: Bench, wire: int) -> None:
    bench.network.wires[wire].protocol.dataReceived(b"250 ok\r\n")
    bench.network.move()


def test_a_receiver_that_stalls_on_every_connection_holds_no_more_than_the_limit() -> None:
    bench, reads = stalling()
    bench.start(*(large(f"s{number}") for number in range(10)))
    assert reads.submissions == ["s0", "s1", "s2"]
    answer(bench, 0)
    assert reads.submissions == ["s0", "s1", "s2", "s3"]


def test_small_content_that_came_with_its_job_passes_by_what_waits_for_memory() -> None:
    bench, reads = stalling()
    bench.start(*(large(f"s{number}") for number in range(5)), make_job(submission="small"))
    assert sorted(reads.submissions) == ["s0", "s1", "s2", "small"]
    assert bench.capacity() == 20 - 6


def test_large_messages_wait_in_order_so_that_none_waits_for_ever() -> None:
    bench, reads = stalling()
    bench.start(large("s0"), large("s1"), large("huge", 2 * SIZE), large("s3"))
    assert reads.submissions == ["s0", "s1"]
    answer(bench, 0)
    assert reads.submissions == ["s0", "s1", "huge"]
    answer(bench, 1)
    assert reads.submissions == ["s0", "s1", "huge", "s3"]


def test_a_message_above_the_limit_goes_alone() -> None:
    bench, reads = stalling()
    bench.start(large("s0"), large("giant", 10 * SIZE), large("s2"))
    assert reads.submissions == ["s0"]
    answer(bench, 0)
    assert reads.submissions == ["s0", "giant"]
    answer(bench, 0)
    assert reads.submissions == ["s0", "giant", "s2"]


def test_memory_is_given_back_however_a_message_ends() -> None:
    bench = Bench(memory=SIZE, connections=2)
    reads = Reads(bench)
    reads.trouble = StorageUnavailable("disk")
    assert [kinds(each) for each in bench.deliver(*[large("s")] * 5)] == [[DEFERRED]] * 5
    reads.trouble = None
    assert [kinds(each) for each in bench.deliver(*[large("s")] * 5)] == [[DELIVERED]] * 5


def test_what_waits_for_memory_learns_that_the_relay_is_dead() -> None:
    receivers = iter([FakeReceiver(end=None)])

    def make() -> FakeReceiver:
        for receiver in receivers:
            return receiver
        raise ConnectionRefusedError

    bench = Bench(make, memory=SIZE)
    Reads(bench)
    _, *others = bench.start(*[large("s")] * 3)
    bench.network.wires[0].lose(Exception("gone"))
    bench.network.move()
    assert [kinds(fired[0]) for fired in others] == [[DEFERRED]] * 2
    assert [kinds(each) for each in bench.deliver(*[large("s")] * 3)] == [[DEFERRED]] * 3


def test_what_waits_for_memory_is_given_back_when_the_server_stops() -> None:
    bench, _ = stalling()
    fired = bench.start(*(large(f"s{number}") for number in range(5)))
    bench.agent.stop()
    assert [kinds(each[0]) for each in fired[3:]] == [[NOT_TRIED]] * 2
    assert not any(fired[:3])
