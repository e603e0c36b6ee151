"""Jobs that wait for a connection, and how much of their content may be in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred

from smtpeter.interfaces import ICopies
from smtpeter.mime.convert import needs_conversion
from smtpeter.model.delivery import Job, LeasedRecipient, Outcome


class Form(NamedTuple):
    """What is ready to be sent to a receiver that takes 8-bit content, or does not.

    ``recipient`` is whose it is, None where it is the same for all; ``seven_bit``: it was converted to 7 bits.
    """

    eight_bit: bool
    recipient: LeasedRecipient | None
    reverse_path: str
    content: bytes
    seven_bit: bool


class Work:
    """A job under way.  ``left`` are the recipients that no transaction has dealt with; ``returned`` counts how often
    it came back from a connection that did nothing for it; ``fenced``: the store does not let it go on.  ``copies``
    makes each recipient his own copy, where he gets one; ``form`` is what was made last."""

    __slots__ = ("_fits", "content", "copies", "done", "fenced", "form", "held", "job", "left", "outcomes", "returned")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.done: Deferred[Mapping[int, Outcome]] = Deferred()
        self.left: Sequence[LeasedRecipient] = job.recipients
        self.outcomes: dict[int, Outcome] = {}
        self.content: bytes | None = None
        self.copies: ICopies | None = None
        self.form: Form | None = None
        self._fits: dict[bool, bool] = {}
        self.held = self.returned = 0
        self.fenced = False

    def has_form(self, eight_bit: bool) -> bool:
        """Whether what was made last is right for the next transaction with such a receiver."""
        form = self.form
        if form is None or form.eight_bit is not eight_bit:
            return False
        return form.recipient is None or form.recipient is self.left[0]

    def fits(self, content: bytes, eight_bit: bool) -> bool:
        """Whether such a receiver can take the content as it is.

        Found out once for all copies: the values of slots are ASCII and leave every line as long as it is.
        """
        if eight_bit not in self._fits:
            self._fits[eight_bit] = not needs_conversion(content, eight_bit=eight_bit)
        return self._fits[eight_bit]

    def set_form(self, form: Form) -> None:
        """This was made last."""
        self.form = form

    def take(self, limit: int) -> Sequence[LeasedRecipient]:
        """The recipients of the next transaction: one, where he has a form of his own, otherwise up to ``limit``."""
        count = limit if self.copies is None else 1
        part, self.left = self.left[:count], self.left[count:]
        return part

    def settle_rest(self, outcome: Outcome) -> None:
        """This outcome for all recipients that have none yet."""
        for recipient in self.left:
            self.outcomes[recipient.number] = outcome
        self.left = ()


class Memory:
    """How much content (octets) may be in memory, for everything that is on its way to any site.

    Whoever asks in vain is first in line when there is room again, and others wait behind him: so none waits for ever.
    Who has no use for room when he is called leaves the line, and asks again when he has: so none holds up others.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._line: dict[Callable[[], None], None] = {}
        self._refused: Callable[[], None] | None = None  # who asked in vain last
        self._offering = self._freed = False

    def take(self, size: int, wake: Callable[[], None]) -> bool:
        """Whether there is room; if not, ``wake`` is called when it is worth asking again."""
        first = next(iter(self._line), wake)
        if first is wake and (not self._held or self._held + size <= self._limit):
            self._line.pop(wake, None)
            self._held += size
            return True
        self._line[wake] = None
        self._refused = wake
        return False

    def give_back(self, size: int) -> None:
        """What was taken is free."""
        self._held -= size
        self._offer()

    def forget(self, wake: Callable[[], None]) -> None:
        """Whoever this is does not wait any more."""
        if wake in self._line:
            del self._line[wake]
            self._offer()

    def _offer(self) -> None:
        self._freed = True
        if self._offering:
            return  # what is given back meanwhile is dealt with by the loop below, not by recursion
        self._offering = True
        try:
            while self._freed:
                self._freed = False
                self._call_in_turn()
        finally:
            self._offering = False

    def _call_in_turn(self) -> None:
        """Call those that wait, until there is too little for the first of them."""
        while self._line:
            first = next(iter(self._line))
            self._refused = None
            first()
            if next(iter(self._line), None) is first:
                if self._refused is first:
                    return
                del self._line[first]


class Waiting:
    """What waits for a connection to one site, first come, first served.

    Content that has to be read from the store needs memory before it can start, and is in a line of its own.  Content
    that came with its job is there anyway, is small, and passes by.  ``wake`` is called when memory is free again; it
    has to be the same object each time.
    """

    def __init__(self, memory: Memory, wake: Callable[[], None]) -> None:
        self._memory = memory
        self._wake = wake
        self._small: deque[Work] = deque()
        self._large: deque[Work] = deque()
        self._large_first = False

    def __len__(self) -> int:
        return len(self._small) + len(self._large)

    def add(self, work: Work) -> None:
        """It waits behind all others of its kind."""
        (self._large if work.job.content.data is None else self._small).append(work)

    def put_back(self, work: Work) -> None:
        """It was taken and is to be taken again before all others; what it holds stays its own."""
        self._small.appendleft(work)

    def next(self) -> Work | None:
        """Take the next one that can start; None: none can now."""
        self._large_first = not self._large_first
        if self._large and (self._large_first or not self._small) and self._reserve(self._large[0]):
            return self._large.popleft()
        return self._small.popleft() if self._small else None

    def release(self, work: Work) -> None:
        """It is over, and what it holds is free."""
        work.content = work.copies = work.form = None
        if work.held:
            held, work.held = work.held, 0
            self._memory.give_back(held)

    def drain(self, limit: int | None = None) -> Iterator[Work]:
        """All that wait, or the first so many, each released."""
        while len(self) and limit != 0:
            limit = None if limit is None else limit - 1
            work = (self._small or self._large).popleft()
            self.release(work)
            yield work
        if not len(self):
            self._memory.forget(self._wake)

    def _reserve(self, work: Work) -> bool:
        size = work.job.content.size
        if not self._memory.take(size, self._wake):
            return False
        work.held = size
        return True
