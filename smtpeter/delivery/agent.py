"""Carries jobs to a relay, over connections that are kept and used again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.delivery.connection import ConnectionSettings, Mark, RelayConnection
from smtpeter.delivery.form import FormMaker, Impersonal, InThread
from smtpeter.delivery.waiting import Waiting, Work
from smtpeter.interfaces import IContentStore, IDeliveryAgent, IPersonalizer
from smtpeter.model.delivery import Job, LeasedRecipient, Outcome, OutcomeKind
from smtpeter.model.reply import clean_text
from smtpeter.smtp.transaction import Transaction

CONNECT_TIMEOUT = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
MEMORY = 100_000_000  # octets of content: two of the largest messages that we take by default
RECIPIENTS = 100  # of one transaction (RFC 5321 section 4.5.3.1.8); the others follow in the next

MarkInDoubt = Callable[[str, int, Sequence[int]], "Deferred[bool]"]
_STOPPING = Outcome(OutcomeKind.NOT_TRIED, 0, "4.3.2", "The server is stopping")
_UNSERVED = Outcome(OutcomeKind.DEFERRED, 0, "4.4.2", "Every connection was closed before the message could begin")


@implementer(IDeliveryAgent)
class RelayAgent:
    """Everything goes to one relay.

    ``connect`` makes an endpoint for each new connection.  ``connections`` is how many there may be,
    ``messages`` how many each carries, ``memory`` how much content (octets) is read from the store for all of them.
    ``stop_timeout`` is how long (seconds) stopping waits for answers to final dots, and half of it for all else that
    is under way.  ``in_thread`` calls what takes too long for the reactor's thread.  With ``mark`` the store is told
    before each final dot, and nothing is sent that it does not confirm.  ``personalizer`` tells which recipients have a
    copy of their own, and so a transaction of their own.

    When no connection can be opened, or one closes before it has dealt with any message, everything that waits gets the
    reason as its outcome, and so does what comes before the pause is over; until then ``capacity`` is 0, so that a dead
    relay costs nothing for each message.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        connect: Callable[[], IStreamClientEndpoint],
        settings: ConnectionSettings,
        content: IContentStore,
        in_thread: InThread,
        connections: int = 20,
        messages: int = 1000,
        memory: int = MEMORY,
        stop_timeout: float = 20.0,
        mark: MarkInDoubt | None = None,
        personalizer: IPersonalizer | None = None,
    ) -> None:
        self._connect = connect
        self._settings = settings
        self._timers: IReactorTime = settings.timers
        self._forms = FormMaker(content, personalizer or Impersonal(), in_thread)
        self._limit = connections
        self._messages = messages
        self._stop_timeout = stop_timeout
        self._mark = mark
        self._waiting = Waiting(memory)
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
        work = Work(job)
        self._waiting.add(work)
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
            for seconds, in_doubt in ((self._stop_timeout / 2, False), (self._stop_timeout, True)):
                timeout = self._timers.callLater(seconds, self._abort, in_doubt)
                self._stopped.addCallback(_cancel, timeout)
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
                self._carry(connection, self._waiting.take())
        if not self._waiting:
            return
        if self._stopped is not None:
            self._refuse_waiting(_STOPPING)
        elif not self._is_paused():
            self._open_more()
        elif not self._usable and not self._opening and not self._attempts:
            self._refuse_waiting(self._reason)

    def _refuse_waiting(self, outcome: Outcome) -> None:
        for work in self._waiting.drain():
            work.settle_rest(outcome)
            work.done.callback(work.outcomes)

    def _carry(self, connection: RelayConnection, work: Work) -> None:
        """Go on with a job on this connection, as far as there is something to go on with."""
        if not connection.usable:
            self._free(connection, work)
            return
        wait = self._forms.make(work, connection.offers("8BITMIME"))
        if wait is not None:
            wait.addCallback(lambda made: self._carry(connection, work))
            wait.addErrback(self._failed, connection, work)
        elif work.left:
            self._transact(connection, work)
        else:
            self._free(connection, work)

    def _failed(self, failure: Failure, connection: RelayConnection, work: Work) -> None:
        self._log.failure("a delivery failed: submission={submission}", failure, submission=work.job.submission)
        work.fenced = True  # not to be tried again on another connection
        connection.abort("Something went wrong here")
        if not work.done.called:
            work.left = [each for each in work.job.recipients if each.number not in work.outcomes]
            work.settle_rest(Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "Something went wrong here"))
            self._free(connection, work)

    def _transact(self, connection: RelayConnection, work: Work) -> None:
        job, form = work.job, work.form
        assert form is not None
        part = work.take(RECIPIENTS)
        mark = self._make_mark(work, part) if self._mark is not None else None

        def transacted(outcomes: Mapping[int, Outcome]) -> None:
            if form.seven_bit:
                outcomes = {number: each._replace(seven_bit=each.stage == "end") for number, each in outcomes.items()}
            self._transacted(connection, work, part, outcomes)

        connection.send(
            Transaction(
                form.reverse_path, part, form.content, job.body, job.smtputf8, job.ret, job.envid, mark is not None
            ),
            transacted,
            mark,
        )

    def _make_mark(self, work: Work, part: Sequence[LeasedRecipient]) -> Mark:
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
        work: Work,
        part: Sequence[LeasedRecipient],
        outcomes: Mapping[int, Outcome],
    ) -> None:
        work.outcomes.update(outcomes)
        again = [recipient for recipient in part if outcomes[recipient.number].kind is OutcomeKind.NOT_TRIED]
        if len(again) < len(part):
            work.returned = 0
            if connection.served:
                self._pause = 0.0
            elif not connection.usable:
                deferred = [outcome for outcome in outcomes.values() if outcome.kind is OutcomeKind.DEFERRED]
                if deferred:
                    self._note_trouble(deferred[0])
        if self._stopped is not None or work.fenced:
            work.settle_rest(_STOPPING)
        elif again:
            work.left = (*again, *work.left)
        if work.left and connection.usable and connection.transactions < self._messages:
            self._carry(connection, work)
        else:
            self._free(connection, work)

    def _free(self, connection: RelayConnection, work: Work) -> None:
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
            work.returned += 1
            if work.returned > self._limit:  # so it was no matter of connections that had been idle for too long
                work.settle_rest(_UNSERVED)
                self._note_trouble(_UNSERVED)
        over = not work.left  # afterwards it may have been ended among those that wait
        if over:
            self._waiting.release(work)
        else:
            self._waiting.put_back(work)
        self._feed()
        if over:
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
            enhanced = "4.4.3" if result.check(DNSLookupError) else "4.4.1"
            self._trouble(Outcome(OutcomeKind.DEFERRED, 0, enhanced, text, remote_mta=relay, stage="connect"))

    def _trouble(self, outcome: Outcome) -> None:
        self._note_trouble(outcome)
        self._feed()
        self._check_stopped()

    def _note_trouble(self, outcome: Outcome) -> None:
        """A connection was of no use.  Those that were tried together count as one."""
        if self._stopped is not None:
            return
        if not self._is_paused():
            self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
            self._paused_until = self._timers.seconds() + self._pause
            self._log.emit(
                # A relay that refuses us as we are configured needs somebody to look at it.
                LogLevel.error if outcome.kind is OutcomeKind.HOLD else LogLevel.warn,
                "relay trouble: relay={relay} stage={stage} code={code} text={text} pause={pause}",
                event="relay",
                relay=outcome.remote_mta or self._settings.profile.remote_mta,
                stage=outcome.stage,
                code=outcome.code,
                text=outcome.text,
                pause=self._pause,
            )
        self._reason = outcome

    def connection_made(self, connection: RelayConnection) -> None:
        """TCP is there; the session is being opened."""
        self._opening.add(connection)
        self._alive.add(connection)

    def connection_ready(self, connection: RelayConnection) -> None:
        """See :class:`smtpeter.delivery.connection.ConnectionOwner`."""
        self._opening.discard(connection)
        self._usable.add(connection)
        self._paused_until = None
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

    def _abort(self, in_doubt: bool) -> None:
        """Cut connections; those that await the answer to a final dot only if ``in_doubt``."""
        for connection in list(self._alive):
            if in_doubt or not connection.awaits_end:
                connection.abort("The server is stopping")

    def _check_stopped(self) -> None:
        stopped = self._stopped
        if stopped is not None and not stopped.called and not self._busy and not self._attempts and not self._alive:
            stopped.callback(None)


def _cancel(result: None, timer: IDelayedCall) -> None:
    if timer.active():
        timer.cancel()


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
