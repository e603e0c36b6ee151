"""Jobs that wait for a connection, and how much of their content may be in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
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


class Waiting:
    """What waits for a connection, first come, first served.

    Content that has to be read from the store waits for memory before, in a line of its own: at most ``memory`` octets
    of it are there at any time, for all jobs that were taken and not yet released.  Content that came with its job is
    there anyway, is small, and passes by.  The length is how many could start now.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._held = 0
        self._ready: deque[Work] = deque()
        self._large: deque[Work] = deque()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, work: Work) -> None:
        """It waits behind all others of its kind."""
        if work.job.content.data is not None:
            self._ready.append(work)
        else:
            self._large.append(work)
            self._admit()

    def put_back(self, work: Work) -> None:
        """It was taken and is to be taken again before all others; what it holds stays its own."""
        self._ready.appendleft(work)

    def take(self) -> Work:
        """The next one; only where there is one."""
        return self._ready.popleft()

    def release(self, work: Work) -> None:
        """It is over, and what it holds is free."""
        work.content = work.copies = work.form = None
        if work.held:
            self._held -= work.held
            work.held = 0
            self._admit()

    def drain(self) -> Iterator[Work]:
        """All that wait, each released."""
        while self._ready or self._large:
            work = self._ready.popleft() if self._ready else self._large.popleft()
            self.release(work)
            yield work

    def _admit(self) -> None:
        # The first in line waits until there is room for it, and with it all the others: so none waits for ever.
        while self._large and (not self._held or self._held + self._large[0].job.content.size <= self._memory):
            work = self._large.popleft()
            work.held = work.job.content.size
            self._held += work.held
            self._ready.append(work)
