"""Transfer encodings (RFC 2045 section 6): exact quoted-printable, base64 in lines, and the field that names them."""

from __future__ import annotations

import re
from binascii import a2b_base64, a2b_qp, b2a_base64, b2a_qp
from collections.abc import Callable, Iterator, Sequence

from smtpeter.mime.structure import IDENTITIES

LINE_LIMIT = 998  # octets of a line without its CRLF
WIDTH = 76  # of encoded lines (RFC 2045 section 6.7, 6.8)
SLOT_LIMIT = 64  # octets of a slot: with what stands before it, it fits on an encoded line

_MIME_VERSION = re.compile(rb"^mime-version[ \t]*:", re.I | re.M)
_ENCODING_FIELD = re.compile(rb"^content-transfer-encoding[ \t]*:(?:[^\r\n]++|\r\n[ \t])*+(?:\r\n|\Z)", re.I | re.M)
# Lines that Python's encoder makes one octet too long: with white space at the end, or a character before an LF.
_BLANK_END = re.compile(rb"^([^\r\n]{74})(=20|=09)(?=\r\n)", re.M)
_BEFORE_LF = re.compile(rb"^([^\r\n]{75})([^\r\n]=)(?=\r\n)", re.M)
_DASHED_LINE = re.compile(rb"^--[^\r\n]*", re.M)
_HYPHENS_A_LINE = 24
_PIECE = 65_536  # octets
_PLAIN = bytes((*range(32, 127), 9))
_BLANKS = frozenset((b" ", b"\t"))
_EQUALS = ord("=")
_UNSURE = b"= \t\r"  # what these mean is known by what follows
_NEARBY = 1000  # octets
_FEW = 2  # delimiters: those of one multipart


def has_long_line(content: bytes, start: int = 0, end: int | None = None) -> bool:
    """Whether a line of ``content[start:end]`` has more octets than SMTP allows.

    It leaps: whatever ends within a thousand octets from the start of a line is fine.
    """
    end = len(content) if end is None else end
    while end - start > LINE_LIMIT:
        newline = content.rfind(b"\n", start, min(end, start + LINE_LIMIT + 2))
        if newline < 0:
            return True
        start = newline + 1
    return False


def has_bare_newline(octets: bytes) -> bool:
    """Whether there is a CR or LF that is not part of a CRLF."""
    newlines = octets.count(b"\r\n")
    return octets.count(b"\r") != newlines or octets.count(b"\n") != newlines


def has_delimiter(octets: bytes, delimiters: tuple[bytes, ...]) -> bool:
    """Whether a line begins like one of these, each with its two hyphens."""
    if octets.startswith(delimiters):
        return True
    # To look for a long text takes less time than to look for a short one.
    few = len(delimiters) <= _FEW
    return (few or b"\n--" in octets) and any(b"\n" + delimiter in octets for delimiter in delimiters)


def decode(raw: bytes, encoding: str) -> bytes:
    """A body without its transfer encoding.

    :raises ValueError: for an encoding that is not known, and for base64 that is not just base64.
    """
    if encoding in IDENTITIES:
        return raw
    if encoding == "quoted-printable":
        return decode_quoted(raw.rstrip(b" \t"))
    if encoding == "base64":
        return a2b_base64(raw.translate(None, b"\r\n\t "), strict_mode=True)
    raise ValueError("unknown transfer encoding")


def decode_quoted(raw: bytes) -> bytes:
    """Whole lines of quoted-printable, decoded.

    White space at the end of a line does not count, since it was added on the way; behind a soft line break it would
    make text of that (RFC 2045 section 6.7).  What is no quoted-printable means itself.
    """
    if b" \r\n" in raw or (b"\t" in raw and b"\t\r\n" in raw):
        raw = _without_blank_ends(raw)
    if b"==" in raw:
        # Python's decoder would swallow one.  The second time is for those that a pair has left beside the next pair.
        raw = raw.replace(b"==", b"=3D=").replace(b"==", b"=3D=")
    return a2b_qp(raw)


def quoted_pieces(octets: bytes, start: int, end: int, size: int = _PIECE) -> Iterator[bytes]:
    """Quoted-printable cut into pieces of at most ``size`` octets that :func:`decode_quoted` can decode one by one.

    They end where a line ends.  A longer line is cut behind two octets that belong to nothing behind them; where there
    are none nearby it is no quoted-printable, and may be cut anywhere.
    """
    while start < end:
        cut = min(end, start + size)
        if cut < end:
            cut = octets.rfind(b"\n", start, cut) + 1 or _cut_line(octets, start, cut)
        yield octets[start:cut]
        start = cut


def _cut_line(octets: bytes, start: int, end: int) -> int:
    """The last place in ``octets[start:end]`` where nothing is cut that belongs together."""
    for cut in range(end, max(start + 1, end - _NEARBY), -1):
        if octets[cut - 1] not in _UNSURE and octets[cut - 2] != _EQUALS:
            return cut
    return end


def _without_blank_ends(text: bytes) -> bytes:
    """A few lines at a time: as a list all of them would be many times as large."""
    kept, start = bytearray(), 0
    while start < len(text):
        end = text.find(b"\n", start + _PIECE) + 1 or len(text)
        *lines, rest = text[start:end].split(b"\r\n")
        kept += b"\r\n".join([*[line.rstrip(b" \t") for line in lines], rest])
        start = end
    return bytes(kept)


def encode_base64(octets: bytes) -> bytes:
    """Lines of :data:`WIDTH` octets, without a line end behind the last one."""
    return wrap(b2a_base64(octets, newline=False))


def wrap(text: bytes) -> bytes:
    """Base64 cut into lines."""
    return b"\r\n".join([text[begin : begin + WIDTH] for begin in range(0, len(text), WIDTH)])


def encode_quoted(pieces: Sequence[bytes], delimiters: tuple[bytes, ...]) -> tuple[list[bytes], list[int]]:
    """Quoted-printable that says exactly these pieces, with lines of at most :data:`WIDTH` octets.

    Each second piece is a slot: at most :data:`SLOT_LIMIT` octets that mean themselves in quoted-printable.  It stays
    in one run, behind an octet of the piece before it, so whatever is put there shifts nothing, and begins no line
    unless nothing stands before it.

    No line begins like one of ``delimiters``.  Answers encoded pieces and the offsets of the slots in all of them.
    """
    encoded: list[bytes] = []
    slots: list[int] = []
    length = 0
    plain = _encode_plain(pieces)
    if plain is not None and not has_delimiter(plain[0], delimiters):
        return [plain[0]], plain[1]
    whole = b"".join(pieces)
    blanks = b" \r\n" in whole or (b"\t" in whole and b"\t\r\n" in whole)
    is_tidy = not blanks and not has_bare_newline(whole)
    for number, piece in enumerate(pieces):
        if number % 2:
            slots.append(length)
            encoded.append(piece)
            length += len(piece)
            continue
        is_last = number + 1 == len(pieces)
        tail = 0 if is_last else 2 if piece.endswith(b"\r\n") else 1
        text = _encode_text(piece[: len(piece) - tail], is_tidy)
        if has_delimiter(text, delimiters):
            text = _DASHED_LINE.sub(lambda match: _escape_line(match[0], delimiters), text)
        if number and not text.startswith(b"\r\n") and (text or not is_last):
            text = b"=\r\n" + text
        if not is_last:
            if text and not text.endswith(b"\n"):
                text = _soft_break(text)
            text += b"".join([b"=%02X" % octet for octet in piece[len(piece) - tail :]])
        encoded.append(text)
        length += len(text)
    return encoded, slots


def _encode_plain(pieces: Sequence[bytes]) -> tuple[bytes, list[int]] | None:
    """The same for tidy ASCII, of which most HTML is, in a third of the time; None where something is special.

    Slots are NULs meanwhile, which are not in such text.
    """
    texts, slots = pieces[:-1:2], pieces[1::2]
    if b"" in texts or any(text.endswith(b"\n") for text in texts):
        return None
    marked = b"".join([bytes(len(piece)) if number % 2 else piece for number, piece in enumerate(pieces)])
    if not marked.isascii():
        return None
    unfolded = marked.replace(b"=", b"=3D").split(b"\r\n")
    # Without what is plain there are the slots left, and a CR and an LF behind each line, or else something special.
    left = len(marked.translate(None, _PLAIN)) - sum(map(len, slots))
    if left != 2 * (len(unfolded) - 1) or not _BLANKS.isdisjoint([line[-1:] for line in unfolded]):
        return None
    lines: list[bytes] = []
    for line in unfolded:
        begin, last = 0, len(line) - WIDTH
        while begin < last:
            end = begin + WIDTH - 1
            if line[end] == 0:  # a slot goes to the next line, with what stands before it
                end = begin + len(line[begin:end].rstrip(b"\0")) - 1
            if line[end - 1] == _EQUALS:  # no escape is cut
                end -= 1
            elif line[end - 2] == _EQUALS:
                end -= 2
            lines.append(line[begin:end] + b"=")
            begin = end
        lines.append(line[begin:] if begin else line)
    encoded = bytearray(b"\r\n".join(lines))
    offsets: list[int] = []
    position = 0
    for slot in slots:
        position = encoded.index(0, position)
        offsets.append(position)
        encoded[position : position + len(slot)] = slot
    return bytes(encoded), offsets


def _encode_text(text: bytes, is_tidy: bool) -> bytes:
    """``is_tidy``: known to have no bare CR or LF, and no white space before the end of a line."""
    if not is_tidy and has_bare_newline(text):
        encoded = b2a_qp(text, istext=False)  # every end of line is encoded; what is there are soft breaks
        return _BEFORE_LF.sub(rb"\1=\r\n\2", encoded.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    encoded = b2a_qp(text)
    if b"\n" not in text:
        return encoded.replace(b"\n", b"\r\n")
    return encoded if is_tidy else _BLANK_END.sub(rb"\1=\r\n\2", encoded)


def _soft_break(text: bytes) -> bytes:
    """Encoded text with a soft line break behind it.  A last line may be full; then its last character goes on to one
    of its own."""
    if len(text) - text.rfind(b"\n") - 1 < WIDTH:
        return text + b"=\r\n"
    last = 3 if text[-3:-2] == b"=" else 1
    return b"%b=\r\n%b=\r\n" % (text[:-last], text[-last:])


def _escape_line(line: bytes, delimiters: tuple[bytes, ...]) -> bytes:
    """An encoded line with all hyphens at its beginning escaped, where it is like a delimiter."""
    if not line.startswith(delimiters):
        return line
    rest = line.lstrip(b"-")
    hyphens = len(line) - len(rest)
    full, left = divmod(hyphens, _HYPHENS_A_LINE)
    lines = [b"=2D" * _HYPHENS_A_LINE] * full + [b"=2D" * left] * bool(left)
    if rest in (b"", b"="):
        lines[-1] += rest
    else:
        lines.append(rest)
    return b"=\r\n".join(lines)


def put_encoding(header: bytes, encoding: str, *, version: bool) -> bytes:
    """A header with this transfer encoding in place of its own, or at its end.  ``version`` asks for a MIME-Version
    field too, where it is missing."""
    field = f"Content-Transfer-Encoding: {encoding}\r\n".encode("ascii")
    if version and not _MIME_VERSION.search(header):
        field = b"MIME-Version: 1.0\r\n" + field
    if _ENCODING_FIELD.search(header):
        return _ENCODING_FIELD.sub(_once(field), header)
    return (header + b"\r\n" if header and not header.endswith(b"\n") else header) + field


def _once(field: bytes) -> Callable[[re.Match[bytes]], bytes]:
    """Puts the field in the place of the first match, and nothing in the places of others."""
    left = [field]
    return lambda match: left.pop() if left else b""
