"""A message through its features, one after the other; what one of them gets wrong stays its own affair.

It runs in a worker process.  Whatever a feature raises, its edits are undone and its policy is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from zope.interface import implementer

from smtpeter.features.exchange import Task
from smtpeter.interfaces import IPrepareContext, IPreparingFeature
from smtpeter.mime.editing import EditableMessage
from smtpeter.model.feature import FailurePolicy, PlacedSlot
from smtpeter.model.reply import clean_text

T = TypeVar("T")

REASON_LIMIT = 200
"""Characters of what is told of a failure, or in one note."""

_NOTES = 20  # of one feature
_KEY_LIMIT = 1000
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
    it, for ``reason``.  ``data`` is for the ``prepared`` event; ``errors`` is what features raised.
    """

    octets: bytes | None = None
    slots: tuple[PlacedSlot, ...] = ()
    data: Mapping[str, Any] = {}
    policy: FailurePolicy | None = None
    reason: str = ""
    errors: tuple[BaseException, ...] = ()


def describe(error: BaseException) -> str:
    """An exception, for events and the log."""
    text = clean_text(str(error), REASON_LIMIT)
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
    without = dict(task.without)
    while True:
        run = _Run(task, content, features, without, watch, limits)
        try:
            watch("", run.open)
            result = run.result or run.through(fillers)
        except BaseException as error:
            return give_up(features, f"the message could not be worked on: {describe(error)}", (*run.errors, error))
        if result is not None:
            return result
        without[run.culprit[0]] = run.culprit[1]


def give_up(features: Features, reason: str, errors: tuple[BaseException, ...] = ()) -> Result:
    """It is nobody's fault, or nobody knows whose: the strictest policy of these features is applied."""
    policy = max((feature.on_failure for _, feature in features), key=_STRICTNESS.index, default=FailurePolicy.SEND)
    if policy is FailurePolicy.SEND:
        names = ";".join(name for name, _ in features)
        return Result(
            data={"features": "", "description": f"{reason}; sent as it came", "failed": names}, errors=errors
        )
    return Result(policy=policy, reason=reason, errors=errors)


class _Run:
    """One way through the features."""

    def __init__(
        self,
        task: Task,
        content: bytes,
        features: Features,
        without: Mapping[str, str],
        watch: Watch,
        limits: Limits,
    ) -> None:
        self._task = task
        self._content = content
        self._features = features
        self._without = without
        self._watch = watch
        self._limits = limits
        self._done: list[str] = []
        self._failed: list[str] = []
        self._notes: list[str] = []
        self.errors: list[BaseException] = []
        self.result: Result | None = None
        self.culprit = ("", "")

    def open(self) -> None:
        """Look at the message; there is a result at once where nothing of it may be touched."""
        limits = self._limits
        self._message = EditableMessage(self._content, depth=limits.depth, parts=limits.parts, leaf_limit=limits.leaf)
        closed = self._message.closed
        if closed:
            data = {"features": "", "description": f"not touched: {closed}", "not_tracked": closed}
            self.result = Result(data=data)

    def through(self, fillers: Collection[str]) -> Result | None:
        """The result; None where a feature has to be left out for what it left behind: the ``culprit``."""
        for name, feature in self._features:
            reason = self._without.get(name) or self._apply(name, feature)
            if reason:
                if feature.on_failure is not FailurePolicy.SEND:
                    return self._end(feature.on_failure, f"{name} failed: {reason}")
                self._failed.append(name)
                self._notes.append(f"{name} failed: {reason}; sent without it")
            else:
                self._done.append(name)
        octets, slots = self._watch("", self._message.render)
        reason, maker = self._wrong_with(slots, fillers)
        if reason:
            if maker in self._done:
                self.culprit = (maker, reason)
                return None
            return give_up(self._features, reason, tuple(self.errors))
        changed = bool(slots) or octets != self._content
        return Result(octets if changed else None, slots, self._data(), errors=tuple(self.errors))

    def _apply(self, name: str, feature: IPreparingFeature) -> str:
        """Run one feature; answers why it failed."""
        before = self._message.snapshot()
        context = Context(self._task)
        try:
            self._watch(name, partial(feature.prepare, self._message, context))
        except BaseException as error:  # SystemExit too: the process is ours
            self._message.restore(before)
            self.errors.append(error)
            return describe(error)
        self._notes += [f"{name}: {note}" for note in context.notes]
        return ""

    def _wrong_with(self, slots: Sequence[PlacedSlot], fillers: Collection[str]) -> tuple[str, str]:
        """Why these slots cannot be filled, and who made the most of them; empty where they can."""
        for _, slot in slots:
            if slot.feature not in fillers:
                return f"it made slots that nobody fills: {clean_text(slot.feature, 50)!r}", slot.feature
            if not 0 < slot.length <= _KEY_LIMIT or len(slot.key) > _KEY_LIMIT:
                return "it made a slot that is too long or too short", slot.feature
        if len(slots) > self._limits.slots:
            makers = [slot.feature for _, slot in slots]
            return f"more than {self._limits.slots} slots in the message", max(set(makers), key=makers.count)
        return "", ""

    def _end(self, policy: FailurePolicy, reason: str) -> Result:
        return Result(policy=policy, reason=reason, errors=tuple(self.errors))

    def _data(self) -> dict[str, str]:
        notes = [*self._message.notes, *self._notes]
        data = {"features": ";".join(self._done), "description": "; ".join(notes)}
        if self._failed:
            data["failed"] = ";".join(self._failed)
        return data
