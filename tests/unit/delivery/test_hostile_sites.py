"""What receivers do to us, at sites with several hosts and beside others: the next host, the neighbours, and places.

The rows are those of test_hostile_receiver, of which the first host of a site does one to its first connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from smtpeter.delivery.throttle import Shape
from smtpeter.model.delivery import RecipientState
from smtpeter.model.route import Target, TlsPolicy
from tests.fakes.delivery import DeliveryBench, alarms, logged
from tests.fakes.hostile import HostileReceiver
from tests.fakes.jobs import make_job, make_recipient
from tests.fakes.receiver import EHLO, FakeReceiver
from tests.fakes.router import FakeRouter, way
from tests.unit.delivery.test_delivery_simulation import assert_nobody_waits, assert_nothing_is_held
from tests.unit.delivery.test_hostile_receiver import AUTH, ROWS, TLS, TLS_EHLO, Row, id_of

DUE, HELD = RecipientState.DUE, RecipientState.HELD
DELIVERED, FAILED = RecipientState.DELIVERED, RecipientState.FAILED
BEFORE_MAIL = ("greeting", "hello", "starttls", "tls")
SHAPE = Shape("site", connections=4, start=4)
LARGE = (b"x" * 998 + b"\r\n") * 500


class World(DeliveryBench):
    """The site of example.net has the hosts mx1 and mx2; well.example is another one.

    ``serve`` makes the receiver of each connection to mx1, ``serve_other`` to mx2; ``made`` are all that were made, by
    host.
    """

    def __init__(self, serve: Callable[[], Any], **options: Any) -> None:
        self.serve = serve
        self.serve_other: Callable[[], Any] = FakeReceiver
        self.made: dict[str, list[Any]] = {"mx1": [], "mx2": [], "well.example": []}
        router = FakeRouter({"example.net": way("example.net", "", "mx1", "mx2")})
        super().__init__(
            self._connect,
            {"relay": False},
            **{"router": router, "policy": TlsPolicy.MAY, "shape": SHAPE, **options},
        )

    def _connect(self, target: Target) -> Any:
        makers = {"mx1": self.serve, "mx2": self.serve_other}
        receiver = makers.get(target.host, FakeReceiver)()
        self.made[target.host].append(receiver)
        return receiver

    def write_to_neighbour(self, submission: str = "well") -> None:
        self.queue.add(make_job(submission=submission, recipients=[make_recipient(1, "a@well.example")]))
        self.scheduler.wake(())

    def got(self, host: str) -> list[str]:
        """The recipients of all that came to a host, in order."""
        return [each for receiver in self.made[host] for _, them, _ in receiver.messages for each in them]

    def has_ended(self) -> None:
        """Nothing is under way, and nobody holds anything."""
        assert not self.queue.waiting and not self.queue.leased
        assert_nothing_is_held(self)
        assert_nobody_waits(self)


@pytest.mark.parametrize("row", [row for row in ROWS if row.profile is not AUTH], ids=id_of)
def test_what_the_first_host_of_a_site_does(row: Row) -> None:
    """Trouble before MAIL takes mail to the next host in the same attempt, or in clear to the same; what is told after
    it is for the recipients, and comes back later.  Nobody else's mail notices."""

    def make_good() -> FakeReceiver:
        return FakeReceiver(ehlo=[TLS_EHLO, EHLO] if row.profile is TLS else EHLO)

    world = World(lambda: HostileReceiver(world.clock, **row.script) if not world.made["mx1"] else make_good())
    world.serve_other = make_good
    job = make_job(3, data=row.content)
    world.queue.add(job)
    goes_on = row.stage in BEFORE_MAIL or row.profile is TLS
    states = [DELIVERED] * 3 if goes_on else [FAILED if state is HELD else state for state in row.states]
    with logged() as events:
        world.run(1.0)
        world.write_to_neighbour()
        world.run(1.0)
        assert world.states("well") == [DELIVERED]
        world.run(max(0.0, row.at - 4.0) + 1.5)
        assert len(world.queue.settled) == 1 or row.at < 4.0, "too early"
        world.run(3.0)
        first = [world.settlements(number)[0] for number in (1, 2, 3)]
        assert [settlement.state for settlement in first] == states
        assert [settlement.attempts for settlement in first] == [1] * 3
        assert [settlement.possible_duplicate for settlement in first] == [row.in_doubt] * 3
        for settlement, state in zip(first, states, strict=True):
            assert settlement.event is not None
            assert goes_on or state is FAILED or not row.stage or settlement.event.data["state"] == row.stage
        world.write_to_neighbour("well again")
        world.run(200.0)
        assert world.states("well again") == [DELIVERED]
    assert [world.settlements(number)[-1].state for number in (1, 2, 3)] == [
        DELIVERED if state is DUE else state for state in states
    ]
    if goes_on:
        assert world.got("mx1") + world.got("mx2") == ["r1@example.net", "r2@example.net", "r3@example.net"]
    else:  # what was in doubt is there twice, what was dealt with is not there again
        [_, *others] = world.made["mx1"]
        later = [each for receiver in others for _, them, _ in receiver.messages for each in them]
        assert later == [f"r{number}@example.net" for number, state in enumerate(states, 1) if state is DUE]
        assert not world.got("mx2")
    assert not alarms(events)
    world.has_ended()


# --- what lasts longer than a transaction ---


def test_a_greylist_of_five_minutes() -> None:
    """Who is told to come later comes later, and to nobody else is anything late."""
    known: set[str] = set()

    class Greylist(FakeReceiver):
        def _command(self, line: str) -> bytes:
            if line.startswith("RCPT") and "old" not in line and (line not in known or world.clock.seconds() < 300.0):
                known.add(line)
                return self._say("450 4.2.0 Greylisted, come back in five minutes")
            return super()._command(line)

    world = World(Greylist)
    recipients = [make_recipient(1, "old@example.net"), make_recipient(2, "new@example.net")]
    world.queue.add(make_job(recipients=recipients), make_job(submission="s2"))
    world.run(5.0)
    assert world.settlements(1)[-1].state is DELIVERED
    assert world.states("s2") == [DUE]
    world.queue.add(make_job(submission="s3", recipients=recipients[:1]))
    world.run(5.0)
    assert world.states("s3") == [DELIVERED]  # the site is none that is down
    world.run(600.0)
    assert [each.state for each in world.settlements(2)] == [DUE, DUE, DELIVERED]
    assert world.states("s2") == [DELIVERED]
    assert sorted(world.got("mx1")) == ["new@example.net", "old@example.net", "old@example.net", "r1@example.net"]
    assert not world.got("mx2")
    world.has_ended()


@pytest.mark.parametrize("ehlo", [EHLO, "250 mx1"])
@pytest.mark.parametrize("answer", ["452 4.5.3 Too many recipients", "452 enough", "552 too many recipients"])
def test_a_receiver_that_takes_ten_recipients_at_a_time_gets_all_of_them_at_once(ehlo: str, answer: str) -> None:
    answers = [each for left in (25, 15, 5, 0) for each in ["250 ok"] * 10 + [answer] * left]
    world = World(lambda: FakeReceiver(ehlo=ehlo, rcpt=answers))
    world.queue.add(make_job(35))
    world.run(5.0)
    assert world.got("mx1") == [f"r{number}@example.net" for number in range(1, 36)]
    assert [len(receiver.messages) for receiver in world.made["mx1"]] == [4]
    assert all(world.settlements(number)[0].attempts == 1 for number in range(1, 36))
    assert all(len(world.settlements(number)) == 1 for number in range(1, 36))


@pytest.mark.parametrize("rset", [None, "421 bye", "500 what"])
def test_rset_and_quit_that_hang_cost_no_attempt_and_delay_no_result(rset: Any) -> None:
    answers = {"rcpt": ["550 no", "250 ok"], "data": ["554 no recipients", "354 go"], "rset": rset, "quit": None}
    shape = SHAPE._replace(connections=1, start=1)
    world = World(lambda: FakeReceiver(**answers if not world.made["mx1"] else {"quit": None}), shape=shape)
    world.queue.add(make_job())
    world.run(1.0)
    assert world.states("s1") == [FAILED]
    world.queue.add(make_job(submission="s2"))
    world.run(310.0 if rset is None else 10.0)
    assert world.states("s2") == [DELIVERED]
    assert world.settlements(submission="s2")[0].attempts == 1
    world.run(60.0)
    world.has_ended()


def test_quit_that_hangs_keeps_no_place() -> None:
    world = World(lambda: FakeReceiver(quit=None), shape=SHAPE._replace(connections=1, start=1, messages=1), places=1)
    world.queue.add(*(make_job(submission=f"s{number}") for number in range(5)))
    world.run(1.0, step=0.05)
    world.write_to_neighbour()
    world.run(1.0, step=0.05)
    assert world.states(*(f"s{number}" for number in range(5)), "well") == [DELIVERED] * 6
    world.run(60.0)
    world.has_ended()


# --- cables that are pulled, and lines that are slow ---


class Cable:
    """Makes receivers behind a cable; ``pulled``: whatever is sent arrives nowhere, and nobody hears of it."""

    def __init__(self, **script: Any) -> None:
        self.script = script
        self.pulled = False

    def __call__(self) -> FakeReceiver | None:
        cable = self

        class Behind(FakeReceiver):
            @property
            def reading(self) -> int | None:  # type: ignore[override]
                return 0 if cable.pulled else None

        return None if self.pulled else Behind(**self.script)


@pytest.mark.parametrize(
    ("script", "content", "stage", "seconds"),
    [
        ({"mail": None}, b"x\r\n", "mail", 300),
        ({"rcpt": None}, b"x\r\n", "rcpt", 300),
        ({"data": None}, b"x\r\n", "data", 120),
        ({}, LARGE, "message", 180),
        ({"end": None}, b"x\r\n", "end", 600),
        ({"end": None}, LARGE, "end", 600),
    ],
)
def test_a_cable_that_is_pulled(script: dict[str, Any], content: bytes, stage: str, seconds: int) -> None:
    """Each place is free after the time of its stage, only a final dot that was out leaves a doubt, and mail goes once
    the cable is back; the neighbour, for whom four places are left, never notices."""
    cable = Cable(**script)
    world = World(cable, places=8, schedule=(60.0,))
    names = [f"s{number}" for number in range(4)]
    if stage == "message":
        cable.pulled, world.serve = True, lambda: HostileReceiver(world.clock, stalls=True)
    world.queue.add(*(make_job(3, submission=name, data=content) for name in names))
    world.run(1.0, step=0.05)
    assert [wire.protocol._session.stage for wire in world.network.wires] == [stage] * 4
    cable.pulled, cable.script = True, {}
    world.serve = world.serve_other = cable
    for minute in range(seconds // 60):
        world.write_to_neighbour(f"well {minute}")
        world.run(2.0)
        assert world.states(f"well {minute}") == [DELIVERED]
        assert world.states(*names) == [None] * 4
        world.run(58.0 if minute < seconds // 60 - 1 else 50.0)
    world.run(20.0)
    assert world.states(*names) == [DUE] * 4
    first = [world.settlements(submission=name)[0] for name in names]
    assert [each.possible_duplicate for each in first] == [stage == "end"] * 4
    assert [each.event.data["state"] for each in first if each.event] == [stage] * 4
    cable.pulled = False
    world.run(800.0)
    assert world.states(*names) == [DELIVERED] * 4
    assert [world.settlements(submission=name)[-1].possible_duplicate for name in names] == [stage == "end"] * 4
    assert sum(len(receiver.messages) for receiver in world.made["mx1"][4:]) == 4
    world.has_ended()


def test_a_cable_that_is_pulled_while_connections_are_idle_costs_no_attempt() -> None:
    """Whether the next message began cannot be known, but that nothing of it was answered."""
    cable = Cable()
    world = World(cable)
    world.serve_other = cable
    world.queue.add(make_job())
    world.run(1.0)
    cable.pulled = True
    world.queue.add(make_job(submission="s2"))
    world.run(200.0)
    assert world.states("s1", "s2") == [DELIVERED, None]
    cable.pulled = False
    world.run(110.0)
    assert world.states("s2") == [DELIVERED]
    [settlement] = world.settlements(submission="s2")
    assert (settlement.attempts, settlement.possible_duplicate) == (1, False)
    world.run(60.0)
    world.has_ended()


def test_a_slow_line_has_its_time_whoever_waits_for_its_place() -> None:
    """64 kbit/s, and the only place that there is: 8 MB take 1,000 seconds, whatever others want meanwhile."""
    content = LARGE * 16

    class Slow(HostileReceiver):
        def receive(self, octets: bytes) -> Any:
            if self._in_data and not octets.endswith(b"\r\n.\r\n"):
                return b""  # lest the test be busy with joining it
            return super().receive(b"\r\n.\r\n" if self._in_data else octets)

    world = World(lambda: Slow(world.clock, reading=8000), shape=SHAPE._replace(connections=1, start=1), places=1)
    world.queue.add(make_job(data=content))
    world.run(20.0, step=1)
    world.queue.add(make_job(submission="s2"))
    world.write_to_neighbour()
    world.run(900.0, step=1)
    assert world.states("s1", "s2", "well") == [None, None, None]
    world.run(300.0, step=1)
    assert world.states("s1", "s2", "well") == [DELIVERED] * 3
    assert [len(world.settlements(submission=name)) for name in ("s1", "s2", "well")] == [1, 1, 1]
    world.run(60.0)
    world.has_ended()
