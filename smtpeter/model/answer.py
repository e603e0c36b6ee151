"""What the DNS says of a name."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class RecordType(StrEnum):
    """The records that tell where mail goes, and where it seems to come from."""

    MX = "MX"
    A = "A"
    AAAA = "AAAA"
    PTR = "PTR"


class Question(NamedTuple):
    """``name`` is in lower case, A-labels, without a dot at its end."""

    name: str
    type: RecordType


class AnswerKind(StrEnum):
    """FOUND: there are such records.  NODATA: the name has others, or none.  NXDOMAIN: there is no such name.  TROUBLE:
    nobody knows now, whatever the reason."""

    FOUND = "found"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    TROUBLE = "trouble"


class Mx(NamedTuple):
    """One MX record; ``host`` is in lower case without a dot at its end, empty for the root (RFC 7505)."""

    preference: int
    host: str


class Answer(NamedTuple):
    """The answer to one question.

    ``name`` is where aliases (CNAME) led to.  ``hosts`` are for MX, the most preferred first, ``addresses`` for A and
    AAAA, and for PTR the names.  ``ttl`` is how many seconds it holds.  ``text`` tells the trouble, as a clause: ``the
    name server 192.0.2.53 answered SERVFAIL``.
    """

    kind: AnswerKind
    name: str
    ttl: float
    hosts: tuple[Mx, ...] = ()
    addresses: tuple[str, ...] = ()
    text: str = ""


def trouble(question: Question, text: str, ttl: float = 30.0) -> Answer:
    """The answer where there is none."""
    return Answer(AnswerKind.TROUBLE, question.name, ttl, text=text)
