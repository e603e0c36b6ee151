"""Carries jobs to a relay, over connections that are kept and used again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.delivery.connection import ConnectionSettings, Mark, RelayConnection
from smtpeter.errors import ContentCorrupt, StorageUnavailable
from smtpeter.interfaces import IContentStore, IDeliveryAgent
from smtpeter.model.delivery import Job, LeasedRecipient, Outcome, OutcomeKind
from smtpeter.model.reply import clean_text
from smtpeter.smtp.transaction import Transaction

CONNECT_TIMEOUT = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
RECIPIENTS = 100  # of one transaction (RFC 5321 section 4.5.3.1.8); the others follow in the next

MarkInDoubt = Callable[[str, int, Sequence[int]], "Deferred[bool]"]
_STOPPING = Outcome(OutcomeKind.NOT_TRIED, 0, "4.3.2", "The server is stopping")


class _Work:
    """A job under way.  ``left`` are the recipients that no transaction has dealt with; ``fenced``: the store does not
    let it go on."""

    __slots__ = ("content", "done", "fenced", "job", "left", "outcomes")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.done: Deferred[Mapping[int, Outcome]] = Deferred()
        self.left: Sequence[LeasedRecipient] = job.recipients
        self.outcomes: dict[int, Outcome] = {}
        self.content: bytes | None = None
        self.fenced = False

    def settle_rest(self, outcome: Outcome) -> None:
        """This outcome for all recipients that have none yet."""
        for recipient in self.left:
            self.outcomes[recipient.number] = outcome
        self.left = ()


@implementer(IDeliveryAgent)
class RelayAgent:
    """Everything goes to one relay.

    ``connect`` makes an endpoint for each new connection.  ``connections`` is how many there may be,
    ``messages`` how many each carries, ``stop_timeout`` how long (seconds) stopping waits for what is under way.
    With ``mark`` the store is told before each final dot, and nothing is sent that it does not confirm.

    When no connection can be opened, everything that waits gets the reason as its outcome, and so does what comes
    before the pause is over; until then ``capacity`` is 0, so that a dead relay costs nothing for each message.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        connect: Callable[[], IStreamClientEndpoint],
        settings: ConnectionSettings,
        content: IContentStore,
        connections: int = 20,
        messages: int = 1000,
        stop_timeout: float = 20.0,
        mark: MarkInDoubt | None = None,
    ) -> None:
        self._connect = connect
        self._settings = settings
        self._timers: IReactorTime = settings.timers
        self._content = content
        self._limit = connections
        self._messages = messages
        self._stop_timeout = stop_timeout
        self._mark = mark
        self._waiting: deque[_Work] = deque()
        self._idle: list[RelayConnection] = []
        self._usable: set[RelayConnection] = set()  # open, busy or not
        self._opening: set[RelayConnection] = set()
        self._attempts: set[Deferred[object]] = set()  # connections being made
        self._alive: set[RelayConnection] = set()  # made and not yet closed
        self._busy = 0
        self._feeding = self._hungry = False
        self._pause = 0.0
        self._paused_until: float | None = None
        self._reason = _STOPPING
        self._stopped: Deferred[None] | None = None

    # --- IDeliveryAgent ---

    def deliver(self, job: Job) -> Deferred[Mapping[int, Outcome]]:
        """See :meth:`smtpeter.interfaces.IDeliveryAgent.deliver`."""
        work = _Work(job)
        self._waiting.append(work)
        self._feed()
        return work.done

    def capacity(self) -> int:
        """See :meth:`smtpeter.interfaces.IDeliveryAgent.capacity`."""
        if self._stopped is not None:
            return 0
        limit = len(self._usable) if self._is_paused() else self._limit
        return max(0, limit - self._busy - len(self._waiting))

    def stop(self) -> Deferred[None]:
        """See :meth:`smtpeter.interfaces.IDeliveryAgent.stop`."""
        if self._stopped is None:
            self._stopped = Deferred()
            timeout = self._timers.callLater(self._stop_timeout, self._abort)
            self._stopped.addCallback(lambda result: timeout.cancel() if timeout.active() else None)
            self._refuse_waiting(_STOPPING)
            for attempt in list(self._attempts):
                attempt.cancel()
            for connection in list(self._idle):
                connection.quit()
            for connection in list(self._opening):
                connection.abort("stopping")
            self._check_stopped()
        return self._stopped

    # --- work for connections ---

    def _feed(self) -> None:
        """Give idle connections work, or open more, or say why not."""
        self._hungry = True
        if self._feeding:
            return  # what happens while we feed is dealt with by the loop below, not by recursion
        self._feeding = True
        try:
            while self._hungry:
                self._hungry = False
                self._feed_once()
        finally:
            self._feeding = False

    def _feed_once(self) -> None:
        while self._waiting and self._idle:
            connection = self._idle.pop()
            if connection.usable:
                self._busy += 1
                self._carry(connection, self._waiting.popleft())
        if not self._waiting:
            return
        if self._stopped is not None:
            self._refuse_waiting(_STOPPING)
        elif not self._is_paused():
            self._open_more()
        elif not self._usable and not self._opening and not self._attempts:
            self._refuse_waiting(self._reason)

    def _refuse_waiting(self, outcome: Outcome) -> None:
        while self._waiting:
            work = self._waiting.popleft()
            work.settle_rest(outcome)
            work.done.callback(work.outcomes)

    def _carry(self, connection: RelayConnection, work: _Work) -> None:
        if work.content is not None:
            self._transact(connection, work)
            return
        reading = self._content.read(work.job.submission, work.job.content)
        reading.addCallbacks(
            self._content_read, self._content_missing, callbackArgs=(connection, work), errbackArgs=(connection, work)
        )
        reading.addErrback(self._failed, connection, work)

    def _content_read(self, content: bytes, connection: RelayConnection, work: _Work) -> None:
        work.content = content
        self._transact(connection, work)

    def _content_missing(self, failure: Failure, connection: RelayConnection, work: _Work) -> None:
        error = failure.value
        if isinstance(error, StorageUnavailable):
            outcome = Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "The message cannot be read from the store now")
        elif isinstance(error, ContentCorrupt | KeyError):
            outcome = Outcome(OutcomeKind.HOLD, 0, "4.3.0", "The stored message is damaged or gone; it is not sent")
            self._log.error("content: submission={submission} reason={reason}", event="content",
                            submission=work.job.submission, reason=str(error))  # fmt: skip
        else:
            failure.raiseException()
        work.settle_rest(outcome)
        self._free(connection, work)

    def _failed(self, failure: Failure, connection: RelayConnection, work: _Work) -> None:
        self._log.failure("a delivery failed: submission={submission}", failure, submission=work.job.submission)
        work.fenced = True  # not to be tried again on another connection
        connection.abort("Something went wrong here")
        if not work.done.called:
            work.left = [each for each in work.job.recipients if each.number not in work.outcomes]
            work.settle_rest(Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "Something went wrong here"))
            self._free(connection, work)

    def _transact(self, connection: RelayConnection, work: _Work) -> None:
        if not connection.usable:
            self._free(connection, work)
            return
        job = work.job
        content = work.content
        assert content is not None
        part, work.left = work.left[:RECIPIENTS], work.left[RECIPIENTS:]
        mark = self._make_mark(work, part) if self._mark is not None else None

        def transacted(outcomes: Mapping[int, Outcome]) -> None:
            self._transacted(connection, work, part, outcomes)

        connection.send(
            Transaction(job.reverse_path, part, content, job.body, job.smtputf8, job.ret, job.envid, mark is not None),
            transacted,
            mark,
        )

    def _make_mark(self, work: _Work, part: Sequence[LeasedRecipient]) -> Mark:
        ask, job = self._mark, work.job
        assert ask is not None

        def answered(ours: bool) -> bool:
            work.fenced = not ours
            return ours

        def failed(failure: Failure) -> bool:
            self._log.warn("mark: submission={submission} reason={reason}", event="mark",
                           submission=job.submission, reason=failure.getErrorMessage())  # fmt: skip
            return False

        def mark() -> Deferred[bool]:
            numbers = [recipient.number for recipient in part]
            return ask(job.submission, job.lease, numbers).addErrback(failed).addCallback(answered)

        return mark

    def _transacted(
        self,
        connection: RelayConnection,
        work: _Work,
        part: Sequence[LeasedRecipient],
        outcomes: Mapping[int, Outcome],
    ) -> None:
        work.outcomes.update(outcomes)
        again = [recipient for recipient in part if outcomes[recipient.number].kind is OutcomeKind.NOT_TRIED]
        if self._stopped is not None or work.fenced:
            work.settle_rest(_STOPPING)
        elif again:
            work.left = (*again, *work.left)
        if work.left and connection.usable and connection.transactions < self._messages:
            self._transact(connection, work)
        else:
            self._free(connection, work)

    def _free(self, connection: RelayConnection, work: _Work) -> None:
        """A connection has done what it could for a job."""
        if work.done.called:
            return
        self._busy -= 1
        if connection.usable:
            if connection.transactions >= self._messages or self._stopped is not None:
                connection.quit()
            else:
                self._idle.append(connection)
        if work.left:
            self._waiting.appendleft(work)
        else:
            work.content = None
        self._feed()
        if not work.left:
            work.done.callback(work.outcomes)
        self._check_stopped()

    # --- connections ---

    def _is_paused(self) -> bool:
        return self._paused_until is not None and self._timers.seconds() < self._paused_until

    def _open_more(self) -> None:
        being_made = len(self._opening) + len(self._attempts)
        # After trouble one connection goes ahead to find out whether it is over.
        limit = 1 if self._pause and not self._usable else self._limit
        wanted = min(len(self._waiting) - being_made, limit - len(self._usable) - being_made)
        for _ in range(wanted):
            self._open()

    def _open(self) -> None:
        attempt: Deferred[object] = self._connect().connect(_Connections(self._settings, self))  # type: ignore[assignment]
        self._attempts.add(attempt)
        attempt.addTimeout(CONNECT_TIMEOUT, self._timers)
        attempt.addBoth(self._connected, attempt)

    def _connected(self, result: object, attempt: Deferred[object]) -> None:
        self._attempts.discard(attempt)
        if isinstance(result, Failure):
            relay = self._settings.profile.remote_mta
            why = "it took too long" if result.check(TimeoutError) else result.getErrorMessage()
            text = clean_text(f"No connection to {relay}: {why}")
            self._trouble(Outcome(OutcomeKind.DEFERRED, 0, "4.4.1", text, remote_mta=relay, stage="connect"))

    def _trouble(self, outcome: Outcome) -> None:
        """A connection could not be opened.  Those that were tried together count as one."""
        if self._stopped is None:
            if not self._is_paused():
                self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
                self._paused_until = self._timers.seconds() + self._pause
                self._log.warn(
                    "relay trouble: relay={relay} stage={stage} code={code} text={text} pause={pause}",
                    event="relay",
                    relay=outcome.remote_mta,
                    stage=outcome.stage,
                    code=outcome.code,
                    text=outcome.text,
                    pause=self._pause,
                )
            self._reason = outcome
        self._feed()
        self._check_stopped()

    def connection_made(self, connection: RelayConnection) -> None:
        """TCP is there; the session is being opened."""
        self._opening.add(connection)
        self._alive.add(connection)

    def connection_ready(self, connection: RelayConnection) -> None:
        """See :class:`smtpeter.delivery.connection.ConnectionOwner`."""
        self._opening.discard(connection)
        self._usable.add(connection)
        self._pause, self._paused_until = 0.0, None
        self._idle.append(connection)
        if self._stopped is not None:
            connection.quit()
        self._feed()

    def connection_unusable(self, connection: RelayConnection, outcome: Outcome) -> None:
        """See :class:`smtpeter.delivery.connection.ConnectionOwner`."""
        self._opening.discard(connection)
        self._trouble(outcome)

    def connection_gone(self, connection: RelayConnection) -> None:
        """See :class:`smtpeter.delivery.connection.ConnectionOwner`."""
        self._opening.discard(connection)
        self._usable.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._feed()

    def connection_closed(self, connection: RelayConnection) -> None:
        """See :class:`smtpeter.delivery.connection.ConnectionOwner`."""
        self._alive.discard(connection)
        self._check_stopped()

    # --- stopping ---

    def _abort(self) -> None:
        for connection in list(self._alive):
            connection.abort("The server is stopping")

    def _check_stopped(self) -> None:
        stopped = self._stopped
        if stopped is not None and not stopped.called and not self._busy and not self._attempts and not self._alive:
            stopped.callback(None)


class _Connections(Factory):
    """Makes the connection that an endpoint asks for."""

    noisy = False

    def __init__(self, settings: ConnectionSettings, agent: RelayAgent) -> None:
        self._settings = settings
        self._agent = agent

    def buildProtocol(self, address: IAddress | None) -> RelayConnection:
        connection = RelayConnection(self._settings, self._agent)
        self._agent.connection_made(connection)
        return connection
