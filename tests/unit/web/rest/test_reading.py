"""What was sent, read back."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, succeed

from smtpeter.errors import ContentCorrupt, FeatureMissing
from smtpeter.web.rest.reading import LARGE, routes
from smtpeter.web.rest.streams import first_of
from smtpeter.web.rest.values import ApiError
from tests.fakes.reading_back import (
    MINE,
    OTHERS,
    FakeContent,
    FakeQueue,
    FakeSent,
    ask,
    begin,
    get,
    make_id,
    make_submission,
    result_of,
)

MESSAGE = b"""\
Received: from here\r
Subject: =?utf-8?q?caf=C3=A9?=\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary=m\r
\r
--m\r
Content-Type: multipart/related; boundary=r\r
\r
--r\r
Content-Type: multipart/alternative; boundary=a\r
\r
--a\r
Content-Type: text/plain; charset=iso-8859-1\r
Content-Transfer-Encoding: quoted-printable\r
\r
caf=E9\r
--a\r
Content-Type: text/html; charset=utf-8\r
\r
<p>caf\xc3\xa9 <img src="cid:i@x">\r
--a--\r
--r\r
Content-Type: image/png\r
Content-ID: <i@x>\r
Content-Transfer-Encoding: base64\r
\r
iVBORw==\r
--r--\r
--m\r
Content-Type: text/html\r
Content-Disposition: attachment; filename="../a b.html"\r
\r
<script>alert(1)</script>\r
--m\r
Content-Type: application/pdf; name="2"\r
Content-Disposition: attachment\r
\r
%PDF\r
--m--\r
"""
PLAIN = b"Subject: hello\r\n\r\nHello.\r\n"
ID = make_id(1)


class Threads:
    """Takes what is to be called in a thread, and calls nothing by itself."""

    def __init__(self):
        self.waiting = []

    def __call__(self, function):
        self.waiting.append((function, Deferred()))
        return self.waiting[-1][1]


def made(*submissions, sent=None, content=None, in_thread=None):
    queue = FakeQueue(*(submissions or [make_submission(data=MESSAGE)]))
    return routes(queue, content or FakeContent(), sent or FakeSent(), in_thread or (lambda call: succeed(call())))


def refusal(found, target, account=MINE):
    with pytest.raises(ApiError) as caught:
        get(found, target, account)
    return caught.value.status, caught.value.text


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("recipient", "r1@example.net"),
        ("envelope", "sender@example.org"),
        ("text", "café"),
        ("html", '<p>café <img src="cid:i@x">'),
    ],
)
def test_a_part_is_text(part: str, text: str) -> None:
    answered = get(made(), f"/{part}/{ID}")
    assert (answered.status, answered.content_type) == (200, b"text/plain; charset=utf-8")
    assert answered.text == text


@pytest.mark.parametrize("part", ["header", "headers"])
def test_the_header_is_as_it_is(part: str) -> None:
    answered = get(made(), f"/{part}/{ID}")
    assert answered.content_type == b"text/plain; charset=utf-8"
    assert answered.body.startswith(b"Received: from here\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\n")
    assert b"\r\n\r\n" not in answered.body


def test_a_submission_with_several_recipients_has_one_a_line() -> None:
    found = made(make_submission(recipients=3, data=PLAIN))
    assert get(found, f"/recipient/{ID}").text == "r1@example.net\nr2@example.net\nr3@example.net"
    assert get(found, f"/recipient/{ID}-2").text == "r2@example.net"
    assert get(found, f"/envelope/{ID}").text == "sender@example.org"
    assert get(found, f"/text/{ID}-3").text == "Hello.\r\n"


@pytest.mark.parametrize(
    ("target", "word"),
    [("html", "HTML"), ("envelope", "envelope"), ("attachments/{}/1", "file"), ("embeds/{}/x", "file")],
)
def test_a_part_that_is_not_there_is_404_with_a_text(target: str, word: str) -> None:
    target = f"/{target}/{ID}" if "{}" not in target else f"/{target.format(ID)}"
    status, text = refusal(made(make_submission(data=PLAIN, reverse_path="")), target)
    assert status == 404
    assert word in text


def test_a_message_without_files_has_empty_lists_of_them() -> None:
    found = made(make_submission(data=PLAIN))
    for name in ("attachments", "embeds"):
        answered = get(found, f"/{name}/{ID}")
        assert (answered.content_type, answered.body) == (b"application/json", b"[]")


def test_files_are_listed() -> None:
    assert get(made(), f"/attachments/{ID}").json == [
        {"name": "a b.html", "number": 1, "type": "text/html", "size": 25},
        {"name": "2", "number": 2, "type": "application/pdf", "size": 4},
    ]
    assert get(made(), f"/embeds/{ID}").json == [{"name": "", "number": 1, "type": "image/png", "size": 4}]


@pytest.mark.parametrize("label", ["2", "%32"])
def test_a_file_is_had_by_name_or_by_number(label: str) -> None:
    answered = get(made(), f"/attachments/{ID}/{label}")
    assert (answered.content_type, answered.body) == (b"application/pdf", b"%PDF")
    assert answered.fields[b"Content-Disposition"] == b'attachment; filename="2"'
    assert get(made(), f"/embeds/{ID}/1").body == b"\x89PNG"


@pytest.mark.parametrize("label", ["1", "a%20b.html"])
def test_stored_html_does_not_run_on_our_origin(label: str) -> None:
    answered = get(made(), f"/attachments/{ID}/{label}")
    assert answered.body == b"<script>alert(1)</script>"
    assert answered.content_type == b"application/octet-stream"
    assert answered.fields[b"Content-Disposition"].startswith(b"attachment")
    assert b"sandbox" in answered.fields[b"Content-Security-Policy"]


def test_html_of_a_message_is_told_as_text() -> None:
    assert get(made(), f"/html/{ID}").content_type == b"text/plain; charset=utf-8"


@pytest.mark.parametrize("label", ["..%2fa%20b.html", "0", "3", "-1", "%D9%A1", "01", "1%00", "9" * 5000])
def test_path_traversal_and_numbers_that_are_none(label: str) -> None:
    assert refusal(made(), f"/attachments/{ID}/{label}")[0] == 404


PARTS = ["recipient", "envelope", "text", "html", "header", "headers", "attachments", "embeds", "raw"]


@pytest.mark.parametrize("target", [f"/{part}/{{}}" for part in PARTS] + ["/attachments/{}/1", "/embeds/{}/1"])
def test_another_accounts_message_is_answered_as_one_that_never_was(target: str) -> None:
    found = made(make_submission(1, data=MESSAGE), make_submission(2, data=MESSAGE, account=OTHERS),
                 make_submission(3, data=MESSAGE, account=None))  # fmt: skip
    unknown = refusal(found, target.format(make_id(9)))
    assert unknown[0] == 404
    for id in (make_id(2), make_id(3), f"{ID}-1", f"{ID}-2", ID.upper(), "x", "..%2f..%2fetc%2fpasswd", f"{ID}%00"):
        assert refusal(found, target.format(id)) == unknown
    assert get(found, target.format(ID)).status == 200


def test_content_that_is_not_kept_any_more_is_404_with_a_text() -> None:
    content = FakeContent()
    content.gone = True
    found = made(content=content, sent=FakeSent(trouble=KeyError(ID)))
    for part in ("text", "html", "header", "attachments", "embeds", "attachments/{}/1", "raw"):
        target = f"/{part.format(ID)}" if "{}" in part else f"/{part}/{ID}"
        assert refusal(found, target) == (404, "The content of this message is not kept any more")
    assert get(found, f"/recipient/{ID}").text == "r1@example.net"


# --- what takes its time ---


@pytest.mark.parametrize(("size", "at_once"), [(0, 3), (LARGE, 2)])
def test_a_message_is_looked_through_in_a_thread_and_only_a_few_large_ones_at_once(size: int, at_once: int) -> None:
    threads = Threads()
    found = made(make_submission(data=PLAIN + b"x" * size), in_thread=threads)
    answers = [Deferred.fromCoroutine(ask(found, f"/header/{ID}")) for _ in range(3)]
    assert len(threads.waiting) == at_once
    function, done = threads.waiting[0]
    assert not answers[0].called
    done.callback(function())
    body = answers[0].result.body
    if size:
        assert len(threads.waiting) == 2, "the next one waits until this answer is taken"
        body = b"".join(iter(lambda: result_of(first_of(body)) or b"", b""))
    assert body == b"Subject: hello\r\n"
    assert len(threads.waiting) == 3


def test_a_long_text_is_written_some_at_a_time() -> None:
    text = "é\U0001f600" * LARGE + "\r\n"
    data = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode("utf-8")
    found = made(make_submission(data=data))
    answered = get(found, f"/text/{ID}")
    assert (answered.content_type, answered.text) == (b"text/plain; charset=utf-8", text)
    assert len(result_of(anext(begin(found, f"/text/{ID}").body))) < 5 * LARGE


# --- what went out ---


def test_the_octets_that_went() -> None:
    sent = FakeSent(b"Subject: a\r\n\r\n\xff")
    answered = get(made(sent=sent), f"/raw/{ID}")
    assert (answered.content_type, answered.body) == (b"message/rfc822", b"Subject: a\r\n\r\n\xff")
    assert answered.fields[b"Content-Disposition"] == f'attachment; filename="{ID}.eml"'.encode("ascii")
    assert sent.asked == [(ID, 1)]


def test_the_octets_of_a_submission_with_several_recipients_are_those_of_all() -> None:
    sent = FakeSent()
    found = made(make_submission(recipients=2), sent=sent)
    get(found, f"/raw/{ID}")
    get(found, f"/raw/{ID}-2")
    assert sent.asked == [(ID, None), (ID, 2)]


def test_a_copy_that_cannot_be_made_any_more() -> None:
    status, text = refusal(made(sent=FakeSent(trouble=FeatureMissing("The feature x is not there"))), f"/raw/{ID}")
    assert (status, text) == (409, "The feature x is not there")


def test_content_that_is_damaged_is_no_answer() -> None:
    with pytest.raises(ContentCorrupt):
        get(made(sent=FakeSent(trouble=ContentCorrupt("x"))), f"/raw/{ID}")
