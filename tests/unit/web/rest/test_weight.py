"""Which requests are so little work that they are done at once."""

from __future__ import annotations

import json
import time

import pytest

from smtpeter.web.rest.outgoing import Rules, make_outgoing
from smtpeter.web.rest.values import ApiError
from smtpeter.web.rest.weight import (
    ADDRESSES,
    ENCODED,
    FOREIGN,
    IN_HERE,
    MULTIPART,
    STRUCTURE,
    TEXTS,
    VALUES,
    read_if_light,
)

JSON = b"application/json"
FORM = b"application/x-www-form-urlencoded"
FILES = b"multipart/form-data; boundary=b"
RULES = Rules({"tags": "tags"}, 1000)
LETTER = {"recipients": ["jane@example.com"], "from": "me@example.org", "subject": "Hello", "text": "x"}


def is_light(more, **options):
    octets = json.dumps(LETTER | more, **options).encode()
    tree = read_if_light(JSON, octets)
    assert tree in (None, LETTER | more)
    return tree is not None


@pytest.mark.parametrize("ensure_ascii", [True, False])
@pytest.mark.parametrize("indent", [None, 8])
@pytest.mark.parametrize(
    "more",
    [
        {"to": "J\u00e9r\u00f4me <jane@b\u00fccher.example>", "subject": "Caf\u00e9 \U0001f600"},
        {"text": "one, two, " * 1000},
        {"html": '<p class="x">\u0436\u0436\u0436\u0436, a@b.example =?x?=</p>\n' * 150},
        {"recipients": [f"r{number}@example.com" for number in range(50)]},
        {"attachments": [{"data": "YWJj" * 2000, "name": "\u00e9.txt", "type": "text/plain"}]},
        {"extra": {"X-A": "b"}, "dsn": {"notify": "NEVER"}, "tags": ["a", "b"], "trackclicks": True},
    ],
)
def test_what_is_usual_is_light(more, ensure_ascii, indent):
    assert is_light(more, ensure_ascii=ensure_ascii, indent=indent)


@pytest.mark.parametrize("ensure_ascii", [True, False])
@pytest.mark.parametrize(
    "more",
    [
        {"text": "x" * IN_HERE},
        {"x": [1] * STRUCTURE},
        {"x": [[]] * STRUCTURE},
        {"recipients": [f"r{number}@example.com" for number in range(ADDRESSES + 1)]},
        {"recipients": {f"r{number}@example.com": "" for number in range(ADDRESSES)}},
        {"to": ",".join("r@example.com" for _ in range(ADDRESSES))},
        {"to": "r@example.com", "CC": "\u00fc@" * ADDRESSES},
        {"recipients": [f"r@\u00fc{number}.example" for number in range(30)]},
        {"to": "x@" + "\u00fc." * (FOREIGN // 2) + "\u00fc"},
        {"unsubscribe": {"email": "x@" + "\u00fc." * FOREIGN}},
        {"from": "=?utf-8?q?=C3=A4?=" * (ENCODED + 1)},
        {"subject": "x" * TEXTS},
        {"attachments": [{"name": "\u00e9" * 255, "data": "YQ=="}] * 40},
    ],
)
def test_what_may_take_long_is_not(more, ensure_ascii):
    assert not is_light(more, ensure_ascii=ensure_ascii)


@pytest.mark.parametrize(
    ("content_type", "octets", "light"),
    [
        (FORM, b"recipient=jane%40example.com&from=me%40example.org&text=" + b"%C3%A9" * 4000, True),
        (FORM, b"a=1&" * (VALUES + 1), False),
        (FORM, b"to=" + b"a%40b.example%2C" * (ADDRESSES + 1), False),
        (FORM, b"to=x%40" + b"%C3%BC." * FOREIGN, False),
        (FILES, b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nx\r\n--b--\r\n', True),
        (FILES, b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\n%b\r\n--b--\r\n' % bytes(MULTIPART), False),
        (b"", b'{"text": "x"}', True),
    ],
)
def test_forms(content_type, octets, light):
    assert (read_if_light(content_type, octets) is not None) == light


@pytest.mark.parametrize(
    ("content_type", "octets", "status"), [(b"text/plain", b"x", 415), (JSON, b"{", 400), (JSON, b'{"a":"\xff"}', 400)]
)
def test_what_cannot_be_read_is_refused(content_type, octets, status):
    with pytest.raises(ApiError) as caught:
        read_if_light(content_type, octets)
    assert caught.value.status == status


@pytest.mark.parametrize("octets", [b'{"a":"' + b'\\"' * 16_000, b'"' * 32_000, b"[" * 32_000, b'"' + b"\\" * 32_000])
def test_what_is_no_json_costs_little(octets):
    started = time.process_time()
    try:
        assert read_if_light(JSON, octets) is None
    except ApiError:
        pass
    assert time.process_time() - started < 0.2


UNITS = (
    *(",", ";", "a,", '"",', '"', '""', "a@b.example,", "x@\u00fc.example,", "x@[1.2.3.4],", "<>,", "=?", "=?a?q?b?= "),
    *("\u00e9", "\u00e9 ", "a ", "a  ", "+", "%", "\\", "(", "@", "a@a.", "cid:a ", "cid:%61%62 ", "\r\n", "\n", "="),
)  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_nothing_that_is_light_takes_long(unit):
    """The limit is a hundred times what is meant: what is not linear is over it."""
    text = unit * (30_000 // len(unit.encode()))
    short = unit * (7_500 // len(unit.encode()))
    given = [{field: text} for field in ("text", "html", "mime")]
    given += [{field: short} for field in ("recipients", "from", "to", "envelope", "subject", "tags")]
    given += [{"dsn": {field: short}} for field in ("notify", "envid", "orcpt")]
    given += [{"unsubscribe": {field: short}} for field in ("email", "url")]
    given += [{"extra": {"X-A": short}}, {"to": f"{short} <a@b.example>"}]
    given += [{"attachments": [{"data": "YQ==", field: short}]} for field in ("name", "type", "cid", "data")]
    given += [{"html": text, "attachments": [{"data": "YQ==", "name": "a"}]}]
    for more in given:
        started = time.process_time()
        try:
            tree = read_if_light(JSON, json.dumps(LETTER | more, ensure_ascii=False).encode())
            if tree is not None:
                b"".join(make_outgoing(tree, RULES, "0123456789abcdef").pieces)
        except ApiError:
            pass
        assert time.process_time() - started < 0.5, list(more)
