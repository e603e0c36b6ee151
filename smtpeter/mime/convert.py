"""A message put into a form that its next hop can take: 7-bit where 8BITMIME is missing, and never with a line that is
too long for SMTP (RFC 6152, RFC 5321 section 4.5.3.1.6, RFC 2045 section 6).

Only the leaves that need it are re-encoded; every other octet stays.  What is signed or encrypted is never touched, and
neither is a message that came with a DKIM signature.
"""

from __future__ import annotations

import re
import string
from binascii import b2a_base64, b2a_qp
from collections.abc import Iterator, Sequence

from smtpeter.mime.structure import IDENTITIES, SEALED, Part, delimiters_around, is_message, scan
from smtpeter.mime.transfer import LINE_LIMIT, WIDTH, decode_quoted, has_long_line, put_encoding, quoted_pieces, wrap

_Edit = tuple[int, int, list[bytes]]  # what is to be put in place of content[start:end]

_PIECE = 57 * 1024  # octets that are encoded at a time: other threads can run in between

_DKIM_SIGNATURE = re.compile(rb"^dkim-signature[ \t]*:", re.I | re.M)
_LONG_IN_QUOTED_PRINTABLE = bytes(set(range(256)) - set(range(32, 127)) - set(b"\t\r\n")) + b"="
_NO_BASE64 = bytes(set(range(256)) - set(string.ascii_letters.encode() + string.digits.encode() + b"+/="))
_DASHED = re.compile(rb"\n--([^\r\n]*)")
# A header line is cut before white space that has a word on either side: behind as many words as fit, or behind one.
_WORDS = re.compile(rb".*[^ \t](?=[ \t]++[^ \t])", re.S)
_FIRST_WORD = re.compile(rb"[ \t]*+[^ \t]++(?=[ \t]++[^ \t])")


def needs_conversion(content: bytes, *, eight_bit: bool) -> bool:
    """Whether a next hop that takes 8-bit content, or does not, cannot take this as it is.

    It is asked of every message, and takes a microsecond for a few thousand octets.
    """
    return not (eight_bit or content.isascii()) or has_long_line(content)


def convert(content: bytes, *, eight_bit: bool) -> bytes:
    """The message for a next hop that takes 8-bit content, or does not; ``content`` itself where nothing is to be done.

    ``content`` is canonical (CRLF).  Never fails: what cannot be converted stays as it is, so that the caller sees by
    the result whether it is ASCII.  Converting the result again changes nothing.

    Text becomes quoted-printable, or base64 where that is shorter; other content becomes base64.  Long lines of headers
    are folded where there is white space.  A preamble or epilogue that cannot go as it is is left out.
    """
    if not needs_conversion(content, eight_bit=eight_bit):
        return content
    parts = scan(content)
    if parts is None or _DKIM_SIGNATURE.search(content, 0, parts[0].header_end):
        return content
    pieces: list[bytes | memoryview] = []
    position, whole = 0, memoryview(content)  # a copy of what stays would keep other threads waiting
    for start, end, new in _edits(content, parts, eight_bit):
        pieces.append(whole[position:start])
        pieces += new
        position = end
    if not pieces:
        return content
    pieces.append(whole[position:])
    return b"".join(pieces)


def _edits(content: bytes, parts: Sequence[Part], eight_bit: bool) -> Iterator[_Edit]:
    """What is to change, in order."""

    def fits(start: int, end: int) -> bool:
        is_short = not has_long_line(content, start, end)
        return is_short and (eight_bit or all(map(bytes.isascii, _pieces(content, start, end))))

    epilogues: list[_Edit] = []  # of the parts around the present one
    sealed = 0
    for part in parts:
        while epilogues and epilogues[-1][0] <= part.begin:
            yield epilogues.pop()
        if part.begin < sealed:
            continue
        new_body: list[bytes] | None = None
        encoding = ""
        if part.type in SEALED:
            sealed = part.end
        elif part.inner:
            if not eight_bit and part.encoding in ("8bit", "binary"):
                encoding = "7bit"
        elif not fits(part.body, part.end):
            encoding, new_body = _encode_leaf(content, part, delimiters_around(parts, part))
        header = _new_header(content, part, parts, encoding)
        if header != content[part.begin : part.body]:
            yield part.begin, part.body, [header]
        if new_body is not None:
            yield part.body, part.end, new_body
        elif part.inner and part.boundary:
            if not fits(part.body, part.preamble_end):
                yield part.body, part.preamble_end, []
            if part.epilogue and not fits(part.epilogue, part.end):
                epilogues.append((part.epilogue, part.end, [_last_line_end(content, part)]))
    while epilogues:
        yield epilogues.pop()


# --- leaves -----------------------------------------------------------------------------------------------------------


def _encode_leaf(content: bytes, part: Part, delimiters: frozenset[bytes]) -> tuple[str, list[bytes] | None]:
    """The leaf's new encoding and body; None where it cannot be encoded."""
    composite = part.type.startswith(("multipart/", "message/")) and not part.type.startswith("message/global")
    if part.encoding == "base64":
        return "base64", [*_tidy_base64(content, part), _last_line_end(content, part)]
    if composite:
        return "", None  # RFC 2046 section 5.2.1: no encoding may be put on it
    if part.encoding == "quoted-printable":
        octets = b"".join(map(decode_quoted, quoted_pieces(content, part.body, part.end)))
        start, end = 0, len(octets)
    elif part.encoding in IDENTITIES:
        octets, start, end = content, part.body, part.end
    else:
        return "", None
    text = None
    if part.type.startswith("text/") and _is_shorter_as_text(octets, start, end):
        text = _quoted_printable(octets, start, end, delimiters)
    if text is not None:
        return "quoted-printable", text
    return "base64", [*_base64(octets, start, end), _last_line_end(content, part)]


def _tidy_base64(content: bytes, part: Part) -> Iterator[bytes]:
    """The same base64 in lines of the right length, without octets that do not belong there."""
    left, line_end = b"", b""
    for piece in _pieces(content, part.body, part.end):
        left += piece.translate(None, _NO_BASE64)
        whole = len(left) - len(left) % WIDTH
        if whole:
            yield line_end + wrap(left[:whole])
            left, line_end = left[whole:], b"\r\n"
    yield line_end + left if left else b""


def _last_line_end(content: bytes, part: Part) -> bytes:
    """Behind a body that is not the last thing in the message there is the CRLF of a delimiter."""
    return b"\r\n" if part.end == len(content) else b""


def _is_shorter_as_text(octets: bytes, start: int, end: int) -> bool:
    """Whether quoted-printable, with three octets for one, comes out shorter than base64, with four for three."""
    pieces = _pieces(octets, start, end)
    long = sum(len(piece) - len(piece.translate(None, _LONG_IN_QUOTED_PRINTABLE)) for piece in pieces)
    return long * 6 <= end - start


def _quoted_printable(octets: bytes, start: int, end: int, delimiters: frozenset[bytes]) -> list[bytes] | None:
    """None where it would not be exact, or where a line of it would be taken for a delimiter around it."""
    encoded: list[bytes] = []
    for piece in _line_pieces(octets, start, end):
        newlines = piece.count(b"\r\n")
        if piece.count(b"\r") != newlines or piece.count(b"\n") != newlines:
            return None
        if piece.endswith(b"\r\n"):
            lines = b2a_qp(piece)
        elif len(piece) < _PIECE:
            lines = b2a_qp(piece + b"\r\n")[:-2]
        else:
            return None
        if not delimiters.isdisjoint(_DASHED.findall(b"\n" + lines)):
            return None
        encoded.append(lines)
    return encoded


def _base64(octets: bytes, start: int, end: int) -> Iterator[bytes]:
    line_end = b""
    for piece in _pieces(octets, start, end):
        yield line_end + wrap(b2a_base64(piece, newline=False))
        line_end = b"\r\n"


def _pieces(octets: bytes, start: int, end: int) -> Iterator[bytes]:
    for begin in range(start, end, _PIECE):
        yield octets[begin : min(end, begin + _PIECE)]


def _line_pieces(octets: bytes, start: int, end: int) -> Iterator[bytes]:
    """Pieces that end where a line ends; only a line that is as long as a piece is cut."""
    while start < end:
        cut = min(end, start + _PIECE)
        if cut < end:
            cut = octets.rfind(b"\n", start, cut) + 1 or cut
        yield octets[start:cut]
        start = cut


# --- headers ----------------------------------------------------------------------------------------------------------


def _new_header(content: bytes, part: Part, parts: Sequence[Part], encoding: str) -> bytes:
    """``content[part.begin:part.body]`` with short lines and, where one is given, another transfer encoding."""
    header, separator = content[part.begin : part.header_end], content[part.header_end : part.body]
    if has_long_line(header):
        header = _fold(header)
    if not encoding or encoding == part.encoding:
        return header + separator
    return put_encoding(header, encoding, version=is_message(parts, part)) + (separator or b"\r\n")


def _fold(header: bytes) -> bytes:
    """Lines that are too long, folded at white space (RFC 5322 section 2.2.3); a word that is too long stays so."""
    lines = header.split(b"\r\n")
    return b"\r\n".join([_fold_line(line) if len(line) > LINE_LIMIT else line for line in lines])


def _fold_line(line: bytes) -> bytes:
    folded: list[bytes] = []
    position = 0
    while len(line) - position > LINE_LIMIT:
        match = _WORDS.match(line, position, position + LINE_LIMIT) or _FIRST_WORD.match(line, position)
        if match is None:
            break
        folded.append(line[position : match.end()])
        position = match.end()
    return b"\r\n".join((*folded, line[position:]))
