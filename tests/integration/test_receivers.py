"""The real receivers have to be proved themselves: they offer what they are told to, and keep what they get."""

from __future__ import annotations

import smtplib
import ssl

import pytest

from tests.integration.gateway import free_ports, wait_for
from tests.integration.receivers.certificates import Authority
from tests.integration.receivers.exim import Exim
from tests.integration.receivers.offer import EXTENSIONS, Offer
from tests.integration.receivers.opensmtpd import OpenSmtpd
from tests.integration.receivers.postfix import Postfix

KINDS = {"postfix": Postfix, "exim": Exim, "opensmtpd": OpenSmtpd}
HAS = {"postfix": EXTENSIONS, "exim": EXTENSIONS, "opensmtpd": {"8BITMIME", "SIZE", "DSN"}}
LEAST = {"postfix": frozenset(), "exim": frozenset({"SIZE"}), "opensmtpd": frozenset({"8BITMIME", "SIZE"})}
CONTENT = b"From: a@example.com\r\nSubject: x\r\n\r\n..dots\r\n.\r\n\xc3\xa9 " + b"x" * 900 + b"\r\n"


def started(kind, offer):
    receiver = KINDS[kind](f"127.1.{list(KINDS).index(kind)}.2", *free_ports(1), offer, "mx.receiver.example")
    try:
        return receiver.start()
    except BaseException:
        receiver.stop()
        raise


def connect(receiver):
    client = smtplib.SMTP(receiver.address, receiver.port, "localhost", timeout=20)
    client.ehlo()
    return client


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_offered_and_kept(kind, tmp_path):
    authority = Authority(tmp_path)
    receiver = started(kind, Offer(certificate=authority.issue("mx.receiver.example")))
    try:
        with connect(receiver) as client:
            assert set(client.esmtp_features) & {name.lower() for name in EXTENSIONS} == {n.lower() for n in HAS[kind]}
            client._host = "mx.receiver.example"
            client.starttls(context=ssl.create_default_context(cafile=authority.path))
            client.sendmail("a@example.com", ["b@example.net", "c@example.org"], CONTENT)
        messages = wait_for(lambda: len(receiver.messages()) == 2 and receiver.messages(), message=receiver.log)
        assert sorted(message.recipient for message in messages) == ["b@example.net", "c@example.org"]
        assert {message.sender for message in messages} == {"a@example.com"}
        assert all(message.content.endswith(CONTENT) for message in messages), messages
    finally:
        receiver.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_switched_off_is_not_offered(kind):
    receiver = started(kind, Offer(LEAST[kind]))
    try:
        with connect(receiver) as client:
            offered = {name.upper() for name in client.esmtp_features}
        assert offered & (EXTENSIONS - LEAST[kind]) == set() and "STARTTLS" not in offered
    finally:
        receiver.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_only_knows_helo(kind):
    receiver = started(kind, Offer(LEAST[kind], ehlo=False, size=2000))
    try:
        with connect(receiver) as client:
            assert client.ehlo()[0] in (500, 502)
            assert client.helo()[0] == 250
            client.sendmail("a@example.com", ["b@example.net"], CONTENT[:500])
            with pytest.raises(smtplib.SMTPDataError, match=r"big|exceeds"):
                client.sendmail("a@example.com", ["b@example.net"], CONTENT * 3)
        wait_for(lambda: receiver.got("b@example.net"), message=receiver.log)
    finally:
        receiver.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_demanded(kind, tmp_path):
    certificate = Authority(tmp_path).issue("mx.receiver.example")
    receiver = started(kind, Offer(certificate=certificate, demands_tls=True, greylists=True))
    try:
        with connect(receiver) as client:
            assert client.mail("a@example.com")[0] in (530, 550)
            client.starttls()
            client.ehlo()
            assert client.mail("a@example.com")[0] == 250
            assert client.rcpt("b@example.net")[0] == 451
            assert client.rcpt("b@example.net")[0] == (250 if kind != "opensmtpd" else 451)
    finally:
        receiver.stop()
