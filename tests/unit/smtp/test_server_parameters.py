"""Addresses and parameters of MAIL and RCPT within a session."""

from __future__ import annotations

import pytest

from smtpeter.smtp.events import MailEvent, RecipientEvent
from tests.fakes.smtp_session import codes, ready


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("FROM:<a@a.test>", "250 2.1.0"),
        ("from:<a@a.test>", "250 2.1.0"),
        ("FROM: <a@a.test>", "250 2.1.0"),
        ("FROM:<a@a.test> ", "250 2.1.0"),
        ("FROM:<>", "250 2.1.0"),
        ("FROM:<> SIZE=10", "250 2.1.0"),
        ("", "501 5.5.4"),
        ("<a@a.test>", "501 5.5.4"),
        ("TO:<a@a.test>", "501 5.5.4"),
        ("FROM <a@a.test>", "501 5.5.4"),
        (" FROM:<a@a.test>", "501 5.5.4"),
        ("FROM:", "501 5.1.7"),
        ("FROM:a@a.test", "501 5.1.7"),
        ("FROM:<a@a.test", "501 5.1.7"),
        ("FROM:<a>", "501 5.1.7"),
        ("FROM:<postmaster>", "501 5.1.7"),
        ("FROM:<a@a.test>b@b.test>", "501 5.5.4"),
        ("FROM:<a@a.test>SIZE=1", "501 5.5.4"),
        ("FROM:<a@a.test>\tSIZE=1", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=1\tBODY=7BIT", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=1\x1fBODY=7BIT", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=1\u2028BODY=7BIT", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=1\x85BODY=7BIT", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=0", "250 2.1.0"),
        ("FROM:<a@a.test> size=1000", "250 2.1.0"),
        ("FROM:<a@a.test> SIZE=1001", "552 5.3.4"),
        ("FROM:<a@a.test> SIZE=99999999999999999999", "552 5.3.4"),
        ("FROM:<a@a.test> SIZE=999999999999999999999", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=-1", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=1e3", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=\u0661", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=\u00b2", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=1 SIZE=1", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=1 size=1", "501 5.5.4"),
        ("FROM:<a@a.test> BODY=7BIT", "250 2.1.0"),
        ("FROM:<a@a.test>   BODY=8bitmime   SIZE=5", "250 2.1.0"),
        ("FROM:<a@a.test> BODY=BINARYMIME", "501 5.5.4"),
        ("FROM:<a@a.test> BODY", "501 5.5.4"),
        ("FROM:<a@a.test> BODY=", "501 5.5.4"),
        ("FROM:<a@a.test> SMTPUTF8", "250 2.1.0"),
        ("FROM:<a@a.test> SMTPUTF8=1", "501 5.5.4"),
        ("FROM:<ä@a.test> SMTPUTF8", "250 2.1.0"),
        ("FROM:<ä@a.test>", "553 5.6.7"),
        ("FROM:<a@ä.test>", "553 5.6.7"),
        ("FROM:<a@ä.test> SMTPUTF8", "250 2.1.0"),
        ("FROM:<a@\u00ad.test> SMTPUTF8", "501 5.1.7"),
        ("FROM:<a@a.test> RET=FULL", "250 2.1.0"),
        ("FROM:<a@a.test> RET=hdrs", "250 2.1.0"),
        ("FROM:<a@a.test> RET=BODY", "501 5.5.4"),
        ("FROM:<a@a.test> RET", "501 5.5.4"),
        ("FROM:<a@a.test> ENVID=QQ314159", "250 2.1.0"),
        ("FROM:<a@a.test> ENVID=a+2Bb", "250 2.1.0"),
        ("FROM:<a@a.test> ENVID=" + "x" * 100, "250 2.1.0"),
        ("FROM:<a@a.test> ENVID=" + "x" * 101, "501 5.5.4"),
        ("FROM:<a@a.test> ENVID=a+2", "501 5.5.4"),
        ("FROM:<a@a.test> ENVID=a+2b", "501 5.5.4"),
        ("FROM:<a@a.test> ENVID=a+0D+0AX", "501 5.5.4"),
        ("FROM:<a@a.test> ENVID=a+00", "501 5.5.4"),
        ("FROM:<a@a.test> ENVID=a+7F", "501 5.5.4"),
        ("FROM:<a@a.test> ENVID=a+C2+85", "501 5.5.4"),
        ("FROM:<a@a.test> ENVID=ä", "501 5.5.4"),
        ("FROM:<a@a.test> ENVID", "501 5.5.4"),
        ("FROM:<a@a.test> ENVID=a=b", "501 5.5.4"),
        ("FROM:<a@a.test> AUTH=<>", "250 2.1.0"),
        ("FROM:<a@a.test> AUTH=a+40a.test", "250 2.1.0"),
        ("FROM:<a@a.test> AUTH=a@a.test", "250 2.1.0"),
        ("FROM:<a@a.test> AUTH", "501 5.5.4"),
        ("FROM:<a@a.test> AUTH=+zz", "501 5.5.4"),
        ("FROM:<a@a.test> AUTH=a+0Ab", "501 5.5.4"),
        ("FROM:<a@a.test> NOTIFY=NEVER", "555 5.5.4"),
        ("FROM:<a@a.test> FOO", "555 5.5.4"),
        ("FROM:<a@a.test> FOO=bar", "555 5.5.4"),
        ("FROM:<a@a.test> REQUIRETLS", "555 5.5.4"),
        ("FROM:<a@a.test> =1", "501 5.5.4"),
        ("FROM:<a@a.test> -A=1", "501 5.5.4"),
        ("FROM:<a@a.test> F_O=1", "501 5.5.4"),
        ("FROM:<a@a.test> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a AUTH=<>", "250 2.1.0"),
    ],
)
def test_mail(argument, expected):
    scripted = ready()
    assert codes(scripted.send(f"MAIL {argument}\r\n".encode())) == [expected]
    assert len(scripted.events) == (expected == "250 2.1.0")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("TO:<b@b.test>", "250 2.1.5"),
        ("to: <b@b.test>", "250 2.1.5"),
        ("TO:<postmaster>", "250 2.1.5"),
        ("TO:<PostMaster>", "250 2.1.5"),
        ("TO:<nobody@b.test>", "550 5.1.1"),
        ("", "501 5.5.4"),
        ("FROM:<b@b.test>", "501 5.5.4"),
        ("TO:<>", "501 5.1.3"),
        ("TO:b@b.test", "501 5.1.3"),
        ("TO:<b>", "501 5.1.3"),
        ("TO:<b@>", "501 5.1.3"),
        ("TO:<@b.test>", "501 5.1.3"),
        ("TO:<b@b..test>", "501 5.1.3"),
        ("TO:<b@[300.1.1.1]>", "501 5.1.3"),
        ("TO:<ä@b.test>", "553 5.6.7"),
        ("TO:<b@ä.test>", "553 5.6.7"),
        ("TO:<b@b.test> NOTIFY=NEVER", "250 2.1.5"),
        ("TO:<b@b.test> NOTIFY=never", "250 2.1.5"),
        ("TO:<b@b.test> NOTIFY=SUCCESS,FAILURE,DELAY", "250 2.1.5"),
        ("TO:<b@b.test> NOTIFY=delay", "250 2.1.5"),
        ("TO:<b@b.test> NOTIFY", "501 5.5.4"),
        ("TO:<b@b.test> NOTIFY=", "501 5.5.4"),
        ("TO:<b@b.test> NOTIFY=NEVER,SUCCESS", "501 5.5.4"),
        ("TO:<b@b.test> NOTIFY=SUCCESS,SUCCESS", "501 5.5.4"),
        ("TO:<b@b.test> NOTIFY=NEVER,NEVER", "501 5.5.4"),
        ("TO:<b@b.test> NOTIFY=SUCCESS,", "501 5.5.4"),
        ("TO:<b@b.test> NOTIFY=ALWAYS", "501 5.5.4"),
        ("TO:<b@b.test> NOTIFY=NEVER NOTIFY=NEVER", "501 5.5.4"),
        ("TO:<b@b.test> ORCPT=rfc822;b@b.test", "250 2.1.5"),
        ("TO:<b@b.test> ORCPT=rfc822;a+2Bb@b.test", "250 2.1.5"),
        ("TO:<b@b.test> ORCPT=rfc822;" + "x" * 493, "250 2.1.5"),
        ("TO:<b@b.test> ORCPT=rfc822;" + "x" * 494, "501 5.5.4"),
        ("TO:<b@b.test> ORCPT=b@b.test", "501 5.5.4"),
        ("TO:<b@b.test> ORCPT=rfc822;", "501 5.5.4"),
        ("TO:<b@b.test> ORCPT=;b@b.test", "501 5.5.4"),
        ("TO:<b@b.test> ORCPT=rf(c;b@b.test", "501 5.5.4"),
        ("TO:<b@b.test> ORCPT=rfc822;a+0D+0Ab", "501 5.5.4"),
        ("TO:<b@b.test> ORCPT=rfc822;a+zz", "501 5.5.4"),
        ("TO:<b@b.test> ORCPT", "501 5.5.4"),
        ("TO:<b@b.test> ORCPT=rfc822;a ORCPT=rfc822;a", "501 5.5.4"),
        ("TO:<b@b.test> SIZE=1", "555 5.5.4"),
        ("TO:<b@b.test> FOO=bar", "555 5.5.4"),
        ("TO:<b@b.test>x", "501 5.5.4"),
    ],
)
def test_rcpt(argument, expected):
    scripted = ready()
    scripted.send(b"MAIL FROM:<a@a.test>\r\n")
    scripted.events.clear()
    assert codes(scripted.send(f"RCPT {argument}\r\n".encode())) == [expected]
    assert len(scripted.events) == (expected in ("250 2.1.5", "550 5.1.1"))


def test_what_the_host_gets_of_mail():
    scripted = ready()
    scripted.send(b"MAIL FROM:<@relay.test:Alice@A.Test> SIZE=123\r\n")
    assert scripted.events == [MailEvent("Alice@A.Test", 123)]
    scripted.send(b"RSET\r\nMAIL FROM:<>\r\n")
    assert scripted.events[-1] == MailEvent("", 0)


def test_what_the_host_gets_of_rcpt():
    scripted = ready()
    scripted.send(b"MAIL FROM:<a@a.test> SMTPUTF8\r\n")
    for sent, expected in (
        ("<Bob@B.Test>", ("Bob@B.Test", "b.test", None, None)),
        ("<postmaster>", ("postmaster@mx.test", "mx.test", None, None)),
        ("<b@BÜCHER.test>", ("b@BÜCHER.test", "xn--bcher-kva.test", None, None)),
        ("<b@b.test> NOTIFY=delay,success", ("b@b.test", "b.test", "SUCCESS,DELAY", None)),
        ("<b@[192.0.2.1]> ORCPT=rfc822;x+2By", ("b@[192.0.2.1]", "[192.0.2.1]", None, "rfc822;x+2By")),
    ):
        scripted.send(f"RCPT TO:{sent}\r\n".encode())
        assert scripted.events[-1] == RecipientEvent(expected)


def test_a_long_unknown_parameter_does_not_make_a_long_reply():
    """RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets."""
    for parameter in (b"X" * 1900, b"X" * 900 + b" " + b"X" * 900):
        output = ready().send(b"MAIL FROM:<a@a.test> " + parameter + b"\r\n")
        assert len(output) <= 512
