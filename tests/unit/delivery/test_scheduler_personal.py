"""Messages whose recipients have copies of their own go out in parts."""

from __future__ import annotations

from itertools import chain
from typing import Any

from smtpeter.delivery.scheduler import AT_ONCE, GAP, PERSONAL
from smtpeter.features.personal import Personalizer
from smtpeter.model.delivery import Job, OutcomeKind, RecipientState
from smtpeter.model.feature import Slot
from tests.fakes.clock import TurnClock
from tests.fakes.delivery import DeliveryBench
from tests.fakes.features import Enveloper, FakeCatalog, Filler, make_personal_job
from tests.fakes.jobs import make_job
from tests.fakes.receiver import FakeReceiver

DELIVERED, DUE = RecipientState.DELIVERED, RecipientState.DUE
SLOT = Slot("links", "k-6", 6)


def bench(receivers: Any = FakeReceiver, **options: Any) -> DeliveryBench:
    catalog = FakeCatalog(links=Filler(), verp=Enveloper("verp"))
    return DeliveryBench(receivers, personalizer=Personalizer(catalog), **options)  # type: ignore[arg-type]


def newsletter(count: int, **changes: Any) -> Job:
    return make_personal_job([b"Subject: x\r\n\r\n", SLOT, b"\r\n"], count, **changes)


def numbers(bench: DeliveryBench, submission: str = "s1") -> list[list[int]]:
    """Which recipients were written down together."""
    return [[each.number for each in job.settlements] for job in bench.queue.settled if job.submission == submission]


def test_a_part_is_written_down_on_its_own() -> None:
    delivery = bench(lambda: FakeReceiver(end=b""), connections=1)
    delivery.queue.add(newsletter(2 * PERSONAL + 1))
    delivery.run(1.0)
    for _ in range(2 * PERSONAL + 1):
        delivery.network.wires[0].push(b"250 ok\r\n")
        delivery.run(0.5)
    delivery.run(1.0)
    assert numbers(delivery) == [
        list(range(1, PERSONAL + 1)), list(range(PERSONAL + 1, 2 * PERSONAL + 1)), [2 * PERSONAL + 1]
    ]  # fmt: skip
    assert {each.state for job in delivery.queue.settled for each in job.settlements} == {DELIVERED}
    assert len(delivery.network.messages) == 2 * PERSONAL + 1


def test_a_plain_message_goes_in_one_piece() -> None:
    delivery = bench()
    delivery.queue.add(make_job(50))
    delivery.run(2.0)
    assert numbers(delivery) == [list(range(1, 51))]


def test_a_newsletter_uses_all_connections_and_lets_others_pass() -> None:
    delivery = bench(lambda: FakeReceiver(end=["250 ok", None]), connections=3)
    delivery.queue.add(newsletter(6 * PERSONAL), make_job(submission="urgent", account=8))
    delivery.run(2.0)
    # Each connection took one message, and is silent after the next one.
    assert delivery.network.tried == 3
    assert [path for path, _, _ in delivery.network.messages].count("sender@example.org") == 6
    assert delivery.states("urgent") == [DELIVERED]


def test_a_thousand_recipients_all_get_theirs_once() -> None:
    delivery = bench()
    delivery.queue.add(*(newsletter(400, submission=f"s{n}") for n in range(3)))
    delivery.run(10.0)
    assert len({(content, recipients) for _, recipients, content in delivery.network.messages}) == 400
    assert len(delivery.network.messages) == 1200
    for submission in ("s0", "s1", "s2"):
        assert sorted(chain(*numbers(delivery, submission))) == list(range(1, 401))


def test_pausing_gives_back_what_has_not_begun_and_nothing_of_what_has() -> None:
    silent = [FakeReceiver(end=b"") for _ in range(2)]
    receivers = iter(silent)
    delivery = bench(lambda: next(receivers), connections=2, clock=TurnClock())
    begun, rest = AT_ONCE * PERSONAL, 3 * PERSONAL
    delivery.queue.add(newsletter(begun + rest))
    delivery.run(GAP, step=GAP)
    delivery.queue.is_paused = True
    delivery.scheduler.generation_changed()
    delivery.run(1.0)
    assert not delivery.queue.released  # that would void the lease of what is under way too
    given_back = list(chain(*numbers(delivery)))
    assert given_back == list(range(begun + 1, begun + rest + 1))
    assert all((each.state, each.attempts) == (DUE, 0) for job in delivery.queue.settled for each in job.settlements)
    # What was under way ends well, and is not sent again.
    while len(delivery.network.messages) < begun or delivery.queue.leased:
        for wire in delivery.network.wires:
            if wire.protocol.awaits_end:
                wire.push(b"250 ok\r\n")
        delivery.run(0.1, step=0.1)
    assert sorted(chain(*numbers(delivery))) == list(range(1, begun + rest + 1))
    assert len(delivery.network.messages) == begun
    delivery.queue.is_paused = False
    for receiver in silent:
        receiver._script["end"][0] = "250 ok"
    delivery.scheduler.generation_changed()
    delivery.run(2.0)
    assert len({recipients for _, recipients, _ in delivery.network.messages}) == begun + rest
    assert len(delivery.network.messages) == begun + rest


def test_a_part_whose_sibling_waits_to_be_written_down_is_not_released_with_it() -> None:
    delivery = bench(lambda: FakeReceiver(end=["250 ok"] * PERSONAL + [b""]), connections=1)
    delivery.queue.add(newsletter(3 * PERSONAL))
    delivery.run(0.5)
    assert not delivery.queue.released
    delivery.run(1.0)
    assert numbers(delivery) == [list(range(1, PERSONAL + 1))]
    delivery.queue.is_paused = True
    delivery.scheduler.generation_changed()
    delivery.run(1.0)
    assert not delivery.queue.released


def test_what_was_not_begun_at_all_is_released_as_before() -> None:
    delivery = bench(lambda: FakeReceiver(end=b""), connections=AT_ONCE + 1, clock=TurnClock())
    busy = [make_job(submission=f"busy{number}") for number in range(AT_ONCE)]
    delivery.queue.add(*busy, newsletter(PERSONAL + 1, submission="waits"))
    delivery.run(GAP, step=GAP)
    delivery.queue.is_paused = True
    delivery.scheduler.generation_changed()
    delivery.run(1.0)
    assert delivery.queue.released == ["waits"]


def test_stopping_counts_every_recipient() -> None:
    delivery = bench(lambda: FakeReceiver(end=b""), connections=1)
    delivery.queue.add(newsletter(3 * PERSONAL))
    delivery.run(2.0)
    delivery.scheduler.stopService()
    for _ in range(120):
        delivery.clock.advance(0.5)
        delivery.network.move()
    (in_doubt, *rest) = sorted(each for job in delivery.queue.settled for each in job.settlements)
    assert (in_doubt.number, in_doubt.possible_duplicate) == (1, True)
    assert [(each.number, each.attempts) for each in rest] == [(n, 0) for n in range(2, 3 * PERSONAL + 1)]


def test_a_feature_that_is_gone_holds_its_mail() -> None:
    delivery = DeliveryBench(FakeReceiver, personalizer=Personalizer(FakeCatalog()))  # type: ignore[arg-type]
    delivery.queue.add(newsletter(2))
    delivery.run(2.0)
    settlements = [each for job in delivery.queue.settled for each in job.settlements]
    assert [each.state for each in settlements] == [RecipientState.HELD] * 2
    assert settlements[0].event is not None
    assert settlements[0].event.data["description"] == "The feature links, which this message needs, is not there"
    assert delivery.metrics.counts["deliveries", OutcomeKind.HOLD.value] == 2
