"""Messages that others wrote: what programs and people really send.

* What CPython tests its email package with, where this Python brings its tests.
* ``*.eml`` beside this file: in the manner of well-known programs, made by hand, with made-up names.
* Whatever messages are in the directory ``SMTPETER_CORPUS``: in files, and in ``.tar.gz`` archives such as the source
  distributions of flufl.bounce, talon, mail-parser, mailman and django-mailbox, which carry some hundreds.

All of them are canonical here: lines end in CRLF.
"""

from __future__ import annotations

import importlib.util
import os
import re
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
_KNOWN_FIELDS = re.compile(
    rb"^(from|to|subject|date|message-id|received|mime-version|return-path|delivered-to):", re.IGNORECASE | re.MULTILINE
)
_HEADER = re.compile(rb"(?:>?From .*\n)?(?:[!-9;-~]+:.*\n(?:[ \t].*\n)*)+\n")
_NO_MESSAGES = (".py", ".po", ".html", ".cfg", ".toml", ".ini", ".json", ".c", ".h")
_NEWLINE = re.compile(rb"\r\n|\r|\n")


def canonical(octets: bytes) -> bytes:
    """With CRLF at the end of each line."""
    return _NEWLINE.sub(b"\r\n", octets)


def is_message(octets: bytes) -> bool:
    """Whether they begin with a header that has at least two of the fields that messages have."""
    header = _HEADER.match(_NEWLINE.sub(b"\n", octets[:100_000]))
    return header is not None and len({match[1].lower() for match in _KNOWN_FIELDS.finditer(header[0])}) >= 2


@cache
def messages() -> dict[str, bytes]:
    """All that are found, each once, by a name that tells where it came from."""
    found: dict[bytes, str] = {}
    for name, octets in _files():
        if is_message(octets):
            found.setdefault(canonical(octets), name)
    return {name: content for content, name in found.items()}


def _files() -> Iterator[tuple[str, bytes]]:
    for path in sorted(HERE.glob("*.eml")):
        yield path.name, path.read_bytes()
    for directory in _python_data():
        for path in sorted(directory.glob("msg_*.txt")):
            yield f"CPython {path.name}", path.read_bytes()
    given = os.environ.get("SMTPETER_CORPUS")
    if given:
        yield from _below(Path(given))


def _python_data() -> list[Path]:
    spec = importlib.util.find_spec("test")
    places = (spec.submodule_search_locations or []) if spec else []
    return [Path(place, "test_email", "data") for place in places]


def _below(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isfile() else None
                    if file is not None and not member.name.endswith(_NO_MESSAGES):
                        yield f"{name} {member.name}", file.read()
        elif path.is_file() and not name.endswith(_NO_MESSAGES):
            yield name, path.read_bytes()
