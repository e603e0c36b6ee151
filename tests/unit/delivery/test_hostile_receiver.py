"""Everything that a receiver may do to us, and what becomes of each recipient then.

Each row is a script for the first connection; whoever connects later meets a good receiver.  A row tells the states
after the first attempt, where it was decided, and after how many seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind
from smtpeter.model.route import TlsPolicy
from tests.fakes.delivery import DeliveryBench, alarms, logged
from tests.fakes.hostile import Drip, Endless, HostileReceiver, Late
from tests.fakes.jobs import CONTENT, NOW, make_job
from tests.fakes.receiver import DROP, EHLO, FakeReceiver

DUE, HELD = RecipientState.DUE, RecipientState.HELD
DELIVERED, FAILED = RecipientState.DELIVERED, RecipientState.FAILED
KINDS = {
    DUE: EventKind.DEFERRAL,
    HELD: EventKind.HELD,
    DELIVERED: EventKind.DELIVERY,
    FAILED: EventKind.FAILURE,
}
PLAIN = "250 relay.example"
TLS_EHLO, AUTH_EHLO = "250-r\r\n250 STARTTLS", "250-r\r\n250 AUTH PLAIN"
TLS = {"tls": TlsPolicy.REQUIRE}
AUTH = {"username": "user", "password": "correct horse"}
NOTHING: dict[str, Any] = {}
LARGE = (b"x" * 998 + b"\r\n") * 500


class Row(NamedTuple):
    """``at``: seconds until the outcome; ``open``: the connection is used again afterwards."""

    name: str
    script: dict[str, Any]
    states: list[RecipientState] = [DUE] * 3
    stage: str = ""
    at: float = 0.0
    code: int = 0
    text: str = ""
    in_doubt: bool = False
    open: bool = False
    profile: dict[str, Any] = NOTHING
    content: bytes = CONTENT


# Where a receiver misbehaves, by its script, and what the event calls it.
STAGES = {"greeting": "greeting", "ehlo": "hello", "mail": "mail", "rcpt": "rcpt", "data": "data", "end": "end"}


def hangs() -> Iterator[Row]:
    for name, stage, seconds in (
        ("greeting", "greeting", 300),
        ("ehlo", "hello", 300),
        ("mail", "mail", 300),
        ("rcpt", "rcpt", 300),
        ("data", "data", 120),
        ("end", "end", 600),
    ):
        for ehlo in (EHLO, PLAIN):
            script = {"ehlo": ehlo, name: None}
            yield Row(f"hang at {name}", script, stage=stage, at=seconds, text="Timeout", in_doubt=name == "end")
        for octets in (b"250 2.0.0 Ok, that will do\r\n", b"250-and so on\r\n" * 100):
            script = {"ehlo": PLAIN, name: Drip(30.0, octets)}
            yield Row(f"octet by octet at {name}", script, stage=stage, at=seconds, in_doubt=name == "end")
    yield Row("hang at STARTTLS", {"ehlo": TLS_EHLO, "starttls": None}, stage="starttls", at=300, profile=TLS)
    yield Row("hang in the handshake", {"ehlo": [TLS_EHLO, None]}, stage="tls", at=300, profile=TLS)
    yield Row("hang at AUTH", {"ehlo": AUTH_EHLO, "auth": None}, stage="auth", at=300, profile=AUTH)
    login = {"ehlo": "250-r\r\n250 AUTH LOGIN", "auth": "334 a"}
    yield Row("hang at the name", {**login, "response": None}, stage="auth", at=300, profile=AUTH)
    yield Row("hang at the password", {**login, "response": ["334 b", None]}, stage="auth", at=300, profile=AUTH)
    yield Row("hang at the second recipient", {"rcpt": ["250 ok", None]}, stage="rcpt", at=300)
    yield Row("reads nothing of the message", {"stalls": True}, stage="message", at=180, content=LARGE)
    yield Row("takes a small message and says nothing", {"stalls": True}, stage="end", at=600, in_doubt=True)


def delays() -> Iterator[Row]:
    done = [DELIVERED] * 3
    yield Row("250 after nine minutes", {"end": Late(540.0, b"250 ok\r\n")}, done, "end", 540, 250, open=True)
    yield Row("250 octet by octet", {"end": Drip(20.0, b"250 2.0.0 Ok\r\n")}, done, "end", 280, 250, open=True)
    yield Row("greeting after minutes", {"greeting": Late(290.0, b"220 hi\r\n")}, done, "end", 290, 250, open=True)
    script = {"ehlo": PLAIN, "rcpt": Late(290.0, b"250 ok\r\n"), "data": Late(110.0, b"354 go\r\n")}
    yield Row("every answer late", script, done, "end", 980, 250, open=True)


def garbage() -> Iterator[Row]:
    for name, stage in STAGES.items():
        for octets in (
            b"250-again\r\n" * 129,
            b"250-" + b"x" * 70_000,
            b"999 what\r\n",
            b"199 what\r\n",
            b"250-a\r\n251 b\r\n",
            b"250-a\r\n550 b\r\n",
            b"250ok\r\n",
            b"25\r\n",
            b"\r\n",
            b"\0\0\0\r\n",
            b"\x16\x03\x01\x02\x00\x01\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b"354 in the wrong place\r\n" if name != "data" else b"250 in the wrong place\r\n",
        ):
            if name == "greeting" and octets[:3] == b"354":
                continue  # clear, if useless
            if name == "ehlo" and octets[:3] == b"354":
                continue
            for ehlo in (EHLO, PLAIN):
                script = {"ehlo": ehlo, name: octets}
                yield Row(f"{octets[:12]!r} at {name}", script, stage=stage, in_doubt=name == "end")
    for code in (354, 199, 600):
        yield Row(f"{code} as greeting", {"greeting": f"{code} what"}, stage="greeting", code=code * (code == 354))
    yield Row("greeting and more", {"greeting": b"220 hi\r\n250 early\r\n"}, stage="hello")
    yield Row("EHLO and more", {"ehlo": EHLO.encode() + b"\r\n250 early\r\n"}, stage="hello")
    yield Row("EHLO and half a line", {"ehlo": EHLO.encode() + b"\r\n25"}, stage="hello")
    for name in ("mail", "rcpt", "data"):
        script = {"ehlo": PLAIN, name: b"250 a\r\n250 b\r\n" if name != "data" else b"354 a\r\n250 b\r\n"}
        yield Row(f"an answer too many at {name}", script, stage={"data": "message"}.get(name, "rcpt"))
    yield Row("fewer answers than recipients", {"rcpt": ["250 a", b"", "550 c"]}, stage="rcpt")
    script = {"rcpt": ["250 a", b"", "550 c"], "data": "554 no"}
    yield Row("fewer answers, and a refusal", script, stage="data", at=120)
    yield Row("more answers than recipients", {"rcpt": ["250 a", b"250 b\r\n550 x\r\n", "250 c"]}, stage="data")
    yield Row("more answers, and a refusal", {"rcpt": ["250 a", b"250 b\r\n550 x\r\n", "550 c"]}, stage="idle")
    done = [DELIVERED] * 3
    yield Row("two answers to the final dot", {"end": b"250 a\r\n550 b\r\n"}, done, "end", code=250)
    hostile = b"550-5.7.1 a\x1b[2J\0\xff\xfe\r\n550 5.7.1 \xe2\x80\xa8<b>\r\n"
    yield Row("controls and 8-bit text", {"mail": hostile}, [FAILED] * 3, "mail", code=550, open=True)
    yield Row("bare line feeds", {"mail": b"250 ok\n", "end": b"250-a\n250 b\n"}, done, "end", code=250, open=True)
    yield Row("a code alone", {"mail": b"250\r\n", "end": b"250\r\n"}, done, "end", code=250, open=True)


def refusals() -> Iterator[Row]:
    for name, stage in (("greeting", "greeting"), ("ehlo", "hello")):
        for code in (421, 450, 554) if name == "greeting" else (421, 450):
            yield Row(f"{code} at {name}", {name: f"{code} no"}, stage=stage, code=code)
    yield Row("EHLO and HELO refused", {"ehlo": "502 no", "helo": "550 no"}, stage="hello", code=550)
    yield Row("HELO taken", {"ehlo": "502 no"}, [DELIVERED] * 3, "end", code=250, open=True)
    for ehlo in (EHLO, PLAIN):
        for name, stage in (("mail", "mail"), ("rcpt", "rcpt"), ("data", "data"), ("end", "end")):
            for code, state in ((421, DUE), (450, DUE), (451, DUE), (550, FAILED), (554, FAILED), (530, HELD)):
                script = {"ehlo": ehlo, name: f"{code} no"}
                yield Row(f"{code} at {name}", script, [state] * 3, stage, code=code, open=code != 421)
    for code in (530, 534, 535, 538):
        script = {"ehlo": AUTH_EHLO, "auth": f"{code} no"}
        yield Row(f"{code} at AUTH", script, [HELD] * 3, "auth", code=code, profile=AUTH)
    for code in (421, 432, 454):
        yield Row(f"{code} at AUTH", {"ehlo": AUTH_EHLO, "auth": f"{code} no"}, stage="auth", code=code, profile=AUTH)
    yield Row("no AUTH offered", {}, stage="auth", profile=AUTH)
    for ehlo in (EHLO, PLAIN):
        mixed: list[tuple[list[Any], list[RecipientState]]] = [
            (["250 ok", "450 later", "550 no"], [DELIVERED, DUE, FAILED]),
            (["550 no", "250 ok", "450 later"], [FAILED, DELIVERED, DUE]),
            (["550 no", "550 no", "250 ok"], [FAILED, FAILED, DELIVERED]),
            (["530 auth", "250 ok", "550 no"], [HELD, DELIVERED, FAILED]),
            (["452 4.2.2 full", "552 5.2.2 full", "250 ok"], [DUE, FAILED, DELIVERED]),
            (["250 ok", "421 bye"], [DUE] * 3),
            (["550 no", "421 bye"], [FAILED, DUE, DUE]),
            (["452 4.5.3 Too many recipients"], [DUE] * 3),
        ]
        for answers, states in mixed:
            closes = "421 bye" in answers
            yield Row(f"mixed {answers}", {"ehlo": ehlo, "rcpt": answers}, states, open=not closes)
        for full in ("452 4.5.3 enough", "452 too many recipients", "552 too many recipients"):
            answers = ["250 ok", full, full, "250 ok", full, "250 ok"]
            script = {"ehlo": ehlo, "rcpt": answers}
            yield Row(f"{full} after one", script, [DELIVERED] * 3, "end", code=250, open=True)


def drops() -> Iterator[Row]:
    for name, stage in STAGES.items():
        yield Row(f"drop at {name}", {name: DROP}, stage=stage, in_doubt=name == "end")
    for name, profile, script in (
        ("STARTTLS", TLS, {"ehlo": TLS_EHLO, "starttls": DROP}),
        ("the handshake", TLS, {"ehlo": [TLS_EHLO, DROP]}),
        ("AUTH", AUTH, {"ehlo": AUTH_EHLO, "auth": DROP}),
    ):
        yield Row(f"drop at {name}", script, profile=profile)
    answers = ["250 ok", "550 no", DROP]
    yield Row("drop at the third recipient", {"rcpt": answers}, [DUE, FAILED, DUE])


def downgrades() -> Iterator[Row]:
    """TLS is demanded, and not to be had: nothing goes in clear."""
    yield Row("no STARTTLS offered", {"ehlo": EHLO}, stage="hello", profile=TLS)
    yield Row("no EHLO", {"ehlo": "502 what"}, stage="hello", profile=TLS)
    for answer in ("454 4.7.0 not now", "501 what", "554 no", "250 what"):
        code = int(answer[:3]) * (answer[0] != "2")
        script = {"ehlo": TLS_EHLO, "starttls": answer}
        if code:
            yield Row(f"{answer} to STARTTLS", script, stage="starttls", code=code, profile=TLS)
    for injected in (b"250 injected\r\n", b"2", b"\x16\x03", b"250-r\r\n250 AUTH PLAIN\r\n"):
        script = {"ehlo": TLS_EHLO, "starttls": b"220 go\r\n" + injected}
        yield Row(f"{injected!r} after 220", script, stage="starttls", profile=TLS)


ROWS = [*hangs(), *delays(), *garbage(), *refusals(), *drops(), *downgrades()]


def id_of(row: Row) -> str:
    return f"{row.name}{' one by one' if row.script.get('ehlo') == PLAIN else ''}"


@pytest.mark.parametrize("row", ROWS, ids=id_of)
def test_what_a_receiver_does(row: Row) -> None:
    receivers: list[FakeReceiver] = []
    good = {"ehlo": [TLS_EHLO, EHLO]} if "tls" in row.profile else {"ehlo": AUTH_EHLO} if row.profile else {}

    def connect() -> FakeReceiver:
        receivers.append(HostileReceiver(bench.clock, **row.script) if not receivers else FakeReceiver(**good))
        return receivers[-1]

    bench = DeliveryBench(connect, row.profile, connections=1)
    job = make_job(3, data=row.content)
    bench.queue.add(job)
    with logged() as events:
        bench.run(max(0.0, row.at - 2.0) + 1.5, step=0.5)
        assert not bench.queue.settled or row.at < 2.0, "too early"
        bench.run(3.0)

        # What became of each recipient, in the store and in the journal.
        first = [bench.settlements(number)[0] for number in (1, 2, 3)]
        assert [settlement.state for settlement in first] == row.states
        for settlement in first:
            assert settlement.event is not None
            assert settlement.event.kind is KINDS[settlement.state]
            data = settlement.event.data
            assert not row.stage or data["state"] == row.stage
            assert not row.stage or data["code"] == row.code
            assert row.text in data["description"]
            assert data["description"].isprintable() and len(data["description"]) <= 1024
            assert abs(settlement.event.time - NOW - row.at) < 1.0
            assert settlement.possible_duplicate == row.in_doubt

        # The connection.
        bench.run(12.0)
        wire = bench.network.wires[0]
        assert wire.lost != row.open
        if row.profile is TLS:
            assert not {line[:4] for line in receivers[0].commands} - {"EHLO", "HELO", "STAR", "QUIT"}

        # Its place is free, and the rest gets through to a good receiver.
        bench.run(120.0)
        again = [number for number, state in enumerate(row.states, 1) if state is DUE]
        assert [bench.settlements(number)[-1].state for number in again] == [DELIVERED] * len(again)
        assert [len(bench.settlements(number)) for number in (1, 2, 3)] == [1 + (state is DUE) for state in row.states]

        # The good receiver got what was due again, and nothing else; what was in doubt is there twice, and marked.
        [_, *others] = receivers
        got = [each for receiver in others for _, recipients, _ in receiver.messages for each in recipients]
        assert got == [f"r{number}@example.net" for number in again]

    # Nobody is woken up, unless it is for our own configuration.
    assert bool(alarms(events)) == (HELD in row.states)
    assert not [event for event in events if "log_failure" in event]
    assert len(bench.notifier.reports) == (FAILED in row.states)


@pytest.mark.parametrize("octets", [b"250-again\r\n" * 500, b"x" * 65536, b"250-" + b"x" * 65532, b"\0" * 65536])
@pytest.mark.parametrize("name", ["greeting", "ehlo", "mail", "rcpt", "data", "end"])
def test_an_answer_without_end_is_cut_at_once(name: str, octets: bytes) -> None:
    """A gigabyte is never read, let alone kept."""
    receivers: list[Any] = []

    def connect() -> Any:
        receivers.append(HostileReceiver(bench.clock, **{name: Endless(octets)}))
        return receivers[-1]

    bench = DeliveryBench(connect)
    bench.queue.add(make_job())
    bench.run(1.0, step=0.001)
    (settlement,) = bench.settlements()
    assert settlement.state is DUE
    assert receivers[0].flood <= 3 * 65536
    assert receivers[0].wire.lost


def test_an_idle_receiver_that_floods_is_left() -> None:
    receivers: list[Any] = []

    def connect() -> Any:
        receivers.append(HostileReceiver(bench.clock))
        return receivers[-1]

    bench = DeliveryBench(connect)
    bench.queue.add(make_job())
    bench.run(1.0)
    receivers[0]._say(Endless(b"x" * 65536))
    bench.run(1.0, step=0.001)
    assert receivers[0].wire.lost
    assert receivers[0].flood <= 2 * 65536
