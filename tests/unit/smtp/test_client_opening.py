"""How the client's session comes to be ready: greeting, EHLO, STARTTLS, AUTH."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from smtpeter.model.delivery import Outcome, OutcomeKind
from smtpeter.model.route import TlsPolicy
from smtpeter.smtp.client import ClientSession
from smtpeter.smtp.client_events import (
    ClientEvent,
    ClientProfile,
    CloseEvent,
    ReadyEvent,
    StartTlsEvent,
    UnusableEvent,
)
from smtpeter.smtp.client_opening import UNLIMITED
from tests.fakes.receiver import DROP, FakeReceiver

PROFILE = ClientProfile("gate.example", "relay.example")
TLS = PROFILE._replace(tls=TlsPolicy.REQUIRE)
SECRET = "correct horse"
AUTH = PROFILE._replace(username="user", password=SECRET)
AUTH_EHLO = "250-relay.example\r\n250 AUTH CRAM-MD5 PLAIN LOGIN"
TLS_EHLO = "250-relay.example\r\n250-PIPELINING\r\n250 STARTTLS"


def open_session(
    receiver: FakeReceiver, profile: ClientProfile = PROFILE, *, split: bool = False
) -> tuple[ClientSession, list[ClientEvent]]:
    """Talk until nobody has anything to say; TLS is only pretended."""
    session = ClientSession(profile, "192.0.2.1", "192.0.2.25")
    events: list[ClientEvent] = []
    octets = receiver.greet()
    while True:
        for piece in [octets[at : at + 1] for at in range(len(octets))] if split else [octets]:
            session.receive(piece)
        if receiver.dropped:
            session.lost("connection lost")
        while (event := session.next_event()) is not None:
            events.append(event)
            if isinstance(event, StartTlsEvent):
                assert session.take_output() == b""
                session.tls_started()
        output = session.take_output()
        if not output:
            return session, events
        octets = receiver.receive(output)


def unusable(script: dict[str, Any], profile: ClientProfile = PROFILE) -> Outcome:
    session, events = open_session(FakeReceiver(**script), profile)
    assert not session.ready
    assert isinstance(events[-2], UnusableEvent)
    assert isinstance(events[-1], CloseEvent)
    assert ReadyEvent() not in events
    return events[-2].outcome


@pytest.mark.parametrize("split", [False, True])
def test_greeting_and_ehlo(split: bool) -> None:
    receiver = FakeReceiver(greeting="220-hello\r\n220 there")
    session, events = open_session(receiver, split=split)
    assert events == [ReadyEvent()]
    assert session.ready
    assert receiver.commands == ["EHLO gate.example"]


@pytest.mark.parametrize("code", [500, 501, 502, 504, 550])
def test_helo_follows_where_ehlo_is_not_known(code: int) -> None:
    receiver = FakeReceiver(ehlo=f"{code} what")
    assert open_session(receiver)[1] == [ReadyEvent()]
    assert receiver.commands == ["EHLO gate.example", "HELO gate.example"]


@pytest.mark.parametrize(
    ("script", "code", "stage"),
    [
        ({"greeting": "554 5.7.1 go away"}, 554, "greeting"),
        ({"greeting": "421 4.3.2 too many connections"}, 421, "greeting"),
        ({"greeting": "354 what"}, 354, "greeting"),
        ({"greeting": "SSH-2.0-OpenSSH"}, 0, "greeting"),
        ({"greeting": DROP}, 0, "greeting"),
        ({"ehlo": "451 4.3.0 later"}, 451, "hello"),
        ({"ehlo": "421 4.3.0 later"}, 421, "hello"),
        ({"ehlo": DROP}, 0, "hello"),
        ({"ehlo": b"250-a\r\n" * 1000}, 0, "hello"),
        ({"ehlo": "500 what", "helo": "550 no"}, 550, "hello"),
        ({"greeting": b"220 hi\r\n250 early\r\n"}, 0, "hello"),
        ({"ehlo": b"250 relay.example\r\n250 more\r\n"}, 0, "hello"),
        ({"ehlo": b"250 relay.example\r\n421 4.3.2 going\r\n"}, 421, "hello"),
        ({"ehlo": b"250 relay.example\r\nx"}, 0, "hello"),
    ],
)
def test_trouble_at_the_start_is_always_temporary(script: dict[str, Any], code: int, stage: str) -> None:
    outcome = unusable(script)
    assert (outcome.kind, outcome.code, outcome.stage) == (OutcomeKind.DEFERRED, code, stage)
    assert outcome.text
    assert (outcome.local, outcome.remote, outcome.remote_mta) == ("192.0.2.1", "192.0.2.25", "relay.example")


@pytest.mark.parametrize("silent", ["greeting", "ehlo", "starttls", "auth"])
def test_silence_ends_when_time_is_up(silent: str) -> None:
    profile = AUTH if silent == "auth" else TLS if silent == "starttls" else PROFILE
    ehlo = AUTH_EHLO if silent == "auth" else TLS_EHLO
    session, events = open_session(FakeReceiver(**{"ehlo": ehlo, silent: None}), profile)
    assert session.timeout == 300
    session.lost("Timeout")
    assert isinstance(event := session.next_event(), UnusableEvent)
    assert event.outcome.kind is OutcomeKind.DEFERRED
    assert not events


# --- STARTTLS ---


def test_what_was_offered_in_clear_is_forgotten() -> None:
    receiver = FakeReceiver(ehlo=[TLS_EHLO, "250-relay.example\r\n250 SIZE 1"])
    session, events = open_session(receiver, TLS)
    assert events == [StartTlsEvent(), ReadyEvent()]
    assert receiver.commands == ["EHLO gate.example", "STARTTLS", "EHLO gate.example"]
    assert session._offers == {"SIZE": "1"}


def test_nothing_goes_in_clear_where_starttls_is_not_offered() -> None:
    """A man in the middle who strips STARTTLS gets nothing."""
    receiver = FakeReceiver(ehlo=AUTH_EHLO)
    _, events = open_session(receiver, TLS._replace(username="user", password=SECRET))
    assert isinstance(events[0], UnusableEvent)
    assert events[0].outcome.enhanced == "4.7.4"
    assert receiver.commands == ["EHLO gate.example"]


@pytest.mark.parametrize("answer", ["454 4.7.0 not now", "500 what", "421 no", DROP])
def test_a_refused_starttls_defers(answer: str) -> None:
    outcome = unusable({"ehlo": TLS_EHLO, "starttls": answer}, TLS)
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, "starttls")


@pytest.mark.parametrize("injected", [b"250 injected\r\n", b"2", b"\r\n", b"250-relay\r\n250 AUTH PLAIN\r\n"])
def test_starttls_response_injection(injected: bytes) -> None:
    """CVE-2021-38371: what follows the 220 in clear must not be read as if it had come by TLS."""
    outcome = unusable({"ehlo": TLS_EHLO, "starttls": b"220 go\r\n" + injected}, TLS)
    assert (outcome.kind, outcome.enhanced) == (OutcomeKind.DEFERRED, "4.7.5")


def test_starttls_response_injection_in_a_segment_of_its_own() -> None:
    session = ClientSession(TLS)
    for octets in (b"220 hi\r\n", TLS_EHLO.encode() + b"\r\n", b"220 go\r\n"):
        session.take_output()
        session.receive(octets)
    assert session.next_event() == StartTlsEvent()
    session.receive(b"250 injected\r\n")
    assert isinstance(event := session.next_event(), UnusableEvent)
    assert event.outcome.enhanced == "4.7.5"


MAY = PROFILE._replace(tls=TlsPolicy.MAY)


@pytest.mark.parametrize("policy", [TlsPolicy.MAY, TlsPolicy.ENCRYPT, TlsPolicy.REQUIRE])
@pytest.mark.parametrize("split", [False, True])
def test_starttls_is_used_where_it_is_offered(policy: TlsPolicy, split: bool) -> None:
    receiver = FakeReceiver(ehlo=[TLS_EHLO, TLS_EHLO])
    session, events = open_session(receiver, PROFILE._replace(tls=policy), split=split)
    assert events == [StartTlsEvent(), ReadyEvent()]
    assert session.encrypted
    assert receiver.commands == ["EHLO gate.example", "STARTTLS", "EHLO gate.example"]


def test_starttls_is_not_used_where_the_policy_is_none() -> None:
    receiver = FakeReceiver(ehlo=TLS_EHLO)
    session, events = open_session(receiver)
    assert events == [ReadyEvent()]
    assert not session.encrypted
    assert receiver.commands == ["EHLO gate.example"]


def test_starttls_is_not_used_within_tls() -> None:
    session = ClientSession(TLS)
    session.tls = "TLSv1.3"
    session.receive(b"220 hi\r\n")
    session.take_output()
    session.receive(TLS_EHLO.encode() + b"\r\n")
    assert session.ready


@pytest.mark.parametrize("ehlo", ["250 mx.example", "500 what"])
def test_tls_that_may_be_and_is_not_offered_is_done_without(ehlo: str) -> None:
    session, events = open_session(FakeReceiver(ehlo=ehlo), MAY)
    assert events == [ReadyEvent()]
    assert not session.encrypted


@pytest.mark.parametrize("policy", [TlsPolicy.ENCRYPT, TlsPolicy.REQUIRE])
@pytest.mark.parametrize("ehlo", ["250 mx.example", "500 what"])
def test_tls_that_must_be_and_is_not_offered_defers(policy: TlsPolicy, ehlo: str) -> None:
    outcome = unusable({"ehlo": ehlo}, PROFILE._replace(tls=policy))
    assert (outcome.kind, outcome.enhanced, outcome.stage) == (OutcomeKind.DEFERRED, "4.7.4", "hello")


@pytest.mark.parametrize("answer", ["454 4.7.0 not now", "500 what", "502 no", "554 5.7.0 no"])
@pytest.mark.parametrize("split", [False, True])
def test_tls_that_may_be_and_is_refused_is_done_without(answer: str, split: bool) -> None:
    receiver = FakeReceiver(ehlo=TLS_EHLO, starttls=answer)
    session, events = open_session(receiver, MAY, split=split)
    assert events == [ReadyEvent()]
    assert not session.encrypted and session.offers("PIPELINING")
    assert receiver.commands == ["EHLO gate.example", "STARTTLS"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [("421 4.3.2 going", 421), (DROP, 0), ("354 what", 0), ("nonsense", 0), (b"220 go\r\n250 x\r\n", 0)],
)
@pytest.mark.parametrize("policy", [TlsPolicy.MAY, TlsPolicy.ENCRYPT])
def test_trouble_at_starttls_is_told_from_other_trouble(answer: Any, code: int, policy: TlsPolicy) -> None:
    outcome = unusable({"ehlo": TLS_EHLO, "starttls": answer}, PROFILE._replace(tls=policy))
    assert (outcome.kind, outcome.stage, outcome.code) == (OutcomeKind.DEFERRED, "starttls", code)


def handshaking(profile: ClientProfile = MAY) -> ClientSession:
    session = ClientSession(profile)
    for octets in (b"220 hi\r\n", TLS_EHLO.encode() + b"\r\n", b"220 go\r\n"):
        session.take_output()
        session.receive(octets)
    assert session.next_event() == StartTlsEvent()
    return session


@pytest.mark.parametrize("started", [False, True])
def test_a_handshake_that_fails_is_told_from_other_trouble(started: bool) -> None:
    session = handshaking()
    if started:
        session.tls_started()
    session.lost("TLS failed: no shared cipher", enhanced="4.7.5")
    assert isinstance(event := session.next_event(), UnusableEvent)
    assert (event.outcome.stage, event.outcome.enhanced) == ("tls", "4.7.5")


@pytest.mark.parametrize(
    ("answer", "stage", "code"),
    [
        (b"\x15\x03\x01\0\r\n", "tls", 0),
        (b"hello\r\n", "tls", 0),
        (b"451 4.3.0 later\r\n", "hello", 451),
        (b"421 4.3.0 going\r\n", "hello", 421),
    ],
)
def test_garbage_within_tls_is_trouble_of_tls_and_an_answer_is_none(answer: bytes, stage: str, code: int) -> None:
    session = handshaking()
    assert session.offers("PIPELINING")
    session.tls_started()
    assert not session.offers("PIPELINING")
    assert session.take_output() == b"EHLO gate.example\r\n"
    session.receive(answer)
    assert isinstance(event := session.next_event(), UnusableEvent)
    assert (event.outcome.stage, event.outcome.code) == (stage, code)


def test_an_ehlo_that_is_not_known_within_tls_is_followed_by_helo() -> None:
    receiver = FakeReceiver(ehlo=[TLS_EHLO, "502 what"])
    session, events = open_session(receiver, TLS)
    assert events == [StartTlsEvent(), ReadyEvent()]
    assert not session.offers("PIPELINING")


# --- limits (RFC 9422) ---


@pytest.mark.parametrize(
    ("offer", "recipients", "transactions"),
    [
        ("LIMITS RCPTMAX=100 MAILMAX=20 RCPTDOMAINMAX=1", 100, 20),
        ("limits mailmax=1", UNLIMITED, 1),
        ("LIMITS", UNLIMITED, UNLIMITED),
        ("LIMITS RCPTMAX=0 MAILMAX=-1", UNLIMITED, UNLIMITED),
        ("LIMITS RCPTMAX= MAILMAX", UNLIMITED, UNLIMITED),
        ("LIMITS RCPTMAX=1000000 MAILMAX=\u0663", UNLIMITED, UNLIMITED),
        ("SIZE 1", UNLIMITED, UNLIMITED),
    ],
)
def test_limits_of_a_receiver(offer: str, recipients: int, transactions: int) -> None:
    session, _ = open_session(FakeReceiver(ehlo=f"250-mx.example\r\n250 {offer}"))
    assert (session.recipients_limit, session.transactions_limit) == (recipients, transactions)


def test_limits_that_were_told_in_clear_are_forgotten() -> None:
    receiver = FakeReceiver(ehlo=["250-mx.example\r\n250-LIMITS RCPTMAX=1 MAILMAX=1\r\n250 STARTTLS", "250 mx.example"])
    session, _ = open_session(receiver, MAY)
    assert (session.recipients_limit, session.transactions_limit) == (UNLIMITED, UNLIMITED)


# --- AUTH ---


def test_auth_plain() -> None:
    receiver = FakeReceiver(ehlo=AUTH_EHLO)
    _, events = open_session(receiver, AUTH)
    assert events == [ReadyEvent()]
    assert receiver.commands[1] == "AUTH PLAIN " + base64.b64encode(f"\0user\0{SECRET}".encode()).decode()


@pytest.mark.parametrize("offer", ["AUTH LOGIN", "AUTH=LOGIN", "auth login", "AUTH CRAM-MD5\r\n250 AUTH=LOGIN"])
def test_auth_login(offer: str) -> None:
    ehlo = "250-relay.example\r\n250-" + offer if "\r\n" in offer else "250-relay.example\r\n250 " + offer
    receiver = FakeReceiver(ehlo=ehlo, auth="334 VXNlcm5hbWU6", response=["334 UGFzc3dvcmQ6", "235 2.7.0 ok"])
    assert open_session(receiver, AUTH)[1] == [ReadyEvent()]
    assert [base64.b64decode(line).decode() for line in receiver.commands[2:]] == ["user", SECRET]


@pytest.mark.parametrize("ehlo", [AUTH_EHLO, "250-relay.example\r\n250 AUTH LOGIN"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("535 5.7.8 wrong", OutcomeKind.HOLD),
        ("534 5.7.9 weak", OutcomeKind.HOLD),
        ("538 5.7.11 encrypt", OutcomeKind.HOLD),
        ("530 5.7.0 first", OutcomeKind.HOLD),
        ("504 5.5.4 which", OutcomeKind.HOLD),
        ("454 4.7.0 later", OutcomeKind.DEFERRED),
        ("421 4.7.0 later", OutcomeKind.DEFERRED),
        (DROP, OutcomeKind.DEFERRED),
    ],
)
def test_a_relay_that_does_not_know_us(ehlo: str, answer: str, kind: OutcomeKind) -> None:
    outcome = unusable({"ehlo": ehlo, "auth": answer}, AUTH)
    assert (outcome.kind, outcome.stage) == (kind, "auth")


def test_a_refusal_of_the_password_itself() -> None:
    script = {"ehlo": "250-r\r\n250 AUTH LOGIN", "auth": "334 a", "response": ["334 b", "535 5.7.8 wrong"]}
    assert unusable(script, AUTH).kind is OutcomeKind.HOLD


def test_a_challenge_without_end_is_no_protocol() -> None:
    script = {"ehlo": "250-r\r\n250 AUTH LOGIN", "auth": "334 a", "response": "334 again"}
    outcome = unusable(script, AUTH)
    assert (outcome.kind, outcome.enhanced) == (OutcomeKind.DEFERRED, "4.5.0")


def test_a_relay_without_auth_gets_no_mail() -> None:
    outcome = unusable({"ehlo": "250-relay.example\r\n250 AUTH GSSAPI"}, AUTH)
    assert (outcome.kind, outcome.enhanced) == (OutcomeKind.DEFERRED, "4.7.4")


def test_the_password_is_in_no_text() -> None:
    plain = base64.b64encode(f"\0user\0{SECRET}".encode()).decode()
    alone = base64.b64encode(SECRET.encode()).decode()
    outcome = unusable({"ehlo": AUTH_EHLO, "auth": f"535 5.7.8 not {SECRET} nor {plain} nor {alone}"}, AUTH)
    assert outcome.text == "not *** nor *** nor ***"
    assert SECRET not in repr(AUTH)
