"""Parts of a message that is being made: their headers, and bodies in a transfer encoding that fits them."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from smtpeter.mime.transfer import encode_base64, encode_quoted, has_bare_newline, has_long_line, wrap

_PIECE = 57 * 1024  # octets that become base64 at a time: whole lines, and other threads can run in between
_SPECIAL = bytes(range(128, 256)) + b"="
_ENTROPY = re.compile(r"[A-Za-z0-9]{16,40}")


class File(NamedTuple):
    """Octets that become base64 when they are needed."""

    data: bytes


class NewPart(NamedTuple):
    """A part: its header without the empty line behind it, and its body."""

    header: str
    body: Sequence[bytes | File]
    eight_bit: bool = False


class Pieces:
    """Octets, of which large files are encoded only when they are gone through, each time anew."""

    def __init__(self, pieces: Sequence[bytes | File]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, File):
                yield from _base64(piece.data)
            else:
                yield piece


class Boundaries:
    """Boundaries that are in no content: ``=_`` is in no encoded one, and the rest of them nobody can know."""

    def __init__(self, entropy: str) -> None:
        if _ENTROPY.fullmatch(entropy) is None:
            raise ValueError("boundaries need 16 to 40 random letters and digits")
        self._entropy = entropy
        self._used = 0

    def next(self, parts: Sequence[NewPart]) -> str:
        """One that is not in these."""
        while True:
            self._used += 1
            boundary = f"=_{self._used:03}_{self._entropy}"
            octets = boundary.encode("ascii")
            if not any(isinstance(piece, bytes) and octets in piece for part in parts for piece in part.body):
                return boundary


def text_part(octets: bytes, subtype: str) -> NewPart:
    """Canonical UTF-8."""
    if octets.isascii() and not has_long_line(octets):
        encoding, body = "7bit", [octets]
    elif _is_mostly_plain(octets):
        encoding, body = "quoted-printable", encode_quoted([octets], ())[0]
    else:
        encoding, body = "base64", [encode_base64(octets)]
    return NewPart(f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n", body)


def base64_body(data: bytes) -> Sequence[bytes | File]:
    """The body of a part in base64."""
    return [File(data)] if len(data) > _PIECE else [encode_base64(data)]


def multipart(subtype: str, parts: Sequence[NewPart], boundaries: Boundaries) -> NewPart:
    """Parts in one; ``subtype`` may have parameters behind it."""
    boundary = boundaries.next(parts)
    eight_bit = any(part.eight_bit for part in parts)
    # A multipart's own encoding tells what is in it (RFC 2045 section 6.4); 7bit goes without saying.
    encoding = "Content-Transfer-Encoding: 8bit\r\n" if eight_bit else ""
    pieces: list[bytes | File] = []
    line_end = ""
    for part in parts:
        pieces.append(f"{line_end}--{boundary}\r\n{part.header}\r\n".encode("ascii"))
        pieces += part.body
        line_end = "\r\n"
    pieces.append(f"\r\n--{boundary}--\r\n".encode("ascii"))
    return NewPart(f'Content-Type: multipart/{subtype};\r\n boundary="{boundary}"\r\n{encoding}', pieces, eight_bit)


def utf8(text: str, what: str) -> bytes:
    """The text as octets.

    :raises ValueError: naming ``what``, for what mail cannot carry.
    """
    try:
        octets = text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{what}: there is half of a character in it (a lone surrogate)") from None
    return without_nul(octets, what)


def without_nul(octets: bytes, what: str) -> bytes:
    """The octets as they are.

    :raises ValueError: naming ``what``, where there is a NUL.
    """
    if b"\0" in octets:
        raise ValueError(f"{what}: there is a NUL in it, which mail cannot carry")
    return octets


def with_crlf(octets: bytes) -> bytes:
    """Every kind of line end as CRLF."""
    if not has_bare_newline(octets):
        return octets
    if b"\r" in octets:
        octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return octets.replace(b"\n", b"\r\n")


def _base64(data: bytes) -> Iterator[bytes]:
    line_end = b""
    for start in range(0, len(data), _PIECE):
        yield line_end + wrap(b2a_base64(data[start : start + _PIECE], newline=False))
        line_end = b"\r\n"


def _is_mostly_plain(octets: bytes) -> bool:
    """Quoted-printable makes three octets of one, base64 four of three."""
    return 6 * (len(octets) - len(octets.translate(None, _SPECIAL))) <= len(octets)
