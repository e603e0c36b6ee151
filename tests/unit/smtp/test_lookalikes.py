"""Characters that turn into ASCII letters when they are written in upper case spell no command and no keyword."""

from __future__ import annotations

import pytest

from tests.fakes.smtp_session import ScriptedSession, codes, ready


@pytest.mark.parametrize("verb", ["maıl FROM:<a@a.test>", "ﬆarttls", "rſet", "ınvalid", "noop\u0661"])
def test_a_verb_is_ascii(verb: str) -> None:
    scripted = ScriptedSession(encrypted=False)
    assert codes(scripted.send(b"EHLO c.test\r\n", f"{verb}\r\n".encode())) == ["250", "500 5.5.1"]


def test_a_mechanism_is_ascii() -> None:
    assert codes(ScriptedSession().send(b"EHLO c.test\r\n", "AUTH PLAıN\r\n".encode())) == ["250", "504 5.5.4"]


@pytest.mark.parametrize("parameter", ["BODY=8BıTMIME", "RET=HDRſ"])
def test_the_values_of_mail_are_ascii(parameter: str) -> None:
    assert codes(ready().send(f"MAIL FROM:<a@a.test> {parameter}\r\n".encode())) == ["501 5.5.4"]


def test_the_values_of_rcpt_are_ascii() -> None:
    scripted = ready()
    scripted.send(b"MAIL FROM:<a@a.test>\r\n")
    assert codes(scripted.send("RCPT TO:<b@b.test> NOTIFY=FAıLURE\r\n".encode())) == ["501 5.5.4"]
