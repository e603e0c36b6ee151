"""Forms as HTTP clients send them: names and values, PHP's notation for lists and objects in the names, and files.

Small and strict: RFC 7578 as programs write it.  What two readers could understand in two ways is refused.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from smtpeter.web.rest.values import ApiError
from smtpeter.web.tokens import QUOTED, TOKEN

MOST_VALUES = 20_000
"""Of one form."""

LEVELS = 4
"""Of a name: ``attachments[0][name]`` has three."""

_HEADER_LIMIT = 8192  # octets of a part's header
_NAME = re.compile(r"([^\[\]]++)((?:\[[^\[\]]*+\])++)")
_KEY = re.compile(r"\[([^\[\]]*+)\]")
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NUMBER = re.compile(r"[0-9]{1,9}")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_FIELD = re.compile(rb"(%b):[ \t]*+([\t -~\x80-\xff]*+)" % TOKEN.encode("ascii"))
_DISPOSITION = re.compile(r"[ \t]*+form-data[ \t]*+((?:;.*+)?)", re.IGNORECASE)
_PARAMETER = re.compile(rf"[ \t]*+;[ \t]*+({TOKEN})=({QUOTED}|{TOKEN})")


class File(NamedTuple):
    """A file in a form; ``type`` is its media type as it was given, empty where none was."""

    name: str
    type: str
    octets: bytes


Value = str | File


def read_urlencoded(octets: bytes) -> dict[str, Any]:
    """``application/x-www-form-urlencoded``: what it says, by names.

    :raises ApiError: 400.
    """
    pairs = octets.strip(b"\r\n").split(b"&", MOST_VALUES + 1)
    return grow(_pairs(pairs))


def _pairs(pairs: Iterable[bytes]) -> Iterator[tuple[str, Value]]:
    for pair in pairs:
        if not pair:
            continue
        given, _, value = pair.partition(b"=")
        name = _unescaped(given, "")
        yield name, _unescaped(value, name)


def _unescaped(octets: bytes, name: str) -> str:
    octets = octets.replace(b"+", b" ")
    if b"%" in octets:
        if _NO_ESCAPE.search(octets):
            raise ApiError(400, f"{_shown(name)}: in a form a percent sign is written %25")
        # The escapes of quoted-printable are the same but for their sign.
        octets = a2b_qp(octets.replace(b"=", b"=3D").replace(b"%", b"="))
    return _text(octets, name)


def _text(octets: bytes, name: str) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise ApiError(400, f"{_shown(name)}: this is not UTF-8") from None


def _shown(name: str) -> str:
    return name[:60] if name and name.isprintable() else "a field of this form"


# --- names with brackets --------------------------------------------------------------------------------------------


class _Branch(dict[str, Any]):
    """Values by their keys; ``following`` is the number that an empty key stands for."""

    following = 0

    def key(self, key: str) -> str:
        """The key under which a value is kept."""
        if not key:
            key = str(self.following)
        if _NUMBER.fullmatch(key):
            key = str(int(key))
            self.following = max(self.following, int(key) + 1)
        return key


class _Repeated(list[Value]):
    """Values of one name."""


def grow(pairs: Iterable[tuple[str, Value]]) -> dict[str, Any]:
    """Lists and objects out of names such as ``recipients[]``, ``recipients[0]``, ``dsn[notify]``, and of names that
    are there several times.

    :raises ApiError: 400.
    """
    tree = _Branch()
    for count, (name, value) in enumerate(pairs):
        if count >= MOST_VALUES:
            raise ApiError(400, f"This form has more than {MOST_VALUES} values")
        match = _NAME.fullmatch(name)
        if match is None:
            _put(tree, name, value, name)
            continue
        keys = [match[1], *_KEY.findall(match[2])]
        if len(keys) > LEVELS:
            raise ApiError(400, f"{_shown(match[1])}: a name has at most {LEVELS} levels")
        branch: Any = tree
        for number, key in enumerate(keys[:-1]):
            branch = branch.setdefault(branch.key(key) if number else key, _Branch())
            if not isinstance(branch, _Branch):
                raise _two_ways(match[1])
        _put(branch, branch.key(keys[-1]), value, match[1])
    return {name: _finished(value) for name, value in tree.items()}


def _put(branch: _Branch, key: str, value: Value, name: str) -> None:
    there = branch.get(key)
    if there is None:
        branch[key] = value
    elif isinstance(there, _Repeated):
        there.append(value)
    elif isinstance(there, _Branch):
        raise _two_ways(name)
    else:
        branch[key] = _Repeated((there, value))


def _two_ways(name: str) -> ApiError:
    return ApiError(400, f"{_shown(name)}: given both as one value and as a list or an object")


def _finished(value: Any) -> Any:
    if isinstance(value, _Repeated):
        return list(value)
    if not isinstance(value, _Branch):
        return value
    if all(_NUMBER.fullmatch(key) for key in value):
        return [_finished(value[key]) for key in sorted(value, key=int)]
    return {key: _finished(inner) for key, inner in value.items()}


# --- multipart/form-data --------------------------------------------------------------------------------------------


def read_multipart(octets: bytes, boundary: str) -> dict[str, Any]:
    """``multipart/form-data``: what it says, by names.

    :raises ApiError: 400.
    """
    return grow(_read_part(part) for part in split_parts(octets, boundary))


def split_parts(octets: bytes, boundary: str) -> list[bytes]:
    """The parts, each with its header and without the line ends around it.

    :raises ApiError: 400.
    """
    if _BOUNDARY.fullmatch(boundary) is None:
        raise ApiError(400, "Content-Type: multipart/form-data needs a boundary of 1 to 70 characters")
    delimiter = b"\r\n--" + boundary.encode("ascii")
    begin, *parts = (b"\r\n" + octets).split(delimiter, MOST_VALUES + 2)
    if begin not in (b"", b"\r\n"):
        raise ApiError(400, "This form does not begin with the boundary of its Content-Type")
    if len(parts) > MOST_VALUES + 1:
        raise ApiError(400, f"This form has more than {MOST_VALUES} values")
    if not parts or not parts[-1].startswith(b"--") or parts[-1][2:].strip(b"\r\n"):
        raise ApiError(400, "This form does not end with its boundary and two hyphens: it is cut off")
    return parts[:-1]


def _read_part(part: bytes) -> tuple[str, Value]:
    # What stands behind the boundary on its line, then the header with an empty line behind it.
    end = part.find(b"\r\n\r\n")
    if part[:2] != b"\r\n" or not 0 <= end <= _HEADER_LIMIT:
        raise ApiError(400, "A part of this form has no header")
    disposition = kind = ""
    for line in part[2:end].split(b"\r\n") if end else ():
        match = _FIELD.fullmatch(line)
        if match is None:
            raise ApiError(400, "A part of this form has a header line that is no field")
        field, value = match[1].lower(), _text(match[2], "").strip()
        if field == b"content-disposition":
            if disposition:
                raise ApiError(400, "A part of this form has Content-Disposition twice")
            disposition = value
        elif field == b"content-type":
            kind = value
        elif field == b"content-transfer-encoding" and value.lower() not in ("7bit", "8bit", "binary"):
            raise ApiError(400, "A part of this form is encoded: its octets must stand there as they are")
    name, file = _names(disposition)
    body = part[end + 4 :]
    return name, _text(body, name) if file is None else File(file, kind, body)


def _names(disposition: str) -> tuple[str, str | None]:
    """The names of the field and of the file (None: it is no file)."""
    match = _DISPOSITION.fullmatch(disposition)
    names: dict[str, str] = {}
    rest = match[1] if match else ""
    position = 0
    while position < len(rest):
        parameter = _PARAMETER.match(rest, position)
        if parameter is None:
            break
        position = parameter.end()
        key = parameter[1].lower()
        if key in names:
            raise ApiError(400, "A part of this form has two names")
        names[key] = _unquoted(parameter[2])
    if match is None or rest[position:].strip(" \t;") or not names.get("name"):
        raise ApiError(400, 'A part of this form has no Content-Disposition: form-data; name="..."')
    return names["name"], names.get("filename")


def _unquoted(text: str) -> str:
    """As HTML has programs write names, percent signs, and as older ones do, a backslash before a quote."""
    if not text.startswith('"'):
        return text
    text = text[1:-1].replace('\\"', '"')
    return text.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n") if "%" in text else text
