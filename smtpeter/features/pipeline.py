"""A message through its features, one after the other; what one of them gets wrong stays its own affair.

It runs in a worker process.  Whatever a feature raises, its edits are undone and its policy is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from traceback import clear_frames, format_exception
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from zope.interface import implementer

from smtpeter.features.editable import EditableMessage
from smtpeter.features.exchange import Task
from smtpeter.interfaces import IEditableMessage, IPrepareContext, IPreparingFeature
from smtpeter.model.feature import FailurePolicy, PlacedSlot
from smtpeter.model.reply import clean_text

T = TypeVar("T")

REASON_LIMIT = 200
"""Characters of what is told of a failure, or in one note."""

_NOTES = 20  # of one feature
_KEY_LIMIT = 1000
_CALLS = 5  # of a traceback, the innermost ones
_STRICTNESS = (FailurePolicy.SEND, FailurePolicy.DEFER, FailurePolicy.FAIL)

Features = Sequence[tuple[str, IPreparingFeature]]


class Watch(Protocol):
    """Has something done, by a feature or (empty) by ourselves; it may be cut off by an exception, whatever it is."""

    def __call__(self, feature: str, work: Callable[[], T], /) -> T: ...


class Limits(NamedTuple):
    """What is looked at: ``leaf`` octets of a leaf, MIME structures of this ``depth`` and so many ``parts``; ``slots``
    is how many places of a message recipients may have values of their own in."""

    depth: int = 32
    parts: int = 1000
    leaf: int = 2_000_000
    slots: int = 10_000


class Result(NamedTuple):
    """What became of a message.

    ``octets`` is None where it goes as it came.  ``policy`` is None where it goes, otherwise what has to be done with
    it, for ``reason``.  ``data`` is for the ``prepared`` event; ``errors`` are for the log, a line for each.
    ``exhausted``: there was no memory left.
    """

    octets: bytes | None = None
    slots: tuple[PlacedSlot, ...] = ()
    data: Mapping[str, Any] = {}
    policy: FailurePolicy | None = None
    reason: str = ""
    errors: tuple[str, ...] = ()
    exhausted: bool = False


def describe(error: BaseException) -> str:
    """An exception, for events and the log."""
    try:
        text = clean_text(str(error), REASON_LIMIT)
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@implementer(IPrepareContext)
class Context:
    """What one feature knows of a message, and what it notes."""

    def __init__(self, task: Task) -> None:
        self.submission = task.submission
        self.account = task.account
        self.reverse_path = task.reverse_path
        self.recipients = task.recipients
        self.options = task.options
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """See :meth:`smtpeter.interfaces.IPrepareContext.note`."""
        if len(self.notes) < _NOTES:
            self.notes.append(clean_text(str(text), REASON_LIMIT))


def prepare(
    task: Task,
    content: bytes,
    features: Features,
    fillers: Collection[str],
    watch: Watch,
    limits: Limits = Limits(),  # noqa: B008 (it cannot change)
) -> Result:
    """Run these features, which want the message, except those that the task leaves out.

    ``fillers`` are the names of the features that can fill slots.
    """
    log = _Log()
    try:
        message = watch("", partial(EditableMessage, content, depth=limits.depth, parts=limits.parts,
                                    leaf_limit=limits.leaf))  # fmt: skip
    except BaseException as error:
        return give_up(features, f"the message could not be read: {log.add(error)}", log)
    if message.closed:
        data = {"features": "", "description": f"not touched: {message.closed}", "not_tracked": message.closed}
        return Result(data=data)
    untouched = message.snapshot()
    # What comes of all features together is looked at once.  Only where that is wrong, after each, to find out whose
    # fault it is.
    for careful in (False, True):
        run = _Run(task, message, features, fillers, watch, limits, log)
        try:
            result = run.through(content, careful=careful)
        except Unfit as error:
            reason = str(error)
        except BaseException as error:
            reason = f"the message could not be put together: {log.add(error)}"
        else:
            return result
        message.restore(untouched)
    return give_up(features, reason, log)


def give_up(features: Features, reason: str, log: _Log | None = None) -> Result:
    """It is nobody's fault, or nobody knows whose: the strictest policy of these features is applied."""
    told = (tuple(log.lines), log.exhausted) if log else ()
    policy = max((feature.on_failure for _, feature in features), key=_STRICTNESS.index, default=FailurePolicy.SEND)
    if policy is not FailurePolicy.SEND:
        return Result(None, (), {}, policy, reason, *told)
    names = ";".join(name for name, _ in features)
    data = {"features": "", "description": f"{reason}; sent as it came", "failed": names}
    return Result(None, (), data, None, "", *told)


class Unfit(Exception):
    """What features left behind cannot be used."""


class _Log:
    """What was raised."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.exhausted = False

    def add(self, error: BaseException) -> str:
        """Take it in; answers it in a few words."""
        self.exhausted |= isinstance(error, MemoryError)
        clear_frames(error.__traceback__)  # they may have all the memory
        lines = "".join(format_exception(error, limit=-_CALLS)).splitlines()
        self.lines.append(" | ".join(line.strip() for line in lines if line.strip(" ^~")))
        return describe(error)


class _Run:
    """One way through the features."""

    def __init__(
        self,
        task: Task,
        message: EditableMessage,
        features: Features,
        fillers: Collection[str],
        watch: Watch,
        limits: Limits,
        log: _Log,
    ) -> None:
        self._task = task
        self._message = message
        self._features = features
        self._fillers = fillers
        self._watch = watch
        self._limits = limits
        self._log = log
        self._done: list[str] = []
        self._failed: list[str] = []
        self._notes: list[str] = []

    def through(self, content: bytes, *, careful: bool) -> Result:
        """What becomes of the message.

        :raises Unfit: where what features did cannot be used.
        """
        for name, feature in self._features:
            reason = self._task.without.get(name) or self._apply(name, feature, careful)
            if not reason:
                self._done.append(name)
            elif feature.on_failure is FailurePolicy.SEND:
                self._failed.append(name)
                self._notes.append(f"{name} failed: {reason}; sent without it")
            else:
                return self._result(policy=feature.on_failure, reason=f"{name} failed: {reason}")
        octets, slots = self._watch("", self._render)
        changed = bool(slots) or octets != content
        return self._result(octets=octets if changed else None, slots=slots, data=self._data())

    def _apply(self, name: str, feature: IPreparingFeature, careful: bool) -> str:
        """Run one feature; answers why it failed."""
        before = self._message.snapshot()
        context = Context(self._task)

        def work() -> None:
            feature.prepare(cast(IEditableMessage, self._message), context)
            if careful:
                self._render()

        try:
            self._watch(name, work)
        except Unfit as error:
            self._message.restore(before)
            return str(error)
        except BaseException as error:  # SystemExit too: the process is ours
            reason = self._log.add(error)
            self._message.restore(before)
            return reason
        self._notes += [f"{name}: {note}" for note in context.notes]
        return ""

    def _render(self) -> tuple[bytes, tuple[PlacedSlot, ...]]:
        octets, slots = self._message.render()
        if len(slots) > self._limits.slots:
            raise Unfit(f"there are more than {self._limits.slots} slots in the message")
        for _, slot in slots:
            if slot.feature not in self._fillers:
                raise Unfit(f"there are slots that nobody fills: {clean_text(slot.feature, 50)!r}")
            if not 0 < slot.length <= _KEY_LIMIT or len(slot.key) > _KEY_LIMIT:
                raise Unfit("there is a slot that is too long or too short")
        return octets, slots

    def _result(self, **fields: Any) -> Result:
        return Result(**fields, errors=tuple(self._log.lines), exhausted=self._log.exhausted)

    def _data(self) -> dict[str, str]:
        notes = [*self._message.notes, *self._notes]
        data = {"features": ";".join(self._done), "description": "; ".join(notes)}
        if self._failed:
            data["failed"] = ";".join(self._failed)
        return data
