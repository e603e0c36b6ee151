"""Transactions of the client's session, against receivers that answer in every way."""

from __future__ import annotations

from typing import Any

import pytest

from smtpeter.model.delivery import LeasedRecipient, Outcome, OutcomeKind
from smtpeter.smtp.client import CHUNK, ClientSession
from smtpeter.smtp.client_events import (
    ClientEvent,
    ClientProfile,
    CloseEvent,
    MarkEvent,
    ReadyEvent,
    ResultEvent,
)
from smtpeter.smtp.transaction import Transaction
from tests.fakes.jobs import CONTENT, make_recipient
from tests.fakes.receiver import DROP, EHLO, FakeReceiver

DELIVERED, DEFERRED, FAILED = OutcomeKind.DELIVERED, OutcomeKind.DEFERRED, OutcomeKind.FAILED
HOLD, IN_DOUBT, NOT_TRIED = OutcomeKind.HOLD, OutcomeKind.IN_DOUBT, OutcomeKind.NOT_TRIED
PLAIN_EHLO = "250 relay.example"
PROFILE = ClientProfile("gate.example", "relay.example", relay=True)


class Dialogue:
    """A session and a receiver; ``events`` are what the host would see.  ``split``: octets arrive one by one.  Each
    answer takes 10 ms."""

    def __init__(self, receiver: FakeReceiver, profile: ClientProfile = PROFILE, *, split: bool = False) -> None:
        self.receiver = receiver
        self.now = 100.0
        self.session = ClientSession(profile, "192.0.2.1", "192.0.2.25", lambda: self.now)
        self.events: list[ClientEvent] = []
        self._split = split
        self.hear(receiver.greet())

    def hear(self, octets: bytes) -> None:
        for piece in [octets[at : at + 1] for at in range(len(octets))] if self._split else [octets]:
            self.session.receive(piece)
        self.run()

    def run(self) -> None:
        while output := self.session.take_output():
            answer = self.receiver.receive(output)
            self.now += 0.010001
            if answer:
                self.hear(answer)
            if self.receiver.dropped:
                self.session.lost("connection lost")
        while (event := self.session.next_event()) is not None:
            self.events.append(event)

    def send(self, *recipients: LeasedRecipient, **changes: Any) -> dict[int, Outcome]:
        """The outcomes, empty where the receiver is silent."""
        self.events.clear()
        transaction = Transaction("sender@example.org", recipients or (make_recipient(),), CONTENT)
        self.session.begin(transaction._replace(**changes))
        self.run()
        return self.outcomes

    @property
    def outcomes(self) -> dict[int, Outcome]:
        results = [event for event in self.events if isinstance(event, ResultEvent)]
        assert len(results) <= 1
        return dict(results[0].outcomes) if results else {}

    @property
    def closed(self) -> bool:
        return any(isinstance(event, CloseEvent) for event in self.events)


def kinds(outcomes: dict[int, Outcome]) -> list[OutcomeKind]:
    return [outcome.kind for _, outcome in sorted(outcomes.items())]


def three() -> list[LeasedRecipient]:
    return [make_recipient(number) for number in (1, 2, 3)]


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("ehlo", [EHLO, PLAIN_EHLO])
def test_a_message_is_delivered(ehlo: str, split: bool) -> None:
    receiver = FakeReceiver(ehlo=ehlo)
    dialogue = Dialogue(receiver, split=split)
    assert dialogue.events == [ReadyEvent()]
    outcome = Outcome(DELIVERED, 250, "2.0.0", "Ok, queued as 17", "192.0.2.1", "192.0.2.25", "relay.example", "end")
    outcome = outcome._replace(notifies=ehlo == EHLO)
    outcomes = dialogue.send(*three())
    assert {number: each._replace(dialogue="") for number, each in outcomes.items()} == dict.fromkeys(
        (1, 2, 3), outcome
    )
    recipients = ("r1@example.net", "r2@example.net", "r3@example.net")
    assert receiver.messages == [("sender@example.org", recipients, CONTENT)]
    assert dialogue.session.ready and not dialogue.closed
    dialogue.send()
    assert len(receiver.messages) == 2
    assert "RSET" not in receiver.commands


def test_a_group_is_sent_in_one_piece_where_pipelining_is_offered() -> None:
    session = ClientSession(PROFILE)
    session.receive(b"220 hi\r\n")
    session.take_output()
    session.receive(EHLO.encode() + b"\r\n")
    session.begin(Transaction("", three()[:2], CONTENT))
    assert session.take_output() == (
        b"MAIL FROM:<> SIZE=%d\r\nRCPT TO:<r1@example.net>\r\nRCPT TO:<r2@example.net>\r\nDATA\r\n" % len(CONTENT)
    )
    session.receive(b"250 a\r\n250 b\r\n250 c\r\n354 d\r\n")
    assert session.take_output() == b"Subject: hello\r\n\r\nHello.\r\n..dot\r\n.\r\n"


def test_commands_go_one_by_one_where_it_is_not() -> None:
    session = ClientSession(PROFILE)
    session.receive(b"220 hi\r\n")
    session.take_output()
    session.receive(b"250 relay\r\n")
    session.begin(Transaction("", three()[:2], CONTENT))
    for command in (b"MAIL FROM:<>", b"RCPT TO:<r1@example.net>", b"RCPT TO:<r2@example.net>", b"DATA"):
        assert session.take_output() == command + b"\r\n"
        session.receive(b"250 ok\r\n")


# Each row: the script, whether for a receiver with pipelining only (True), and what becomes of three recipients.
BOTH = (EHLO, PLAIN_EHLO)
ROWS: list[tuple[dict[str, Any], list[OutcomeKind], bool]] = [
    ({"mail": "451 4.3.0 later"}, [DEFERRED] * 3, False),
    ({"mail": "550 5.7.1 no"}, [FAILED] * 3, False),
    ({"mail": "530 5.7.0 authenticate"}, [HOLD] * 3, False),
    ({"mail": "421 4.3.2 going"}, [DEFERRED] * 3, True),
    ({"mail": "354 what"}, [DEFERRED] * 3, True),
    ({"mail": "999 what"}, [DEFERRED] * 3, True),
    ({"mail": DROP}, [DEFERRED] * 3, True),
    ({"rcpt": ["250 ok", "450 4.2.0 grey", "550 5.1.1 unknown"]}, [DELIVERED, DEFERRED, FAILED], False),
    ({"rcpt": ["550 5.1.1 unknown", "250 ok", "550 5.1.1 unknown"]}, [FAILED, DELIVERED, FAILED], False),
    ({"rcpt": "550 5.1.1 unknown"}, [FAILED] * 3, False),
    ({"rcpt": ["535 5.7.8 auth", "250 ok", "538 5.7.11 tls"]}, [HOLD, DELIVERED, HOLD], False),
    ({"rcpt": ["250 ok", "421 4.3.2 going"]}, [DEFERRED] * 3, True),
    ({"rcpt": ["550 5.1.1 unknown", "421 4.3.2 going"]}, [FAILED, DEFERRED, DEFERRED], True),
    ({"rcpt": ["250 ok", "354 what"]}, [DEFERRED] * 3, True),
    ({"rcpt": ["550 5.1.1 unknown", DROP]}, [FAILED, DEFERRED, DEFERRED], True),
    ({"rcpt": ["550 5.1.1 unknown", "nonsense"]}, [DEFERRED] * 3, True),
    ({"rcpt": ["250 ok", "452 4.5.3 Too many recipients"]}, [DELIVERED, NOT_TRIED, NOT_TRIED], False),
    ({"rcpt": ["250 ok", "552 too many recipients"]}, [DELIVERED, NOT_TRIED, NOT_TRIED], False),
    ({"rcpt": ["250 ok", "452 4.3.1 disk full", "552 5.2.2 mailbox full"]}, [DELIVERED, DEFERRED, FAILED], False),
    ({"rcpt": "452 4.5.3 Too many recipients"}, [DEFERRED] * 3, False),
    ({"rcpt": ["250 ok", "452 come again"]}, [DELIVERED, NOT_TRIED, NOT_TRIED], False),
    ({"rcpt": "452 come again"}, [DEFERRED] * 3, False),
    ({"rcpt": ["250 ok", "552 no room"]}, [DELIVERED, FAILED, FAILED], False),
    ({"rcpt": ["251 2.1.5 elsewhere", "252 2.5.0 we shall see", "2"]}, [DEFERRED] * 3, True),
    ({"rcpt": ["251 2.1.5 elsewhere", "252 2.5.0 we shall see", "299"]}, [DELIVERED] * 3, False),
    ({"mail": "251 ok"}, [DELIVERED] * 3, False),
    ({"mail": "452 4.3.1 no room"}, [DEFERRED] * 3, False),
    ({"mail": "552 5.3.4 too large"}, [FAILED] * 3, False),
    ({"rcpt": ["250 ok", b"550-5.1.1 a\r\n450 b\r\n"]}, [DEFERRED] * 3, True),
    ({"data": b"354-go\r\n354 on\r\n"}, [DELIVERED] * 3, False),
    ({"end": b"250 2.0.0 caf\xc3\xa9 \xff\0\r\n"}, [DELIVERED] * 3, False),
    ({"data": "451 4.3.0 later"}, [DEFERRED] * 3, False),
    ({"data": "554 5.5.1 no"}, [FAILED] * 3, False),
    ({"data": "421 going"}, [DEFERRED] * 3, True),
    ({"data": "250 what"}, [DEFERRED] * 3, True),
    ({"data": DROP}, [DEFERRED] * 3, True),
    ({"data": "554 5.5.1 no", "rcpt": ["450 x", "250 ok", "550 y"]}, [DEFERRED, FAILED, FAILED], False),
    ({"end": "451 4.3.0 later"}, [DEFERRED] * 3, False),
    ({"end": "554 5.6.0 no"}, [FAILED] * 3, False),
    ({"end": "421 4.3.2 going"}, [DEFERRED] * 3, True),
    ({"end": DROP}, [IN_DOUBT] * 3, True),
    ({"end": "nonsense"}, [IN_DOUBT] * 3, True),
    ({"end": "354 what"}, [IN_DOUBT] * 3, True),
    ({"end": DROP, "rcpt": ["250 ok", "450 x", "550 y"]}, [IN_DOUBT, DEFERRED, FAILED], True),
    ({"end": "251 2.0.0 ok"}, [DELIVERED] * 3, False),
    ({"end": b"250-2.0.0 a\r\n250 2.0.0 b\r\n"}, [DELIVERED] * 3, False),
    ({"end": b"250-" + b"x" * 70000}, [IN_DOUBT] * 3, True),
    ({"mail": b"250-x\r\n" * 200}, [DEFERRED] * 3, True),
    ({"mail": b"250-a\r\n251 b\r\n"}, [DEFERRED] * 3, True),
]


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("ehlo", BOTH)
@pytest.mark.parametrize(("script", "expected", "closes"), ROWS)
def test_what_becomes_of_three_recipients(
    script: dict[str, Any], expected: list[OutcomeKind], closes: bool, ehlo: str, split: bool
) -> None:
    receiver = FakeReceiver(ehlo=ehlo, **script)
    dialogue = Dialogue(receiver, split=split)
    outcomes = dialogue.send(*three())
    assert kinds(outcomes) == expected
    assert dialogue.closed == closes
    assert dialogue.session.ready != closes
    if IN_DOUBT not in expected:
        taken = [f"r{number}@example.net" for number, kind in enumerate(expected, 1) if kind is DELIVERED]
        assert not taken or receiver.messages[0][1] == tuple(taken)


@pytest.mark.parametrize("ehlo", BOTH)
def test_the_next_transaction_starts_clean_after_one_that_failed_half_way(ehlo: str) -> None:
    receiver = FakeReceiver(ehlo=ehlo, rcpt=["550 5.1.1 unknown", "250 ok"], data=["554 5.5.1 no", "354 go"])
    dialogue = Dialogue(receiver)
    dialogue.send()
    if ehlo == PLAIN_EHLO:
        receiver._script["data"].popleft()  # DATA was not sent
    assert kinds(dialogue.send()) == [DELIVERED]
    assert receiver.commands.count("RSET") == 1
    assert receiver.commands.index("RSET") < receiver.commands.index("DATA", 4)
    assert kinds(dialogue.send()) == [DELIVERED]
    assert receiver.commands.count("RSET") == 1


def test_a_refused_rset_costs_no_attempt() -> None:
    receiver = FakeReceiver(rcpt="550 5.1.1 unknown", data="554 no", rset="500 what")
    dialogue = Dialogue(receiver)
    dialogue.send()
    assert kinds(dialogue.send()) == [NOT_TRIED]
    assert dialogue.closed


def test_a_receiver_that_wants_data_for_nobody_gets_only_a_dot() -> None:
    receiver = FakeReceiver(rcpt="550 5.1.1 unknown", end=["554 5.5.1 no recipients", "250 ok"])
    dialogue = Dialogue(receiver)
    assert kinds(dialogue.send(*three())) == [FAILED] * 3
    assert receiver.messages == [("sender@example.org", (), b"")]
    assert dialogue.session.ready


def test_a_refused_mail_decides_although_the_receiver_takes_the_rest() -> None:
    receiver = FakeReceiver(mail="550 5.7.1 not you")
    outcomes = Dialogue(receiver).send(*three())
    assert {(outcome.kind, outcome.text) for outcome in outcomes.values()} == {(FAILED, "not you")}


def test_replies_never_shift_when_there_is_one_too_many() -> None:
    receiver = FakeReceiver(rcpt=["250 ok", b"250 ok\r\n550 5.1.1 extra\r\n", "250 ok"])
    dialogue = Dialogue(receiver)
    assert kinds(dialogue.send(*three())) == [DEFERRED] * 3
    assert dialogue.closed
    assert not receiver.messages


def test_replies_never_shift_when_there_is_one_too_few() -> None:
    receiver = FakeReceiver(rcpt=["250 ok", b"", "550 5.1.1 unknown"])
    dialogue = Dialogue(receiver)
    assert kinds(dialogue.send(*three())) == [DEFERRED] * 3  # 354 stands where an answer to RCPT should
    assert dialogue.closed


def test_an_extra_reply_after_the_end_closes_before_it_can_shift() -> None:
    dialogue = Dialogue(FakeReceiver(end=b"250 ok\r\n250 again\r\n"))
    assert kinds(dialogue.send()) == [DELIVERED]
    assert dialogue.closed and not dialogue.session.ready


def test_an_answer_that_came_before_its_command_answers_nothing() -> None:
    """It would be the answer to the next command, and each later one that of the command before."""
    receiver = FakeReceiver(ehlo=PLAIN_EHLO, rcpt=[b"250 ok\r\n250 early\r\n", "550 no"])
    dialogue = Dialogue(receiver)
    assert kinds(dialogue.send(*three())) == [DEFERRED] * 3
    assert dialogue.closed
    assert not receiver.messages


def test_replies_never_shift_when_one_is_owed_and_time_is_up() -> None:
    """550 may be meant for the second, 554 for DATA: nobody knows which answer is missing."""
    receiver = FakeReceiver(rcpt=["250 ok", b"", "550 5.1.1 unknown"], data="554 5.5.1 no")
    dialogue = Dialogue(receiver)
    assert dialogue.send(*three()) == {}
    dialogue.session.timed_out()
    dialogue.run()
    assert kinds(dialogue.outcomes) == [DEFERRED] * 3


def test_what_was_refused_one_by_one_stays_refused_when_time_is_up() -> None:
    receiver = FakeReceiver(ehlo=PLAIN_EHLO, rcpt=["550 5.1.1 unknown", None])
    dialogue = Dialogue(receiver)
    assert dialogue.send(*three()) == {}
    dialogue.session.timed_out()
    dialogue.run()
    assert kinds(dialogue.outcomes) == [FAILED, DEFERRED, DEFERRED]


def test_a_refused_mail_stays_refused_when_time_is_up() -> None:
    dialogue = Dialogue(FakeReceiver(mail="550 5.7.1 not you", rcpt=None))
    dialogue.send(*three())
    dialogue.session.timed_out()
    dialogue.run()
    assert kinds(dialogue.outcomes) == [FAILED] * 3


def test_replies_never_shift_when_the_one_too_many_is_seen_only_at_the_end() -> None:
    """The 550 of the third would be that of DATA, and fail the first two; then 354 comes, which answers nothing."""
    receiver = FakeReceiver(rcpt=["250 ok", b"250 ok\r\n550 5.1.1 extra\r\n", "550 5.1.1 unknown"])
    dialogue = Dialogue(receiver)
    assert kinds(dialogue.send(*three())) == [DEFERRED] * 3
    assert dialogue.closed
    assert not receiver.messages


def test_a_receiver_that_says_421_after_a_refusal_has_refused() -> None:
    dialogue = Dialogue(FakeReceiver(rcpt="550 5.1.1 unknown", data=b"554 no\r\n421 4.7.0 too many errors\r\n"))
    assert kinds(dialogue.send(*three())) == [FAILED] * 3
    assert dialogue.closed


def test_octets_that_come_while_nothing_is_asked_close_even_where_they_are_no_line_yet() -> None:
    dialogue = Dialogue(FakeReceiver())
    assert kinds(dialogue.send()) == [DELIVERED]
    assert dialogue.session.ready
    dialogue.hear(b"2")
    assert dialogue.closed and not dialogue.session.ready


def test_an_answer_before_the_end_of_the_message_is_none() -> None:
    for early, code in ((b"250 2.0.0 thanks\r\n", 0), (b"451 4.3.0 later\r\n", 451), (b"554 no\r\n", 0)):
        dialogue = Dialogue(FakeReceiver())
        dialogue.session.begin(Transaction("", [make_recipient()], b"x" * 3 * CHUNK))
        dialogue.session.take_output()
        dialogue.session.receive(b"250 a\r\n250 b\r\n354 c\r\n")
        assert dialogue.session.sending
        dialogue.session.take_output()
        dialogue.session.receive(early)
        dialogue.receiver.dropped = True
        dialogue.run()
        assert [(outcome.kind, outcome.code) for outcome in dialogue.outcomes.values()] == [(DEFERRED, code)]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_content_goes_out_in_pieces(size: int) -> None:
    content = (b".\r\n" * size)[: size // 3 * 3]
    receiver = FakeReceiver()
    assert kinds(Dialogue(receiver).send(content=content)) == [DELIVERED]
    assert receiver.messages[0][2] == content


def test_an_idle_session_that_is_told_421_is_closed_without_any_outcome() -> None:
    dialogue = Dialogue(FakeReceiver())
    dialogue.events.clear()
    dialogue.hear(b"421 4.4.2 idle too long\r\n")
    assert dialogue.events == [CloseEvent("unasked for: 421 4.4.2 idle too long")]


@pytest.mark.parametrize("answer", [DROP, "421 4.7.0 enough"])
def test_a_used_connection_that_was_closed_meanwhile_costs_no_attempt(answer: str) -> None:
    dialogue = Dialogue(FakeReceiver(mail=["250 ok", answer]))
    assert kinds(dialogue.send()) == [DELIVERED]
    assert kinds(dialogue.send()) == [NOT_TRIED]
    assert dialogue.closed


def test_a_fresh_connection_that_is_closed_at_mail_costs_an_attempt() -> None:
    dialogue = Dialogue(FakeReceiver(mail="421 4.7.0 not now"))
    outcomes = dialogue.send()
    assert kinds(outcomes) == [DEFERRED]
    assert (outcomes[1].code, outcomes[1].text, outcomes[1].stage) == (421, "not now", "mail")


@pytest.mark.parametrize(
    ("silent", "stage", "timeout", "kind"),
    [
        ("mail", "mail", 300, DEFERRED),
        ("rcpt", "rcpt", 300, DEFERRED),
        ("data", "data", 120, DEFERRED),
        ("end", "end", 600, IN_DOUBT),
    ],
)
def test_each_stage_has_its_time(silent: str, stage: str, timeout: float, kind: OutcomeKind) -> None:
    dialogue = Dialogue(FakeReceiver(ehlo=PLAIN_EHLO, **{silent: None}))
    assert dialogue.send() == {}
    assert (dialogue.session.stage, dialogue.session.timeout) == (stage, timeout)
    dialogue.session.lost("Timeout")
    dialogue.run()
    assert [(each.kind, each.stage, each.text) for each in dialogue.outcomes.values()] == [(kind, stage, "Timeout")]


def test_sending_a_piece_has_its_time_and_a_ready_session_none() -> None:
    dialogue = Dialogue(FakeReceiver())
    assert dialogue.session.timeout is None
    dialogue.session.begin(Transaction("", [make_recipient()], b"x" * 3 * CHUNK))
    dialogue.session.take_output()
    dialogue.session.receive(b"250 a\r\n250 b\r\n354 c\r\n")
    steps = dialogue.session.steps
    dialogue.session.take_output()
    assert dialogue.session.timeout == 180
    assert dialogue.session.steps == steps + 1


@pytest.mark.parametrize("mark", [False, True])
def test_the_final_dot_of_large_content_goes_when_all_before_it_is_on_its_way(mark: bool) -> None:
    """So a receiver that never reads leaves no doubt: the host takes no more while it is held up."""
    dialogue = Dialogue(FakeReceiver())
    session = dialogue.session
    session.begin(Transaction("", [make_recipient()], b"x" * (CHUNK + 1), mark=mark))
    session.take_output()
    session.receive(b"250 a\r\n250 b\r\n354 c\r\n")
    assert session.take_output() + session.take_output() == b"x" * (CHUNK + 1)
    assert session.sending
    assert session.timeout == 180
    session.lost("Timeout")
    dialogue.run()
    assert [(each.kind, each.stage) for each in dialogue.outcomes.values()] == [(DEFERRED, "message")]


def test_the_final_dot_waits_for_the_mark() -> None:
    receiver = FakeReceiver()
    dialogue = Dialogue(receiver)
    assert dialogue.send(mark=True) == {}
    assert dialogue.events == [MarkEvent()]
    assert not receiver.messages
    dialogue.session.marked(True)
    dialogue.run()
    assert kinds(dialogue.outcomes) == [DELIVERED]
    assert receiver.messages[0][2] == CONTENT


def test_without_the_mark_the_message_is_taken_back() -> None:
    receiver = FakeReceiver()
    dialogue = Dialogue(receiver)
    dialogue.send(mark=True)
    dialogue.session.marked(False)
    dialogue.run()
    assert kinds(dialogue.outcomes) == [NOT_TRIED]
    assert dialogue.closed
    assert not receiver.messages


def test_a_connection_lost_while_the_mark_is_awaited_leaves_no_doubt() -> None:
    dialogue = Dialogue(FakeReceiver())
    dialogue.send(mark=True)
    dialogue.session.lost("gone")
    dialogue.session.marked(True)
    dialogue.run()
    assert kinds(dialogue.outcomes) == [DEFERRED]


def test_what_a_hostile_receiver_says_is_cleaned() -> None:
    outcomes = Dialogue(FakeReceiver(mail=b"550-5.7.1 a\x1b[2J\0\xff\r\n550 5.7.1 <b>\r\n")).send()
    assert outcomes[1].text == "a [2J � <b>"
    assert outcomes[1].enhanced == "5.7.1"


def test_quit_waits_a_little_for_its_answer() -> None:
    dialogue = Dialogue(FakeReceiver(quit=None))
    dialogue.session.quit()
    dialogue.run()
    assert dialogue.receiver.commands[-1] == "QUIT"
    assert dialogue.session.timeout == 5
    assert not dialogue.closed
    dialogue.hear(b"221 bye\r\n")
    assert dialogue.closed


def test_what_cannot_be_put_to_a_receiver_is_not_said_to_be_its_answer() -> None:
    outcome = Dialogue(FakeReceiver(ehlo=PLAIN_EHLO)).send(content=b"Subject: x\r\n\r\ncaf\xc3\xa9\r\n")[1]
    assert (outcome.kind, outcome.enhanced, outcome.remote_mta) == (FAILED, "5.6.3", "")


# --- whose trouble it is ---

REFUSING = [
    {"mail": "530 5.7.0 log in"},
    {"mail": "535 5.7.8 who"},
    {"rcpt": "538 5.7.11 encrypt"},
    {"data": "530 5.7.0 log in"},
    {"end": "535 5.7.8 who"},
]


@pytest.mark.parametrize("script", REFUSING)
@pytest.mark.parametrize("ehlo", BOTH)
def test_what_a_relay_says_of_our_login_is_ours_to_mend_and_what_others_say_is_a_refusal(
    script: dict[str, str], ehlo: str
) -> None:
    profile = ClientProfile("gate.example", "relay.example")
    assert kinds(Dialogue(FakeReceiver(ehlo=ehlo, **script), profile).send()) == [FAILED]
    assert kinds(Dialogue(FakeReceiver(ehlo=ehlo, **script), profile._replace(relay=True)).send()) == [HOLD]


def test_who_logs_in_talks_to_a_relay() -> None:
    profile = ClientProfile("gate.example", "relay.example", username="user", password="secret")
    receiver = FakeReceiver(ehlo="250-relay.example\r\n250 AUTH PLAIN", mail="530 5.7.0 log in")
    assert kinds(Dialogue(receiver, profile).send()) == [HOLD]


def test_a_receiver_that_wants_tls_which_did_not_work_may_be_asked_again() -> None:
    """RFC 3207 section 4: 530 at MAIL.  Its TLS is broken for the moment; that must not bounce anything."""
    receiver = FakeReceiver(ehlo="250-mx.example\r\n250 STARTTLS", mail="530 5.7.0 Must issue STARTTLS first")
    assert kinds(Dialogue(receiver, ClientProfile("gate.example", "mx.example")).send()) == [DEFERRED]


def test_a_421_at_rset_costs_no_attempt() -> None:
    dialogue = Dialogue(FakeReceiver(rcpt="550 5.1.1 unknown", data="554 no", rset="421 4.3.2 going"))
    dialogue.send()
    assert kinds(dialogue.send()) == [NOT_TRIED]
    assert dialogue.closed


def test_outcomes_tell_of_tls_and_dsn() -> None:
    dialogue = Dialogue(FakeReceiver())
    assert (dialogue.session.encrypted, dialogue.send()[1].tls) == (False, "")
    dialogue.session.tls = "TLSv1.3 TLS_AES_256_GCM_SHA384, verified"
    outcome = dialogue.send()[1]
    assert dialogue.session.encrypted
    assert (outcome.tls, outcome.notifies) == ("TLSv1.3 TLS_AES_256_GCM_SHA384, verified", True)
    assert not Dialogue(FakeReceiver(ehlo=PLAIN_EHLO)).send()[1].notifies
