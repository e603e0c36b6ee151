"""Whatever is injected into a request to send: it is refused, or is no more than a text."""

from __future__ import annotations

import email

import pytest

from smtpeter.web.rest.outgoing import Rules, make_outgoing
from smtpeter.web.rest.values import ApiError
from tests.fakes.injections import INJECTIONS

ENTROPY = "0123456789abcdef"
RULES = Rules({"tags": "tags"}, 5)
LETTER = {"recipients": ["joe@example.com"], "from": "jane@example.org", "subject": "Hello", "text": "Hello Joe!"}


TEXTS = (
    "envelope",
    "from",
    "to",
    "cc",
    "bcc",
    "replyto",
    "subject",
    "text",
    "html",
    "recipients",
    "dsn.envid",
    "dsn.orcpt",
    "dsn.notify",
    "dsn.ret",
    "unsubscribe.url",
    "unsubscribe.email",
    "extra.X-A",
    "attachments.name",
    "attachments.type",
    "attachments.cid",
    "attachments.data",
    "tags",
)


def with_value(field, value):
    outer, _, inner = field.partition(".")
    tree = LETTER | {"html": "<p>x</p>", "to": "joe@example.com"}
    if outer == "attachments":
        return tree | {"attachments": [{"data": "YQ==", "name": "a.txt"} | {inner: value}]}
    return tree | {outer: {inner: value} if inner else value}


@pytest.mark.parametrize("field", TEXTS)
def test_nothing_that_is_injected_becomes_a_field(field):
    for value in INJECTIONS:
        tree = with_value(field, value)
        try:
            outgoing = make_outgoing(tree, RULES, ENTROPY)
        except ApiError as error:
            assert error.status == 400 and error.text.isprintable(), (value, error.text)
            assert len(value) < 4 or value not in error.text
            continue
        raw = b"".join(outgoing.pieces)
        header = raw[: raw.index(b"\r\n\r\n")]
        names = {line.partition(b":")[0].lower() for line in header.split(b"\r\n") if line[:1] not in b" \t"}
        assert names <= {
            b"from",
            b"to",
            b"cc",
            b"reply-to",
            b"subject",
            b"mime-version",
            b"content-type",
            b"content-transfer-encoding",
            b"list-unsubscribe",
            b"x-a",
        }
        parts = [part.get_content_type() for part in email.message_from_bytes(raw).walk()]
        assert len(parts) <= 5 and "text/x-evil" not in parts
        for each in (
            outgoing.envelope.reverse_path,
            outgoing.envelope.envid or "",
            *(each.address for each in outgoing.envelope.recipients),
        ):
            assert each.isprintable() and "evil@attacker.example" not in each.partition("@")[0]


@pytest.mark.parametrize("value", INJECTIONS)
def test_names_that_are_injected(value):
    for tree in (
        LETTER | {value: "x"},
        LETTER | {"extra": {value: "x"}},
        LETTER | {"dsn": {value: "x"}},
        LETTER | {"attachments": [{value: "x", "data": "YQ=="}]},
    ):
        try:
            raw = b"".join(make_outgoing(tree, RULES, ENTROPY).pieces)
        except ApiError as error:
            assert error.status == 400 and error.text.isprintable()
        else:
            assert b"attacker" not in raw and b"\nX-Evil" not in raw
