"""What the server and the processes that read large requests say to each other: one line of JSON at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.web.rest.outgoing import Rules
from smtpeter.web.rest.values import ApiError

COMPOSED = ".composed"
"""What is added to the name of a request's file for that of the message."""

_MEMORY = 128 * 1024 * 1024
_COPIES = 6


class Setup(NamedTuple):
    """What a process is told before anything else.

    ``parent`` is the server's process id, ``size`` how many octets a message may have.
    """

    parent: int
    rules: Rules
    size: int

    @property
    def memory(self) -> int:
        """Octets that a process may have over what it begins with: of a large message there are a few copies."""
        return _MEMORY + _COPIES * self.size

    def encode(self) -> bytes:
        """As a line."""
        return _line({"parent": self.parent, "rules": self.rules._asdict(), "size": self.size})

    @classmethod
    def decode(cls, line: bytes) -> Setup:
        """Out of a line."""
        told = json.loads(line)
        return cls(told["parent"], Rules(**told["rules"]), told["size"])


def encode_outgoing(envelope: Envelope, options: Mapping[str, str], digest: bytes) -> bytes:
    """What a process says of a message that it wrote to its file, as a line."""
    return _line({"envelope": envelope, "options": options, "digest": digest.hex()})


def encode_error(error: ApiError) -> bytes:
    """What it says of a request that asks for none, as a line."""
    return _line({"status": error.status, "error": error.text})


def encode_task(file: Path, content_type: bytes) -> bytes:
    """What it is told to do, as a line."""
    return _line({"file": str(file), "type": content_type.decode("latin-1")})


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def decode_answer(line: bytes) -> dict[str, Any] | None:
    """What an answer says; None where it is none."""
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) and told.keys() & {"error", "envelope"} else None


def decode_outgoing(told: Mapping[str, Any]) -> tuple[Envelope, Mapping[str, str], bytes]:
    """What :func:`encode_outgoing` was given."""
    reverse_path, recipients, *parameters = told["envelope"]
    envelope = Envelope(reverse_path, tuple(Recipient(*each) for each in recipients), *parameters)
    return envelope, told["options"], bytes.fromhex(told["digest"])
