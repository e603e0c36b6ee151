"""A message as features edit it.  Every octet stays that is not of an edited leaf's body or transfer encoding field.

What is signed or encrypted, what is attached, and messages within the message cannot be touched, and nothing at all of
a message that its author's domain signed with DKIM: there is no key here to sign it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import idna

from smtpeter.mime.leaf import EditableLeaf, LeafState, UntouchableError
from smtpeter.mime.structure import (
    DEPTH_LIMIT,
    PARTS_LIMIT,
    SEALED,
    Part,
    content_fields,
    content_parameters,
    delimiters_around,
    find_fields,
    is_message,
    leading_token,
    parameter,
    scan,
)
from smtpeter.mime.transfer import LINE_LIMIT, put_encoding
from smtpeter.model.feature import PlacedSlot, Slot

LEAF_LIMIT = 2_000_000  # octets
_DOMAIN_LIMIT = 1024  # octets of one that is not in its short form yet

_FIELD_NAME = re.compile(r"[!-9;-~]+")
_PRINTABLE = re.compile(r"[ -~]*")
# What may stand before the first field: a line of mbox, and lines that would continue a field.
_BEFORE_FIELDS = re.compile(rb"(?:>?From [^\r\n]*\r\n)?(?:[ \t][^\r\n]*(?:\r\n|\Z))*+")
_DKIM_DOMAIN = re.compile(rb"(?:^|;)[ \t]*+d[ \t]*+=[ \t]*+([^;\s]++)")
_BETWEEN_WORDS = re.compile(rb"\([^()]*+\)|[ \t]++")
_AUTHOR_DOMAIN = re.compile(rb"@[ \t]*+([^\s()<>\[\],;:@\"]++)")


class MessageState(NamedTuple):
    """What can be put back."""

    added: tuple[tuple[str, str], ...]
    leaves: Mapping[int, LeafState]


class EditableMessage:
    """An IEditableMessage.  ``content`` is canonical (CRLF) and may be hostile.

    Beyond ``depth`` and ``parts`` a message is closed; leaves of more than ``leaf_limit`` octets are not offered.
    """

    def __init__(
        self, content: bytes, *, depth: int = DEPTH_LIMIT, parts: int = PARTS_LIMIT, leaf_limit: int = LEAF_LIMIT
    ) -> None:
        self._content = content
        self._leaf_limit = leaf_limit
        self._added: list[tuple[str, str]] = []
        self._leaves: dict[int, EditableLeaf] = {}
        self._notes: list[str] = []
        self._parts = scan(content, depth=depth, parts=parts) or []
        self.closed = self._why_closed()

    def _why_closed(self) -> str:
        if not self._parts:
            return "too complex"
        if any(_is_ambiguous(self._parts, part) for part in self._parts if part.boundary):
            return "ambiguous"
        type = self._parts[0].type
        if type in SEALED:
            return "signed" if type == "multipart/signed" or self._is_signed_data() else "encrypted"
        return "dkim" if self._is_signed_by_author() else ""

    def _is_signed_data(self) -> bool:
        """RFC 8551 section 3.2.2; without its parameter it is more often encrypted."""
        given = content_fields(self._content, self._parts[0]).get(b"content-type", b"")
        return parameter(content_parameters(given), b"smime-type").lower() in (
            b"signed-data",
            b"signed-receipt",
            b"certs-only",
        )

    def _is_signed_by_author(self) -> bool:
        """Whether a DKIM signature's domain is that of the author, or above or below it (RFC 7489 section 3.1.1).

        Whatever looks like a domain in a From field counts: at worst, a message goes as it came.
        """
        signatures = [_DKIM_DOMAIN.search(value) for value in self._values(b"dkim-signature")]
        signers = {_domain(match[1]) for match in signatures if match}
        if not signers:
            return False
        fields = self._values(b"from")
        fields += [_BETWEEN_WORDS.sub(b"", value) for value in fields]  # RFC 5322 section 4.4 has: a@ example (x) . com
        authors = {match[1] for value in fields for match in _AUTHOR_DOMAIN.finditer(value)}
        return any(
            not signers.isdisjoint(_with_parents(author)) or any(signer.endswith(b"." + author) for signer in signers)
            for author in map(_domain, authors)
            if author
        )

    # --- the header ---

    @cached_property
    def _fields(self) -> list[tuple[bytes, bytes]]:
        return find_fields(self._content)

    def _values(self, name: bytes) -> list[bytes]:
        return [value for field, value in self._fields if field == name]

    def fields(self, name: str) -> tuple[str, ...]:
        """The values of all fields with this name, also of those that were added, unfolded."""
        wanted = name.lower()
        added = [value for field, value in reversed(self._added) if field.lower() == wanted]
        given = self._values(wanted.encode("ascii", "replace"))
        return (*added, *[value.decode("utf-8", "replace") for value in given])

    def add_field(self, name: str, value: str) -> None:
        """Put a field on top.

        :raises ValueError: where it would not be one line of printable ASCII, of at most 998 octets.
        """
        if not _FIELD_NAME.fullmatch(name) or not _PRINTABLE.fullmatch(value) or not value.strip():
            raise ValueError("a field has a name, and a value of printable ASCII on one line")
        if len(name) + 2 + len(value) > LINE_LIMIT:
            raise ValueError(f"a field has at most {LINE_LIMIT} octets")
        self._added.append((name, value))

    # --- leaves ---

    @cached_property
    def html(self) -> tuple[EditableLeaf, ...]:
        """The text/html leaves that may be touched."""
        return self._leaves_of("text/html")

    @cached_property
    def plain(self) -> tuple[EditableLeaf, ...]:
        """The text/plain leaves that may be touched."""
        return self._leaves_of("text/plain")

    @property
    def notes(self) -> tuple[str, ...]:
        """Why leaves are not offered, of those types that were asked for."""
        return tuple(self._notes)

    def _leaves_of(self, type: str) -> tuple[EditableLeaf, ...]:
        found = []
        for index, charset in self._shown.items():
            part = self._parts[index]
            if part.type != type:
                continue
            raw = self._content[part.body : part.end]
            try:
                leaf = EditableLeaf(raw, type, part.encoding, charset, self._leaf_limit)
            except UntouchableError as error:
                if str(error) not in self._notes:
                    self._notes.append(str(error))
                continue
            self._leaves[index] = leaf
            found.append(leaf)
        return tuple(found)

    @cached_property
    def _shown(self) -> dict[int, bytes]:
        """The leaves that readers show and that may be touched: their indexes, and their charsets."""
        return {} if self.closed else dict(_shown_leaves(self._content, self._parts))

    # --- the whole ---

    def snapshot(self) -> MessageState:
        """What :meth:`restore` brings back."""
        return MessageState(tuple(self._added), {index: leaf.snapshot() for index, leaf in self._leaves.items()})

    def restore(self, state: MessageState) -> None:
        """Be what it was then.  Leaves stay the same objects."""
        self._added = list(state.added)
        for index, leaf in self._leaves.items():
            leaf.restore(state.leaves.get(index))

    def render(self) -> tuple[bytes, tuple[PlacedSlot, ...]]:
        """The content as it is now, and its slots in order; the same object as at first where nothing was changed."""
        edited = [index for index, leaf in sorted(self._leaves.items()) if leaf.edited]
        if not edited and not self._added:
            return self._content, ()
        output = _Output(self._content)
        self._put_fields(output, separate=0 not in edited)
        for index in edited:
            self._put_leaf(output, self._parts[index], self._leaves[index])
        output.copy(len(self._content))
        return b"".join(output.pieces), tuple(output.slots)

    def _put_fields(self, output: _Output, *, separate: bool) -> None:
        if not self._added:
            return
        content = self._content
        before = _BEFORE_FIELDS.match(content)
        assert before is not None
        output.copy(before.end())
        if before[0] and not before[0].endswith(b"\n"):
            output.put(b"\r\n")
        output.put("".join([f"{name}: {value}\r\n" for name, value in reversed(self._added)]).encode("ascii"))
        if separate and self._parts and not self._parts[0].body and content:
            output.put(b"\r\n")  # there is no header, and what is there must not become one

    def _put_leaf(self, output: _Output, part: Part, leaf: EditableLeaf) -> None:
        content, parts = self._content, self._parts
        is_last = part.end == len(content)
        around = delimiters_around(parts, part)
        # Those that end a multipart begin like its others.
        delimiters = tuple(b"--" + each for each in around if not (each.endswith(b"--") and each[:-2] in around))
        encoded = leaf.encode(delimiters, is_last=is_last)
        begin = max(output.position, part.begin)
        output.copy(begin)
        header = content[begin : part.header_end]
        if encoded.encoding != part.encoding:
            header = put_encoding(header, encoded.encoding, version=is_message(parts, part))
        elif header and not header.endswith(b"\n"):
            header += b"\r\n"
        output.put(header)
        output.put(b"\r\n")
        output.put_slotted(encoded.body, encoded.slots)
        if not is_last and not content.startswith(b"\r\n", part.end):
            output.put(b"\r\n")  # the delimiter's own was that of an empty body
        output.position = part.end


class _Output:
    """What is rendered so far, and up to where the content is in it."""

    def __init__(self, content: bytes) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.slots: list[PlacedSlot] = []
        self.position = 0
        self._whole = memoryview(content)
        self._length = 0

    def copy(self, end: int) -> None:
        """What stays, up to here."""
        self.pieces.append(self._whole[self.position : end])
        self._length += end - self.position
        self.position = end

    def put(self, octets: bytes) -> None:
        """What is new."""
        self.pieces.append(octets)
        self._length += len(octets)

    def put_slotted(self, pieces: Sequence[bytes], slots: Sequence[tuple[int, Slot]]) -> None:
        """What is new and has slots, at these offsets in it."""
        self.slots += [PlacedSlot(self._length + offset, slot) for offset, slot in slots]
        self.pieces += pieces
        self._length += sum(map(len, pieces))


# --- which leaves are shown -------------------------------------------------------------------------------------------


def _shown_leaves(content: bytes, parts: Sequence[Part]) -> Iterator[tuple[int, bytes]]:
    """Indexes and charsets of leaves of text that are no file, nothing that only belongs to another part, and in
    nothing that must not be touched."""
    end = 0
    roots = _roots_of_related(content, parts)
    for index, part in enumerate(parts):
        if part.begin < end or (part.begin == len(content) and index):
            continue
        fields = content_fields(content, part)
        given = content_parameters(fields.get(b"content-type", b""))
        is_sealed = part.type in SEALED or part.type.startswith("message/")
        if is_sealed or _is_file(part, fields, given) or roots.get(part.parent, index) != index:
            end = part.end
        elif part.type.startswith("text/"):
            yield index, parameter(given, b"charset")


def _roots_of_related(content: bytes, parts: Sequence[Part]) -> dict[int, int]:
    """Of each multipart/related, the part that is shown: that which ``start`` names, else the first (RFC 2387 section
    3.2)."""
    roots: dict[int, int] = {}
    starts: dict[int, bytes] = {}
    for index, part in enumerate(parts):
        if part.type == "multipart/related":
            given = content_parameters(content_fields(content, part).get(b"content-type", b""))
            starts[index] = parameter(given, b"start")
        parent = part.parent
        if parent not in starts:
            continue
        roots.setdefault(parent, index)
        if starts[parent] and content_fields(content, part).get(b"content-id") == starts[parent]:
            roots[parent] = index
            starts[parent] = b""
    return roots


def _is_file(part: Part, fields: Mapping[bytes, bytes], given: Mapping[bytes, bytes]) -> bool:
    """Whether a part is one to be saved: an attachment, a disposition that is not known (RFC 2183 section 2.8), or text
    with a file name."""
    disposition = fields.get(b"content-disposition", b"")
    if disposition and leading_token(disposition) != "inline":
        return True
    if not part.type.startswith("text/"):
        return False
    return bool(parameter(given, b"name") or parameter(content_parameters(disposition), b"filename"))


def _is_ambiguous(parts: Sequence[Part], part: Part) -> bool:
    """Whether a multipart has a delimiter that one around it has too: readers differ in what then is signed."""
    delimiters = delimiters_around(parts, part)
    return part.boundary in delimiters or part.boundary + b"--" in delimiters


# --- domains ----------------------------------------------------------------------------------------------------------


def _domain(given: bytes) -> bytes:
    """A domain in the form in which domains are compared; empty for what cannot be one."""
    given = given.lower().strip(b".")
    if len(given) > _DOMAIN_LIMIT:
        return b""
    if not given.isascii():
        try:
            return idna.encode(given.decode("utf-8"), uts46=True).lower()
        except (idna.IDNAError, UnicodeError):
            return b""
    return given


def _with_parents(domain: bytes) -> Iterator[bytes]:
    """A domain and those above it, but no top-level domain."""
    while b"." in domain:
        yield domain
        domain = domain.partition(b".")[2]
