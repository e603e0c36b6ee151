"""What the server and a worker say to each other: values, and how they are written into a frame.

Neither side believes the other to be well: a worker has read a stranger's mail.  Whatever cannot be read is a
:class:`~smtpeter.features.frames.BadFrame`, and ends the worker.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from smtpeter.features.frames import BadFrame
from smtpeter.model.feature import PlacedSlot, Slot
from smtpeter.model.submission import Content

_DIGEST = 32  # octets
_FILE = re.compile("[0-9a-f]{32}")


class Task(NamedTuple):
    """A submission to be prepared.  ``content`` has no data: the worker reads it from the store.

    ``number`` counts the pool's tasks.  ``without`` are features that are left out, with the reason for each; an empty
    name stands for all, because what failed is not known.
    """

    number: int
    submission: str
    account: int | None
    reverse_path: str
    recipients: int
    options: Mapping[str, str]
    content: Content
    without: Mapping[str, str]

    def encode(self) -> bytes:
        """The payload of a frame."""
        fields = self._asdict()
        fields["content"] = [self.content.size, self.content.digest.hex(), self.content.file]
        return _dump(fields)

    @staticmethod
    def decode(payload: bytes) -> Task:
        """What :meth:`encode` gave.

        :raises BadFrame: where it is none of that.
        """
        try:
            fields = json.loads(payload)
            size, digest, file = fields.pop("content")
            return Task(content=Content(size, bytes.fromhex(digest), None, file), **fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadFrame(f"no task: {type(error).__name__}") from error


class AnswerKind(StrEnum):
    """What came of a task.

    PREPARED: what it is to be sent as, or that it goes as it came.  DEFER and FAIL: a feature failed whose policy that
    is.  STORAGE: the store cannot be used now.  DAMAGED: what it has cannot be used, and must not be sent.
    """

    PREPARED = "prepared"
    DEFER = "defer"
    FAIL = "fail"
    STORAGE = "storage"
    DAMAGED = "damaged"


class Answer(NamedTuple):
    """What a worker answers.

    ``content`` is None where the message goes as it came; ``data`` is for the ``prepared`` event.  ``reason`` tells why
    it is not PREPARED.  ``cpu`` are the seconds that it took, ``peak`` is the most memory (octets) that the worker ever
    had.  ``worn`` is why the worker ends after this answer, empty where it goes on.
    """

    number: int
    kind: AnswerKind
    content: Content | None = None
    slots: tuple[PlacedSlot, ...] = ()
    data: Mapping[str, Any] = {}
    reason: str = ""
    cpu: float = 0.0
    peak: int = 0
    worn: str = ""

    def encode(self, room: int | None = None) -> bytes:
        """The payload of a frame: one line of JSON, then small content as it is, unless it is in a ``room``
        (:mod:`smtpeter.features.progress`)."""
        fields: dict[str, Any] = self._asdict()
        octets = b""
        if self.content is not None:
            octets = self.content.data or b"" if room is None else b""
            fields["content"] = [self.content.size, self.content.digest.hex(), self.content.file, room]
        kinds: dict[Slot, int] = {}
        # Most slots of a message are alike: each kind is told once.
        fields["slots"] = [[kinds.setdefault(slot, len(kinds)), offset] for offset, slot in self.slots]
        fields["kinds"] = list(kinds)
        return _dump(fields) + b"\n" + octets

    @staticmethod
    def decode(payload: bytes, take: Callable[[int, int], bytes] | None = None) -> Answer:
        """What :meth:`encode` gave.  ``take`` gives what is in a room, by its number and size.

        :raises BadFrame: where it is none of that.
        """
        head, _, octets = payload.partition(b"\n")
        try:
            fields = json.loads(head)
            kinds = [Slot(str(feature), str(key), int(length)) for feature, key, length in fields.pop("kinds")]
            slots = tuple([PlacedSlot(int(offset), kinds[kind]) for kind, offset in fields.pop("slots")])
            if fields["content"] is not None:
                size, digest, file, room = fields["content"]
                if room is not None and take is not None:
                    octets = take(room, size)
                fields["content"] = _read_content(size, digest, file, octets)
            fields["kind"] = AnswerKind(fields["kind"])
            answer = Answer(slots=slots, **fields)
            told = (answer.reason, answer.worn, *answer.data.keys(), *answer.data.values())
            if not isinstance(answer.number, int) or not all(isinstance(each, str) for each in told):
                raise ValueError("a value of another type")
            return answer
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise BadFrame(f"no answer: {type(error).__name__}") from error


def _read_content(size: Any, digest: str, file: Any, octets: bytes) -> Content:
    """What was made.  The checksum of octets that came along is our own.

    :raises ValueError: where it cannot be that.
    """
    if file is None:
        if len(octets) != size:
            raise ValueError("no content")
        return Content(len(octets), hashlib.sha256(octets).digest(), octets, prepared=True)
    content = Content(size, bytes.fromhex(digest), None, file, prepared=True)
    if not isinstance(size, int) or size < 0 or len(content.digest) != _DIGEST:
        raise ValueError("no content")
    if not _FILE.fullmatch(file):  # its name becomes part of a path, and it is removed one day
        raise ValueError("no file of ours")
    return content


READY = b"ready"
"""The payload of a worker's first frame: it has what it needs, and waits for tasks."""


_encoder = json.JSONEncoder(separators=(",", ":"))


def _dump(value: Any) -> bytes:
    return _encoder.encode(value).encode("ascii")
