"""PLAIN and LOGIN."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.errors import Refusal
from smtpeter.smtp.sasl import Challenge, Credentials, LoginExchange, PlainExchange, decode_response


def refused(code: int, enhanced: str, step, *arguments) -> None:
    with pytest.raises(Refusal) as caught:
        step(*arguments)
    assert caught.value.reply[:2] == (code, enhanced)


def test_plain():
    assert PlainExchange().begin(None) == Challenge("")
    assert PlainExchange().begin(b"\0user\0pass") == Credentials("user", "pass")
    assert PlainExchange().answer(b"user\0user\0pass") == Credentials("user", "pass")
    assert PlainExchange().answer(b"\0user\0") == Credentials("user", "")


@pytest.mark.parametrize(
    "response", [b"", b"user", b"user\0pass", b"\0a\0b\0c", b"\0\0\0", b"\0\xff\0pass", b"\0user\0\xff"]
)
def test_bad_plain(response):
    refused(501, "5.5.2", PlainExchange().answer, response)


def test_plain_on_behalf_of_another():
    refused(535, "5.7.8", PlainExchange().answer, b"boss\0user\0pass")
    refused(535, "5.7.8", PlainExchange().answer, b"USER\0user\0pass")


def test_login():
    exchange = LoginExchange()
    assert exchange.begin(None) == Challenge("VXNlcm5hbWU6")
    assert exchange.answer(b"user") == Challenge("UGFzc3dvcmQ6")
    assert exchange.answer(b"pass") == Credentials("user", "pass")


def test_login_with_an_initial_user_name():
    exchange = LoginExchange()
    assert exchange.begin(b"user") == Challenge("UGFzc3dvcmQ6")
    assert exchange.answer(b"pass") == Credentials("user", "pass")


@pytest.mark.parametrize("octets", [b"\xff", b"a\0b", b"\0"])
def test_bad_login(octets):
    refused(501, "5.5.2", LoginExchange().begin, octets)
    exchange = LoginExchange()
    exchange.begin(b"user")
    refused(501, "5.5.2", exchange.answer, octets)


@pytest.mark.parametrize(("text", "octets"), [("", b""), ("=", b""), ("YQ==", b"a"), ("AGEAYg==", b"\0a\0b")])
def test_decode(text, octets):
    assert decode_response(text) == octets


def test_decode_cancel():
    refused(501, "5.7.0", decode_response, "*")


@pytest.mark.parametrize(
    "text", ["!", "Y", "YQ", "YQ=", "Y Q==", " YQ==", "YQ== ", "ä", "**", "==", "YQ-_", "YQ==\x00", "=YQ="]
)
def test_decode_bad(text):
    refused(501, "5.5.2", decode_response, text)


@given(st.binary(min_size=1, max_size=100))
def test_base64_comes_back_as_it_was(octets):
    assert decode_response(b64encode(octets).decode()) == octets


@given(st.text(max_size=50))
def test_decode_decodes_or_refuses(text):
    try:
        decode_response(text)
    except Refusal as refusal:
        assert refusal.reply.code == 501


@given(st.binary(max_size=50))
def test_exchanges_answer_or_refuse(response):
    for exchange in (PlainExchange(), LoginExchange()):
        try:
            exchange.answer(response)
        except Refusal as refusal:
            assert refusal.reply.code in (501, 535)


def test_a_password_does_not_show():
    assert repr(Credentials("user", "hunter2")) == "Credentials('user', ...)"
    assert "hunter2" not in f"{Credentials('user', 'hunter2')}"
