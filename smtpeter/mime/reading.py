"""A message as people see it: its text, its HTML, its header, and the files that came with it.

The message may be hostile: whatever it is, this ends soon, and what comes out is text and labels, never a path.  A
large one is read piece by piece, so that other threads can run in between.
"""

from __future__ import annotations

import codecs
import re
from binascii import a2b_base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from smtpeter.mime.charset import find_charset
from smtpeter.mime.header import find_header_end
from smtpeter.mime.structure import (
    HEADER_LIMIT,
    Part,
    content_fields,
    content_parameters,
    leading_token,
    parameter,
    scan,
)
from smtpeter.mime.transfer import decode_quoted, quoted_pieces
from smtpeter.mime.words import decode_field
from smtpeter.model.reply import clean_text

_NAME_LIMIT = 255
_PIECE = 65_536  # octets
_BROKEN_PIECE = 8192  # octets of text: to replace each of them takes milliseconds
_RUN_LIMIT = 65_536  # octets of one run of base64 in UTF-7, which is read again with each piece until it ends
_REFERENCE = re.compile(r"cid:([^\s\"'<>()]{1,998})", re.I)
_REFERENCE_LIMIT = 1002  # characters
_NO_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_NAMED_BODIES = ("", "multipart/alternative")  # what is in these is shown, though it may have a name
_BODIES = ("text/plain", "text/html")
_BYTE_ORDER_MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}


class File(NamedTuple):
    """A file in a message.

    ``name`` is what the sender calls it: a label for people, without directories, possibly empty or not the only one of
    its kind.  ``number`` counts from 1 among the attachments, or among the embeds.  ``size`` is in octets, without
    transfer encoding.  ``where`` is for :meth:`MessageReader.content`.
    """

    name: str
    number: int
    type: str
    size: int
    where: int


class MessageReader:
    """Reads a message's canonical octets, each thing when it is first asked for.

    A message beyond the limits of :func:`smtpeter.mime.structure.scan` has a header and nothing else.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._parts: Sequence[Part] = scan(content) or ()

    @cached_property
    def header(self) -> str:
        """The header as it is, without the empty line that ends it; what is not UTF-8 is replaced."""
        return self._header_octets.decode("utf-8", "replace")

    @property
    def text(self) -> str | None:
        """The plain text that readers show."""
        return None if self.text_pieces is None else "".join(self.text_pieces)

    @property
    def html(self) -> str | None:
        """The HTML that readers show."""
        return None if self.html_pieces is None else "".join(self.html_pieces)

    @cached_property
    def text_pieces(self) -> Sequence[str] | None:
        """The plain text in pieces: to join a large one keeps other threads waiting."""
        return self._text_of("text/plain")

    @cached_property
    def html_pieces(self) -> Sequence[str] | None:
        """The HTML in pieces."""
        return self._text_of("text/html")

    @cached_property
    def attachments(self) -> tuple[File, ...]:
        """All files but those that the HTML shows."""
        return self._files([index for index in self._leaves if index not in self._embedded])

    @cached_property
    def embeds(self) -> tuple[File, ...]:
        """The files that the HTML shows, or may show."""
        return self._files([index for index in self._leaves if index in self._embedded])

    def content(self, file: File) -> bytes:
        """What is in a file, without transfer encoding; a message within the message as it is."""
        return b"".join(self.pieces(file))

    def pieces(self, file: File) -> Iterator[bytes]:
        """The same piece by piece, so that other threads can run in between."""
        return self._decoded(self._parts[file.where])

    @property
    def _header_octets(self) -> bytes:
        if self._parts:
            return self._content[: self._parts[0].header_end]
        start = self._content[:HEADER_LIMIT]
        end = find_header_end(start)
        return start if end is None else start[:end]

    @cached_property
    def _headers(self) -> Mapping[int, _PartHeader]:
        """Of all parts that are shown or listed: no multiparts, and nothing that is within another message."""
        headers: dict[int, _PartHeader] = {}
        within: set[int] = set()  # messages, and all that is in them
        for index, part in enumerate(self._parts):
            if part.parent in within:
                within.add(index)
                continue
            if part.type.startswith("multipart/") and part.inner:
                continue
            if part.inner:
                within.add(index)
            headers[index] = _read_header(content_fields(self._content, part))
        return headers

    @cached_property
    def _bodies(self) -> Mapping[str, int]:
        """Which parts are the text and the HTML: the first of their kind that are not files."""
        bodies: dict[str, int] = {}
        for index, header in self._headers.items():
            type = self._parts[index].type
            is_file = header.disposition == "attachment" or (
                header.name and self._parent_type(index) not in _NAMED_BODIES
            )
            if type in _BODIES and not is_file:
                bodies.setdefault(type, index)
        return bodies

    @cached_property
    def _leaves(self) -> Sequence[int]:
        bodies = set(self._bodies.values())
        return [index for index in self._headers if index not in bodies]

    @cached_property
    def _embedded(self) -> frozenset[int]:
        with_id = {index: self._headers[index].content_id for index in self._leaves if self._headers[index].content_id}
        if not with_id:
            return frozenset()
        shown = set(with_id.values()).intersection(map(unquote_to_bytes, _references(self.html_pieces or ())))
        return frozenset(
            index for index, id in with_id.items() if id in shown or self._parent_type(index) == "multipart/related"
        )

    def _parent_type(self, index: int) -> str:
        parent = self._parts[index].parent
        return self._parts[parent].type if parent >= 0 else ""

    def _files(self, indexes: Sequence[int]) -> tuple[File, ...]:
        return tuple(
            File(
                self._headers[index].name,
                number,
                self._parts[index].type,
                sum(map(len, self._decoded(self._parts[index]))),
                index,
            )
            for number, index in enumerate(indexes, 1)
        )

    def _text_of(self, type: str) -> Sequence[str] | None:
        index = self._bodies.get(type)
        if index is None:
            return None
        part, codec = self._parts[index], _codec(self._headers[index].charset)
        try:
            return self._decoded_text(part, codec or "utf-8", "strict", _PIECE)
        except UnicodeError:
            return self._decoded_text(part, codec or "cp1252", "replace", _BROKEN_PIECE)

    def _decoded_text(self, part: Part, codec: str, errors: str, size: int) -> Sequence[str]:
        if part.end - part.body <= size:  # the same, in less time
            return (_without_surrogates(b"".join(self._decoded(part)).decode(codec, errors)),)
        return tuple(_text_pieces(self._decoded(part), codec, errors, size))

    def _decoded(self, part: Part) -> Iterator[bytes]:
        if part.encoding == "base64" and not part.inner:
            return _decode_base64(self._slices(part))
        if part.encoding == "quoted-printable" and not part.inner:
            return map(decode_quoted, quoted_pieces(self._content, part.body, self._blank_end(part), _PIECE))
        return self._slices(part)

    def _slices(self, part: Part) -> Iterator[bytes]:
        for start in range(part.body, part.end, _PIECE):
            yield self._content[start : min(part.end, start + _PIECE)]

    def _blank_end(self, part: Part) -> int:
        """Where the white space at the end of a body begins."""
        end = part.end
        while piece := self._content[max(part.body, end - _PIECE) : end]:
            end -= len(piece)
            if kept := piece.rstrip(b" \t"):
                return end + len(kept)
        return end


def find_file(files: Sequence[File], label: str) -> File | None:
    """The file with this name, or else with this number; of several with one name the first."""
    named = next((file for file in files if file.name == label), None)
    if named is None and label.isascii() and label.isdecimal():
        named = next((file for file in files if str(file.number) == label), None)
    return named


class _PartHeader(NamedTuple):
    disposition: str
    name: str
    content_id: bytes
    charset: bytes


def _read_header(fields: Mapping[bytes, bytes]) -> _PartHeader:
    type = content_parameters(fields.get(b"content-type", b""))
    disposition = fields.get(b"content-disposition", b"")
    name = _file_name(content_parameters(disposition), b"filename") or _file_name(type, b"name")
    content_id = fields.get(b"content-id", b"").removeprefix(b"<").removesuffix(b">")
    return _PartHeader(leading_token(disposition), name, content_id, parameter(type, b"charset"))


def _file_name(given: Mapping[bytes, bytes], name: bytes) -> str:
    """A name in the ways of RFC 2231, or with encoded words as in the wild; where there are both, the first."""
    extended = {key: value for key, value in given.items() if key != name}
    octets = parameter(extended, name)
    if octets:
        text = octets.decode(_codec(_extended_charset(extended, name)) or "utf-8", "replace")
    else:
        octets = given.get(name, b"")
        text = decode_field(octets, len(octets)) if octets else ""
    text = re.split(r"[/\\]", text)[-1]
    text = clean_text(text.encode("utf-8", "replace").decode("utf-8"), _NAME_LIMIT)
    return "" if text in (".", "..") else text


def _extended_charset(given: Mapping[bytes, bytes], name: bytes) -> bytes:
    value = given.get(name + b"*") or given.get(name + b"*0*") or b""
    return value.split(b"'", 1)[0] if value.count(b"'") > 1 else b"utf-8"


def _codec(label: bytes) -> str:
    """Empty where nothing of use is said."""
    charset = find_charset(label)
    return "" if charset is None or charset.codec == "ascii" else charset.codec


def _references(pieces: Iterable[str]) -> Iterator[str]:
    """What HTML refers to by ``cid:`` (RFC 2392), each as often as it does."""
    text = ""
    for piece in pieces:
        text += piece
        start, last = 0, len(text) - _REFERENCE_LIMIT  # one that begins behind it may go on in the next piece
        for match in _REFERENCE.finditer(text):
            if match.start() > last:
                break
            yield match[1]
            start = match.end()
        text = text[max(start, last + 1) :]
    yield from _REFERENCE.findall(text)


def _text_pieces(pieces: Iterator[bytes], codec: str, errors: str, size: int) -> Iterator[str]:
    if codec in _BYTE_ORDER_MARKS:
        start = _start(pieces, 4)
        pieces = chain((start,), pieces)
        if not start.startswith(_BYTE_ORDER_MARKS[codec]):
            codec += "-le"  # without a mark Python's decoders take pieces only where the order is said
    decoder = codecs.getincrementaldecoder(codec)(errors)
    for piece in pieces:
        for begin in range(0, len(piece), size):
            yield _without_surrogates(decoder.decode(piece[begin : begin + size]))
            if len(decoder.getstate()[0]) > _RUN_LIMIT:
                yield _without_surrogates(decoder.decode(b"", True))
    yield _without_surrogates(decoder.decode(b"", True))


def _start(pieces: Iterator[bytes], length: int) -> bytes:
    """The first pieces that together have this length."""
    start = b""
    for piece in pieces:
        start += piece
        if len(start) >= length:
            break
    return start


def _without_surrogates(text: str) -> str:
    """Some charsets can spell lone ones, which are no text."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _decode_base64(slices: Iterable[bytes]) -> Iterator[bytes]:
    """Up to the padding; what is none of it does not count (RFC 2045 section 6.8), nor does a letter too many."""
    left = b""
    for piece in slices:
        letters, padding, _ = piece.partition(b"=")
        left += letters.translate(None, _NO_BASE64)
        if padding:
            break
        whole = len(left) // 4 * 4
        yield a2b_base64(left[:whole])
        left = left[whole:]
    if len(left) % 4 == 1:
        left = left[:-1]
    yield a2b_base64(left + b"=" * (-len(left) % 4))
