"""Messages that others wrote, edited in each of their leaves."""

from __future__ import annotations

import os

import pytest

from smtpeter.mime import transfer
from smtpeter.mime.editing import EditableMessage
from smtpeter.model.feature import Slot
from tests.corpus import messages
from tests.unit.mime.reading import assert_only_these_differ, fill, leaves_of

SLOT = Slot("tracking", "k", 24)
MESSAGES = messages()
EACH = pytest.mark.parametrize("name", sorted(MESSAGES))


def forms(name: str) -> list[bytes]:
    """As it came over SMTP, and without its last line end."""
    content = MESSAGES[name]
    return [content, content.rstrip(b"\r\n")]


def test_there_is_a_corpus() -> None:
    """Where everything has to be there, these are the three hundred that the proof is about."""
    assert len(MESSAGES) >= (300 if os.environ.get("SMTPETER_REQUIRE_TOOLS") else 20)


@EACH
def test_without_edits_nothing_changes(name: str) -> None:
    for content in forms(name):
        message = EditableMessage(content)
        assert isinstance(message.html, tuple) and isinstance(message.plain, tuple)
        assert message.render()[0] is content


@EACH
def test_an_edit_changes_its_leaf_only(name: str) -> None:
    for content in forms(name):
        for index in leaves_of(EditableMessage(content)):
            message = EditableMessage(content)
            leaf = leaves_of(message)[index]
            middle = leaf.octets.find(b">") + 1 or leaf.octets.find(b"\n") + 1
            edit = [b"<i>new</i> ", SLOT] if leaf.takes_slots else [b"<i>new</i> "]
            leaf.splice([(middle, middle, edit), (len(leaf.octets), len(leaf.octets), [b"end\r\n"])])
            wanted = b"".join(leaf._wire_pieces())
            rendered, slots = message.render()
            value = b"AAAAAQ-_0123456789abcdef"
            filled = fill(rendered, slots, [value] * len(slots))
            part = assert_only_these_differ(content, filled, {index})[index]
            decoded = transfer.decode(filled[part.body : part.end], part.encoding)
            assert decoded.removesuffix(b"\r\n") == wanted.replace(b"x" * 24, value).removesuffix(b"\r\n")
            assert all(len(line) <= 76 for line in filled[part.body : part.end].split(b"\r\n")) or not slots


@EACH
def test_an_edit_that_is_undone_changes_nothing(name: str) -> None:
    content = MESSAGES[name]
    message = EditableMessage(content)
    state = message.snapshot()
    message.add_field("X-Test", "x")
    for leaf in leaves_of(message).values():
        leaf.set_text("other")
    assert message.render()[0] != content
    message.restore(state)
    assert message.render()[0] is content
