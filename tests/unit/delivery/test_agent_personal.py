"""Recipients who have a copy of their own."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import fail, succeed

from smtpeter.delivery.form import SMALL, Impersonal
from smtpeter.features.personal import Personalizer
from smtpeter.interfaces import IPersonalizer
from smtpeter.mime.convert import convert
from smtpeter.model.delivery import Job, OutcomeKind
from smtpeter.model.feature import PlacedSlot, Slot
from tests.fakes.agent import Bench, kinds
from tests.fakes.features import Enveloper, FakeCatalog, Filler, make_personal_job
from tests.fakes.jobs import FakeQueue, make_job, make_recipient
from tests.fakes.receiver import DROP, EHLO, FakeReceiver
from tests.unit.delivery.test_agent_conversion import HEADER, POOR, Threads

DELIVERED, FAILED, HOLD, NOT_TRIED = OutcomeKind.DELIVERED, OutcomeKind.FAILED, OutcomeKind.HOLD, OutcomeKind.NOT_TRIED
VERP = (("verp", "true"),)
SLOT = Slot("links", "k-6", 6)
LARGE = b"Subject: x\r\n\r\n" + b"line\r\n" * (SMALL // 6)


class Personal(Bench):
    """With features: links fills slots, verp chooses reverse-paths."""

    def __init__(self, receivers: Any = FakeReceiver, **options: Any) -> None:
        self.links, self.verp = Filler(), Enveloper("verp")
        self.catalog = FakeCatalog(links=self.links, verp=self.verp)
        super().__init__(receivers, personalizer=Personalizer(self.catalog), **options)  # type: ignore[arg-type]

    @property
    def envelopes(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(path, recipients) for path, recipients, _ in self.network.messages]


def personal_job(count: int = 1, **changes: Any) -> Job:
    return make_personal_job([b"Subject: x\r\n\r\n", SLOT, b"\r\n"], count, **{"options": VERP, **changes})


def test_the_default_is_that_all_get_the_same() -> None:
    assert IPersonalizer.providedBy(Impersonal())
    assert not Impersonal().is_personal(personal_job())


def test_each_recipient_has_a_transaction_of_his_own_on_the_same_connection() -> None:
    bench = Personal()
    assert kinds(bench.deliver(personal_job(3))[0]) == [DELIVERED] * 3
    assert bench.network.messages == [
        (f"verp-{n}@bounces.example", (f"r{n}@example.net",), b"Subject: x\r\n\r\nk-6_%d_\r\n" % n) for n in (1, 2, 3)
    ]
    assert bench.network.tried == 1


def test_the_parameters_of_the_envelope_stay() -> None:
    recipients = [make_recipient(n, notify="FAILURE", orcpt=f"rfc822;o{n}@example.net") for n in (1, 2)]
    bench = Personal()
    bench.deliver(personal_job(recipients=recipients, ret="HDRS", envid="e+2B1"))
    commands = bench.network.wires[0].receiver.commands
    assert commands[4:6] == [
        f"MAIL FROM:<verp-2@bounces.example> SIZE={len(LARGE[:14]) + 8} RET=HDRS ENVID=e+2B1",
        "RCPT TO:<r2@example.net> NOTIFY=FAILURE ORCPT=rfc822;o2@example.net",
    ]


def test_a_message_without_slots_may_have_reverse_paths_of_its_own() -> None:
    bench = Personal()
    assert kinds(bench.deliver(make_job(2, options=VERP))[0]) == [DELIVERED] * 2
    assert [path for path, _ in bench.envelopes] == ["verp-1@bounces.example", "verp-2@bounces.example"]
    assert not bench.links.asked


def test_slots_alone_leave_the_reverse_path() -> None:
    bench = Personal()
    bench.deliver(personal_job(2, options=()))
    assert bench.envelopes == [("sender@example.org", (f"r{n}@example.net",)) for n in (1, 2)]


def test_a_plain_job_goes_to_all_at_once_and_no_feature_is_asked() -> None:
    bench = Personal()
    bench.deliver(make_job(100))
    assert [len(recipients) for _, recipients in bench.envelopes] == [100]
    assert bench.catalog.questions == 0


def test_a_thousand_recipients_cost_one_reading_and_one_question_for_each() -> None:
    bench = Personal()
    reads = []

    def read(submission: str, content: Any) -> Any:
        reads.append(submission)
        return succeed(content.data)

    bench.contents.read = read  # type: ignore[method-assign]
    assert kinds(bench.deliver(personal_job(1000))[0]) == [DELIVERED] * 1000
    assert len({content for _, _, content in bench.network.messages}) == 1000
    assert reads == ["s1"]
    assert [len(feature.asked) for feature in (bench.links, bench.verp)] == [1000, 1000]  # type: ignore[arg-type]
    assert bench.catalog.questions <= 3


def test_refusals_are_for_the_recipient_alone() -> None:
    for script in ({"mail": ["250 ok", "550 no", "250 ok"]}, {"rcpt": ["250 ok", "550 no", "250 ok"]},
                   {"end": ["250 ok", "550 no", "250 ok"]}):  # fmt: skip
        bench = Personal(lambda script=script: FakeReceiver(**script))
        assert kinds(bench.deliver(personal_job(3))[0]) == [DELIVERED, FAILED, DELIVERED]


def test_a_connection_lost_in_between_is_replaced_and_nobody_gets_anothers_copy() -> None:
    receivers = iter([FakeReceiver(mail=["250 ok", DROP]), FakeReceiver()])
    bench = Personal(lambda: next(receivers))
    assert kinds(bench.deliver(personal_job(3))[0]) == [DELIVERED] * 3
    assert [(path, recipients[0], content[14:-2].decode()) for path, recipients, content in bench.network.messages] == [
        (f"verp-{n}@bounces.example", f"r{n}@example.net", f"k-6_{n}_") for n in (1, 2, 3)
    ]
    assert len(bench.links.asked) == 3


def test_connections_carry_no_more_transactions_than_they_may() -> None:
    bench = Personal(messages=2)
    assert kinds(bench.deliver(personal_job(5))[0]) == [DELIVERED] * 5
    assert bench.network.tried == 3
    assert sorted(recipients for _, (recipients,) in bench.envelopes) == [f"r{n}@example.net" for n in range(1, 6)]


def test_the_store_is_told_of_each_recipient_before_his_final_dot() -> None:
    queue = FakeQueue()
    bench = Personal(mark=queue.mark_in_doubt)
    assert kinds(bench.deliver(personal_job(3))[0]) == [DELIVERED] * 3
    assert queue.marked == [("s1", 1, [1]), ("s1", 1, [2]), ("s1", 1, [3])]


def test_nothing_more_is_sent_under_a_lease_that_was_lost() -> None:
    queue = FakeQueue()
    queue.ours = False
    bench = Personal(mark=queue.mark_in_doubt)
    assert kinds(bench.deliver(personal_job(3))[0]) == [NOT_TRIED] * 3
    assert queue.marked == [("s1", 1, [1])] and not bench.network.messages


# --- features that are not there ---


@pytest.mark.parametrize("data", [b"", LARGE], ids=["small", "large"])
def test_a_message_whose_feature_is_gone_is_held_and_the_connection_goes_on(data: bytes) -> None:
    bench = Personal()
    del bench.catalog.features["links"]
    job = make_personal_job([data, SLOT, b"\r\n"], 50)
    outcomes, others = bench.deliver(job, make_job(2))
    assert {(each.kind, each.enhanced, each.text) for each in outcomes.values()} == {
        (HOLD, "4.3.5", "The feature links, which this message needs, is not there")
    }
    assert len(outcomes) == 50 and kinds(others) == [DELIVERED] * 2
    assert len(bench.network.messages) == 1 and bench.capacity() == 20


def test_a_feature_that_fails_for_one_recipient_keeps_the_others_mail_going() -> None:
    for data in (b"", LARGE):
        bench = Personal()
        values = bench.links.values
        bench.links.values = lambda keys, whom, values=values: [] if whom.number == 2 else values(keys, whom)  # type: ignore
        (outcomes,) = bench.deliver(make_personal_job([data, SLOT, b"\r\n"], 3))
        assert kinds(outcomes) == [DELIVERED, HOLD, DELIVERED]
        assert outcomes[2].text == "The feature links, which this message needs, failed"


def test_a_reverse_path_that_cannot_be_made_holds_its_recipient() -> None:
    bench = Personal()
    bench.verp.path = ZeroDivisionError()
    assert kinds(bench.deliver(personal_job(2))[0]) == [HOLD, HOLD]
    assert not bench.network.messages


def test_slots_that_do_not_lie_within_the_content_hold_the_message() -> None:
    bench = Personal()
    (outcomes,) = bench.deliver(make_job(2, slots=(PlacedSlot(9999, SLOT),)))
    assert kinds(outcomes) == [HOLD, HOLD] and "damaged" in outcomes[1].text


def test_a_bug_in_the_thread_ends_its_own_job_only() -> None:
    bench = Personal(in_thread=lambda function: fail(MemoryError()))
    (outcomes,) = bench.deliver(make_personal_job([LARGE, SLOT], 3))
    assert kinds(outcomes) == [OutcomeKind.DEFERRED] * 3
    assert bench.capacity() == 20


# --- conversion ---

EIGHT_BIT = [HEADER + "\r\nUn café ".encode(), SLOT, b"\r\n"]


def test_a_receiver_without_8bitmime_gets_each_copy_converted() -> None:
    bench = Personal(lambda: FakeReceiver(ehlo=POOR))
    job = make_personal_job(EIGHT_BIT, 2)
    (outcomes,) = bench.deliver(job)
    assert [(each.kind, each.seven_bit) for each in outcomes.values()] == [(DELIVERED, True)] * 2
    copies = [(job.content.data or b"").replace(b"######", b"k-6_%d_" % n) for n in (1, 2)]
    assert [content for _, _, content in bench.network.messages] == [convert(each, eight_bit=False) for each in copies]


def test_what_needs_no_conversion_is_not_said_to_be_converted() -> None:
    for ehlo, job in ((EHLO, make_personal_job(EIGHT_BIT)), (POOR, personal_job())):
        bench = Personal(lambda ehlo=ehlo: FakeReceiver(ehlo=ehlo))
        (outcomes,) = bench.deliver(job)
        assert (outcomes[1].kind, outcomes[1].seven_bit) == (DELIVERED, False)


def test_what_is_small_and_needs_nothing_waits_for_no_thread() -> None:
    threads = Threads()
    bench = Personal(in_thread=threads)
    assert kinds(bench.deliver(make_personal_job(EIGHT_BIT, 3))[0]) == [DELIVERED] * 3


def test_a_large_copy_is_made_in_a_thread() -> None:
    threads = Threads()
    bench = Personal(in_thread=threads)
    (fired,) = bench.start(make_personal_job([LARGE, SLOT, b"\r\n"], 2))
    for number in (1, 2):
        assert not fired and len(threads.calls) == 1 and len(bench.links.asked) == number - 1
        threads.run()
        bench.network.move()
    assert kinds(fired[0]) == [DELIVERED] * 2
    assert [content[-8:] for _, _, content in bench.network.messages] == [b"k-6_1_\r\n", b"k-6_2_\r\n"]


def test_a_connection_lost_while_a_copy_is_made_is_replaced_by_one_that_takes_another_form() -> None:
    receivers = iter([FakeReceiver(), FakeReceiver(ehlo=POOR)])
    threads = Threads()
    bench = Personal(lambda: next(receivers), connections=1, in_thread=threads)
    (fired,) = bench.start(
        make_personal_job([HEADER + b"\r\n" + "Un café noir.\r\n".encode() * 20_000, SLOT, b"\r\n"], 2)
    )
    bench.network.wires[0].lose(Exception("gone"))
    for _ in range(3):
        threads.run()
        bench.network.move()
    assert [(each.kind, each.seven_bit) for each in fired[0].values()] == [(DELIVERED, True)] * 2
    assert [content[-8:] for _, _, content in bench.network.messages] == [b"k-6_1_\r\n", b"k-6_2_\r\n"]


def test_stopping_while_a_copy_is_made() -> None:
    threads = Threads()
    bench = Personal(in_thread=threads, stop_timeout=20.0)
    (fired,) = bench.start(make_personal_job([LARGE, SLOT], 2))
    stopped: list[None] = []
    bench.agent.stop().addCallback(stopped.append)
    bench.advance(21.0)
    threads.run()
    bench.network.move()
    assert kinds(fired[0]) == [NOT_TRIED] * 2
    assert stopped == [None]
