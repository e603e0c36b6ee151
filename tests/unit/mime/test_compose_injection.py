"""Text that wants to become a field of its own in a composed message."""

from __future__ import annotations

import re

import pytest

from smtpeter.mime.addresses import UNFIT
from smtpeter.mime.attachment import Attachment
from smtpeter.mime.compose import Unsubscribe, _check_header, compose
from smtpeter.mime.structure import scan
from tests.fakes.injections import INJECTIONS
from tests.unit.mime.composing import ENTROPY, PLAIN, SENDER, as_python, octets

INJECTED = {
    "from name": lambda text: PLAIN._replace(sender=SENDER._replace(name=text)),
    "from mailbox": lambda text: PLAIN._replace(sender=SENDER._replace(mailbox=f"{text}@b.example")),
    "to": lambda text: PLAIN._replace(to=[SENDER, SENDER._replace(name=text), SENDER]),
    "cc": lambda text: PLAIN._replace(cc=[SENDER, SENDER._replace(name=text), SENDER]),
    "replyto": lambda text: PLAIN._replace(reply_to=[SENDER, SENDER._replace(name=text), SENDER]),
    "subject": lambda text: PLAIN._replace(subject=text),
    "unsubscribe url": lambda text: PLAIN._replace(unsubscribe=Unsubscribe(None, f"https://x.example/{text}", True)),
    "unsubscribe email": lambda text: PLAIN._replace(
        unsubscribe=Unsubscribe(SENDER._replace(mailbox=f"{text}@b.example"))
    ),
    "extra": lambda text: PLAIN._replace(extra=[("X-A", text)]),
    "file name": lambda text: PLAIN._replace(attachments=[Attachment(b"x", text)]),
    "file type": lambda text: PLAIN._replace(attachments=[Attachment(b"x", "x", text)]),
    "file type parameter": lambda text: PLAIN._replace(attachments=[Attachment(b"x", "x", f"image/png; a={text}")]),
    "content id": lambda text: PLAIN._replace(html=f"cid:{text}", attachments=[Attachment(b"x", "x", "", text)]),
    "embed name": lambda text: PLAIN._replace(html=f"cid:{text}", attachments=[Attachment(b"x", text)]),
    "text": lambda text: PLAIN._replace(text=text),
    "html": lambda text: PLAIN._replace(html=text),
}


def names_of(content):
    """Names of all fields of all parts, by two readers that have nothing in common, and types of all parts."""
    message = as_python(content)
    parts = scan(content)
    assert parts is not None
    python = [list(part.keys()) for part in message.walk()]
    assert sum(map(len, python)) == sum(
        len(re.findall(rb"^[!-9;-~]+:", content[part.begin : part.header_end], re.M)) for part in parts
    )
    return python


@pytest.mark.parametrize("where", INJECTED)
def test_header_injection(where):
    """Each payload is refused, or the message has the same fields as one without it."""
    make = INJECTED[where]
    twins = [names_of(octets(make("image/png" if where == "file type" else "harmless")))]
    if where == "embed name":  # some names are no content ids
        twins.append(names_of(octets(make("not harmless"))))
    for payload in INJECTIONS:
        try:
            content = octets(make(payload))
        except ValueError as error:
            assert len(str(error)) < 250
            assert "attacker" not in str(error)
        else:
            assert names_of(content) in twins, payload


@pytest.mark.parametrize("where", [where for where in INJECTED if where not in ("text", "html")])
def test_ends_of_lines_are_refused_wherever_they_would_be_in_a_header(where):
    payloads = [payload for payload in INJECTIONS if UNFIT.search(payload)]
    assert len(payloads) > 40
    for payload in payloads:
        with pytest.raises(ValueError):
            compose(INJECTED[where](payload), ENTROPY)


@pytest.mark.parametrize(
    "block",
    [
        b"A: b\r\nC: d\r\nE: f\r\n\r\n",
        b"A: b\r\n\r\n",
        b"A: b\r\nC: d\n\r\n",
        b"A: b\nC: d\r\n\r\n",
        b"A: b\r\nC: d\rE: f\r\n\r\n",
        b"A: b\r\nC: \0\r\n\r\n",
        b"A: b\r\n\r\nC: d\r\n\r\n",
        b"A: b\r\nC: " + b"x" * 999 + b"\r\n\r\n",
    ],
)
def test_the_last_look_at_a_header(block):
    """Whatever got past all other checks ends here: there have to be two fields."""
    _check_header(b"A: b\r\nC: d\r\n e\r\n\r\n", 2)
    with pytest.raises(ValueError):
        _check_header(block, 2)
