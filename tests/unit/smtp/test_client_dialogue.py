"""What the client's session keeps of what was said."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpeter.model.delivery import Outcome
from smtpeter.model.route import TlsPolicy
from smtpeter.smtp.client import CHUNK, ClientSession
from smtpeter.smtp.client_events import ClientProfile, ResultEvent, StartTlsEvent, UnusableEvent
from smtpeter.smtp.transaction import Transaction
from tests.fakes.jobs import CONTENT, make_recipient
from tests.fakes.receiver import DROP, EHLO, FakeReceiver

PROFILE = ClientProfile("gate.example", "mx.example")
PLAIN_EHLO = "250 mx.example"


class Talk:
    """A session and a receiver that takes 10 ms for each answer; the handshake takes 30."""

    def __init__(self, profile: ClientProfile = PROFILE, *, split: bool = False, **script: Any) -> None:
        self.now = 5000.0
        self.receiver = FakeReceiver(**script)
        self.session = ClientSession(profile, seconds=lambda: self.now)
        self.outcomes: dict[int, Outcome] = {}
        self.unusable: Outcome | None = None
        self._split = split
        self._hear(self.receiver.greet())

    def send(self, count: int = 1, **changes: Any) -> list[list[str]]:
        """The dialogues of that many recipients, in lines."""
        transaction = Transaction("a@example.org", [make_recipient(number) for number in range(1, count + 1)], CONTENT)
        self.session.begin(transaction._replace(**changes))
        self._run()
        return self.dialogues

    @property
    def dialogues(self) -> list[list[str]]:
        return [outcome.dialogue.split("\n") for _, outcome in sorted(self.outcomes.items())]

    def lose(self, why: str) -> list[list[str]]:
        self.session.lost(why)
        self._run()
        return self.dialogues

    def _hear(self, octets: bytes) -> None:
        self.now += 0.010001
        for piece in [octets[at : at + 1] for at in range(len(octets))] if self._split else [octets]:
            self.session.receive(piece)
        if self.receiver.dropped:
            self.session.lost("It broke")
        self._run()

    def _run(self) -> None:
        while (event := self.session.next_event()) is not None:
            match event:
                case StartTlsEvent():
                    self.session.tls_started()
                    self.now += 0.030001
                    self.session.tls = "TLSv1.3 TLS_AES_256_GCM_SHA384"
                case ResultEvent(outcomes):
                    self.outcomes = dict(outcomes)
                case UnusableEvent(outcome):
                    self.unusable = outcome
        if output := self.session.take_output():
            self._hear(self.receiver.receive(output))


OPENING = [
    "10 < 220 relay.example ESMTP",
    "10 > EHLO gate.example",
    "20 < 250-relay.example",
    "20 < 250-PIPELINING",
    "20 < 250-SIZE 50000000",
    "20 < 250-8BITMIME",
    "20 < 250-DSN",
    "20 < 250 SMTPUTF8",
]


@pytest.mark.parametrize("split", [False, True])
def test_the_first_transaction_of_a_connection(split: bool) -> None:
    (lines,) = Talk(split=split).send()
    assert lines == [
        *OPENING,
        "20 > MAIL FROM:<a@example.org> SIZE=32",
        "20 > RCPT TO:<r1@example.net>",
        "20 > DATA",
        "30 < 250 2.1.0 Ok",
        "30 < 250 2.1.5 Ok",
        "30 < 354 go ahead",
        "30 > (32 octets)",
        "30 > .",
        "40 < 250 2.0.0 Ok, queued as 17",
    ]


def test_a_connection_that_is_used_again() -> None:
    talk = Talk()
    talk.send()
    talk.now += 12
    (lines,) = talk.send()
    assert lines[:2] == [
        "0 - connection used again, opened 12 s before: 220 relay.example ESMTP",
        "0 > MAIL FROM:<a@example.org> SIZE=32",
    ]
    assert lines[-1] == "20 < 250 2.0.0 Ok, queued as 17"


def test_commands_that_go_one_by_one() -> None:
    (lines,) = Talk(ehlo=PLAIN_EHLO).send()
    assert lines == [
        "10 < 220 relay.example ESMTP",
        "10 > EHLO gate.example",
        "20 < 250 mx.example",
        "20 > MAIL FROM:<a@example.org>",
        "30 < 250 2.1.0 Ok",
        "30 > RCPT TO:<r1@example.net>",
        "40 < 250 2.1.5 Ok",
        "40 > DATA",
        "50 < 354 go ahead",
        "50 > (32 octets)",
        "50 > .",
        "60 < 250 2.0.0 Ok, queued as 17",
    ]


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("ehlo", [EHLO, PLAIN_EHLO])
def test_each_recipient_sees_his_own_answer_and_nobody_elses(ehlo: str, split: bool) -> None:
    talk = Talk(ehlo=ehlo, split=split, rcpt=["250 first", "550 5.1.1 second", "450 4.2.0 third"])
    dialogues = talk.send(3)
    for number, (answer, lines) in enumerate(zip(("first", "second", "third"), dialogues, strict=True), 1):
        text = "\n".join(lines)
        assert [line.partition(" > ")[2] for line in lines if "RCPT" in line] == [f"RCPT TO:<r{number}@example.net>"]
        assert [word for word in ("first", "second", "third") if word in text] == [answer]
        assert text.count("MAIL") == text.count("DATA") == text.count("queued as 17") == 1


def test_reset_is_told() -> None:
    talk = Talk(rcpt=["550 no", "250 ok"], data=["554 no", "354 go"])
    talk.send()
    (lines,) = talk.send()
    assert lines[1:6] == [
        "0 > RSET",
        "0 > MAIL FROM:<a@example.org> SIZE=32",
        "0 > RCPT TO:<r1@example.net>",
        "0 > DATA",
        "10 < 250 2.0.0 Ok",
    ]


def test_how_a_connection_was_lost_is_told() -> None:
    talk = Talk(end=DROP)
    (lines,) = talk.send()
    assert lines[-2:] == ["30 > .", "40 - It broke"]


@pytest.mark.parametrize("ehlo", [EHLO, PLAIN_EHLO])
def test_what_was_not_said_is_not_told(ehlo: str) -> None:
    talk = Talk(ehlo=ehlo, rcpt=None)
    assert talk.send(2) == []
    talk.now += 300
    one, two = talk.lose("Timeout")
    assert one[-1] == two[-1] == ("300030 - Timeout" if ehlo == EHLO else "300040 - Timeout")
    assert any("r1@example.net" in line for line in one)
    assert any("r2@example.net" in line for line in two) == (ehlo == EHLO)
    assert any("DATA" in line for line in one) == (ehlo == EHLO)


def test_answers_that_do_not_fit_are_told() -> None:
    """Nobody knows for whom 550 was; it stands where the second recipient's answer should."""
    one, two = Talk(rcpt=[b"250 ok\r\n550 5.1.1 extra\r\n", "250 last"]).send(2)
    assert (
        one[-2:]
        == two[-2:]
        == [
            "30 < 250 last",
            "30 - The receiver broke the protocol: an answer to DATA that is neither 354 nor no",
        ]
    )
    assert ("30 < 550 5.1.1 extra" in one, "30 < 550 5.1.1 extra" in two) == (False, True)


def test_how_long_sending_took_is_told() -> None:
    talk = Talk()
    session = talk.session
    session.begin(Transaction("", [make_recipient()], b"x" * 2 * CHUNK))
    session.take_output()
    session.receive(b"250 a\r\n250 b\r\n354 c\r\n")
    for _ in range(2):
        session.take_output()
    talk.now += 7
    session.take_output()
    (lines,) = talk.lose("Timeout")
    assert lines[-3:] == ["20 > (131072 octets)", "7020 > .", "7020 - Timeout"]


def test_tls_is_told() -> None:
    talk = Talk(PROFILE._replace(tls=TlsPolicy.MAY), ehlo=["250-mx.example\r\n250 STARTTLS", EHLO])
    (lines,) = talk.send()
    assert lines[2:9] == [
        "20 < 250-mx.example",
        "20 < 250 STARTTLS",
        "20 > STARTTLS",
        "30 < 220 2.0.0 go on",
        "30 > EHLO gate.example",
        "60 - TLSv1.3 TLS_AES_256_GCM_SHA384",
        "70 < 250-relay.example",
    ]


def test_a_session_that_could_not_be_opened() -> None:
    outcome = Talk(greeting="554 5.7.1 your address is listed").unusable
    assert outcome is not None and outcome.dialogue == "10 < 554 5.7.1 your address is listed"
    outcome = Talk(PROFILE._replace(tls=TlsPolicy.ENCRYPT), ehlo=PLAIN_EHLO).unusable
    assert outcome is not None
    assert outcome.dialogue.split("\n")[-1] == "20 - The receiver does not offer STARTTLS"
    outcome = Talk(greeting=DROP).unusable
    assert outcome is not None and outcome.dialogue == "10 - It broke"


def test_what_was_refused_before_it_was_said_has_only_the_opening() -> None:
    talk = Talk()
    talk.session.begin(
        Transaction("a@example.org", [make_recipient(1, "x\0y@example.net"), make_recipient(2)], CONTENT)
    )
    talk._run()
    refused, delivered = talk.dialogues
    assert refused == OPENING
    assert delivered[-1] == "40 < 250 2.0.0 Ok, queued as 17"
    talk.session.begin(Transaction("a@example.org", [make_recipient(1, "x\0y@example.net")], CONTENT))
    talk._run()
    assert talk.dialogues == [["0 - connection used again, opened 0 s before: 220 relay.example ESMTP"]]


def test_of_ehlo_only_what_makes_a_difference_is_kept() -> None:
    ehlo = "250-mx.example\r\n250-ETRN\r\n250-SIZE 1000\r\n250-auth=PLAIN\r\n250-X-VERY-LONG\r\n250 HELP"
    lines = Talk(ehlo=ehlo).send()[0]
    assert lines[2:5] == ["20 < 250-mx.example", "20 < 250-SIZE 1000", "20 < 250 auth=PLAIN"]


def test_an_answer_of_several_lines_keeps_them() -> None:
    lines = Talk(mail=b"550-5.7.26 one\r\n550-5.7.26 two\r\n550 5.7.26 three\r\n").send()[0]
    assert [line for line in lines if "5.7.26" in line] == [
        "30 < 550-5.7.26 one",
        "30 < 550-5.7.26 two",
        "30 < 550 5.7.26 three",
    ]


def test_a_long_answer_is_cut_at_a_line() -> None:
    lines = Talk(mail=b"550-" + b"x" * 300 + b"\r\n550-" + b"y" * 300 + b"\r\n550 z\r\n").send()[0]
    assert [line[:10] for line in lines if " < 550" in line] == ["30 < 550-x", "30 < 550 ."]


@pytest.mark.parametrize("letter", ["x", "\u20ac", "\U0001f4e7"])
def test_a_dialogue_is_never_over_8_kb(letter: str) -> None:
    long = (letter * 4000)[:4000].encode()
    several = b"".join(b"%d-" + long[:400].decode("utf-8", "ignore").encode() + b"\r\n" for _ in range(20))

    def answer(code: int) -> bytes:
        return several.replace(b"%d", b"%d" % code) + b"%d " % code + long + b"\r\n"

    ehlo = b"250-mx.example\r\n" + b"250-STARTTLS " + long[:200] + b"\r\n"
    ehlo += b"".join(b"250-AUTH LOGIN %s\r\n" % long[:100] for _ in range(50)) + b"250 PIPELINING\r\n"
    profile = PROFILE._replace(tls=TlsPolicy.MAY, username="user", password="pass-word")
    script = {
        name: answer(code)
        for name, code in {"greeting": 220, "mail": 250, "rcpt": 250, "data": 354, "end": 250}.items()
    }
    talk = Talk(
        profile,
        ehlo=ehlo,
        starttls=answer(220),
        auth=answer(334),
        response=[answer(334), answer(235)],
        rset=answer(250),
        **script,
    )
    opening = talk.session._dialogue.of_opening()
    assert opening.endswith(" - more that is left out")
    assert len(opening.encode()) < 3100
    recipient = make_recipient(1, letter * 300 + "@example.net", orcpt="rfc822;" + "o" * 490)
    for _ in range(2):
        talk.session._reset_needed = True
        talk.session.begin(Transaction("s" * 250 + "@example.org", [recipient], CONTENT, smtputf8=True))
        talk._run()
    assert all(0 < len("\n".join(lines).encode()) <= 8192 for lines in talk.dialogues)


# --- nothing that must not be there ---

SECRET = "correct horse"
HIDDEN = [
    SECRET,
    base64.b64encode(SECRET.encode()).decode(),
    base64.b64encode(f"\0user\0{SECRET}".encode()).decode(),
]
LOGIN = PROFILE._replace(username="user", password=SECRET)
ECHO = " and ".join(HIDDEN)


@pytest.mark.parametrize("stage", ["greeting", "auth", "response", "mail", "rcpt", "data", "end"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_receiver_that_repeats_the_password(stage: str, mechanism: str) -> None:
    script: dict[str, Any] = {"ehlo": f"250-mx\r\n250 AUTH {mechanism}"}
    if mechanism == "LOGIN":
        script |= {"auth": "334 a", "response": ["334 b", "235 ok"]}
    codes = {"greeting": 220, "auth": 535, "response": 535, "mail": 550, "rcpt": 550, "data": 554, "end": 554}
    script[stage] = f"{codes[stage]} {ECHO}"
    talk = Talk(LOGIN, **script)
    outcomes = [talk.unusable] if talk.unusable else []
    if talk.session.ready:
        talk.send()
        outcomes += talk.outcomes.values()
    assert outcomes
    for outcome in outcomes:
        assert not any(secret in outcome.dialogue + outcome.text for secret in HIDDEN)
        if stage not in ("response", "greeting") or mechanism == "PLAIN":
            assert "***" in outcome.dialogue


def test_a_password_that_looks_like_an_extension_changes_nothing() -> None:
    talk = Talk(PROFILE._replace(username="user", password="PLAIN"), ehlo="250-mx.example\r\n250 AUTH PLAIN")
    assert talk.session.ready


_LINE = re.compile(r"[0-9]+ [<>-] .*")
_CONTROL = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e]")
_ANSWERS = st.sampled_from([250, 251, 354, 421, 450, 452, 550, 552, 530, 235, 334]).flatmap(
    lambda code: st.builds(
        lambda lines: b"".join(b"%d-%s\r\n" % (code, line) for line in lines[:-1]) + b"%d %s\r\n" % (code, lines[-1]),
        st.lists(
            st.one_of(
                st.binary(max_size=40), st.sampled_from([secret.encode() for secret in HIDDEN]), st.just(b"q" * 600)
            ),
            min_size=1,
            max_size=4,
        ).map(lambda lines: [line.replace(b"\n", b" ") for line in lines]),
    )
)


def talk_through(script: dict[str, bytes], pipelined: bool, split: bool) -> list[Outcome]:
    """The outcomes of two transactions, or of a session that did not come so far."""
    ehlo = "250-mx.example\r\n" + ("250-PIPELINING\r\n" if pipelined else "") + "250 AUTH PLAIN"
    talk = Talk(LOGIN, split=split, ehlo=ehlo, **script)
    outcomes = []
    for _ in range(2):
        if talk.session.ready:
            talk.send(2)
            if not talk.outcomes:
                talk.lose("Timeout")
            outcomes += talk.outcomes.values()
            talk.outcomes = {}
    if not outcomes and talk.unusable is None:
        talk.lose("Timeout")
    return [*outcomes, *([talk.unusable] if talk.unusable else [])]


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("auth", "mail", "rcpt", "data", "end"), _ANSWERS)),
    st.booleans(),
)
def test_dialogues_are_clean_whatever_the_receiver_says(script: dict[str, bytes], pipelined: bool) -> None:
    outcomes = talk_through(script, pipelined, False)
    assert outcomes
    for outcome in outcomes:
        assert all(_LINE.fullmatch(line) for line in outcome.dialogue.split("\n"))
        assert not _CONTROL.search(outcome.dialogue)
        assert not any(secret in outcome.dialogue + outcome.text for secret in HIDDEN)
        assert len(outcome.dialogue.encode()) <= 8192
    assert talk_through(script, pipelined, True) == outcomes
