"""What tests of edited messages need: filling slots, and what may differ between a message and its edited form."""

from __future__ import annotations

import email
from collections.abc import Iterator, Sequence
from email.message import Message

from smtpeter.mime.editing import EditableMessage
from smtpeter.mime.leaf import EditableLeaf
from smtpeter.mime.structure import Part, scan
from smtpeter.model.feature import PlacedSlot


def fill(content: bytes, slots: Sequence[PlacedSlot], values: Sequence[bytes]) -> bytes:
    """A recipient's copy."""
    filled = bytearray(content)
    end = 0
    for (offset, slot), value in zip(slots, values, strict=True):
        assert offset >= end and len(value) == slot.length
        assert filled[offset : offset + slot.length] == b"x" * slot.length
        filled[offset : offset + slot.length] = value
        end = offset + slot.length
    assert len(filled) == len(content)
    return bytes(filled)


def leaves_of(message: EditableMessage) -> dict[int, EditableLeaf]:
    """All leaves that can be edited, by the number of their part."""
    assert len(message.html) + len(message.plain) == len(message._leaves)
    return dict(sorted(message._leaves.items()))


def assert_only_these_differ(before: bytes, after: bytes, edited: set[int]) -> list[Part]:
    """Every other part is the same, octet for octet, and so is all that stands between parts; of these parts the body
    and the transfer encoding field may differ.  Answers the parts as they are now."""
    old, new = scan(before), scan(after)
    assert old is not None and new is not None
    assert [(part.type, part.parent, part.boundary) for part in old] == [
        (part.type, part.parent, part.boundary) for part in new
    ]
    assert list(_fixed(before, old, edited)) == list(_fixed(after, new, edited))
    return new


def _fixed(content: bytes, parts: Sequence[Part], edited: set[int]) -> Iterator[bytes | list[bytes]]:
    """What must not change, in order.  An empty body has no CRLF of its own in front of a delimiter, others have."""
    position = 0
    for index, part in enumerate(parts):
        if index in edited:
            yield content[position : part.begin].removeprefix(b"\r\n" if position else b"")
            yield _other_lines(content[part.begin : part.header_end])
            position = part.end
    yield content[position:].removeprefix(b"\r\n" if position else b"")


def _other_lines(header: bytes) -> list[bytes]:
    """A header without the fields that tell of the transfer encoding."""
    kept: list[bytes] = []
    ours = False
    for line in header.removesuffix(b"\r\n").split(b"\r\n"):
        if line[:1] not in (b" ", b"\t"):
            name = line.partition(b":")[0].rstrip(b" \t").lower()
            ours = name in (b"content-transfer-encoding", b"mime-version")
        if not ours and line:
            kept.append(line)
    return kept


def python_leaves(content: bytes) -> list[tuple[str, bytes | None]]:
    """Types and decoded bodies of all leaves, as Python reads them."""

    def walk(part: Message) -> Iterator[tuple[str, bytes | None]]:
        if part.is_multipart():
            for inner in part.get_payload():
                yield from walk(inner)  # type: ignore[arg-type]
        else:
            yield part.get_content_type(), part.get_payload(decode=True)  # type: ignore[misc]

    return list(walk(email.message_from_bytes(content)))
