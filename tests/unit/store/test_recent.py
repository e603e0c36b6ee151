"""What features made stays in memory for a while, and is given only where the store has the same."""

from __future__ import annotations

import hashlib

from smtpeter.model.submission import Content
from smtpeter.store.content import Recent


def content_of(octets):
    return Content(len(octets), hashlib.sha256(octets).digest(), prepared=True)


def put(recent, submission, octets):
    recent.put(submission, octets, content_of(octets).digest)


def test_what_was_put_is_there():
    recent = Recent(100)
    put(recent, "a", b"made")
    assert recent.get("a", content_of(b"made")) == b"made"
    assert recent.get("a", content_of(b"made")) == b"made"
    assert recent.get("b", content_of(b"made")) is None


def test_other_content_than_the_store_has_is_not_given():
    recent = Recent(100)
    put(recent, "a", b"made")
    assert recent.get("a", content_of(b"lies")) is None
    assert recent.get("a", content_of(b"longer than that")) is None
    put(recent, "a", b"lies")
    assert recent.get("a", content_of(b"lies")) == b"lies"


def test_the_oldest_is_forgotten_where_there_is_no_room():
    recent = Recent(100)
    for name in "abcdef":
        put(recent, name, name.encode() * 30)
    kept = [name for name in "abcdef" if recent.get(name, content_of(name.encode() * 30))]
    assert kept == ["d", "e", "f"]
    put(recent, "huge", b"x" * 101)
    assert recent.get("huge", content_of(b"x" * 101)) is None
    put(recent, "small", b"x")
    assert recent.get("small", content_of(b"x")) == b"x"
