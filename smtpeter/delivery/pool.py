"""The connections to one site, and the jobs that wait for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpeter.delivery.connection import Connection, Mark
from smtpeter.delivery.form import FormMaker
from smtpeter.delivery.limits import SiteLimits, Source
from smtpeter.delivery.opening import Opener, Opening
from smtpeter.delivery.places import Places
from smtpeter.delivery.standing import Judge, React, Standing
from smtpeter.delivery.tempo import STALL, Tempo
from smtpeter.delivery.throttle import Shape
from smtpeter.delivery.waiting import Memory, Waiting, Work
from smtpeter.model.delivery import Job, LeasedRecipient, Outcome, OutcomeKind
from smtpeter.model.route import Route
from smtpeter.smtp.transaction import Transaction

DEPTH = 20  # messages that may wait for each connection of a site that takes them quickly
TURN = 20  # messages that a connection carries while other hosts of its site, or other sites, wait for its place
AT_ONCE = 25  # jobs that end unsent in one turn of the reactor
GAP = 0.001  # seconds until the next turn of these
LOOK = 15.0  # seconds after which those that wait for room look themselves whether there is some
AHEAD = 2.0  # seconds for which a site with a rate has its next messages at hand

MarkInDoubt = Callable[[str, int, Sequence[int]], "Deferred[bool]"]

STOPPING = Outcome(OutcomeKind.NOT_TRIED, 0, "4.3.2", "The server is stopping")
_UNSERVED = Outcome(OutcomeKind.DEFERRED, 0, "4.4.2", "Every connection was closed before the message could begin")


@dataclass(frozen=True)
class Common:
    """What all pools share.

    ``judge`` tells whose trouble an outcome is, ``react`` what a site's answer asks for.  With ``mark`` the store is
    told before each final dot, and nothing is sent that it does not confirm.
    """

    timers: IReactorTime
    forms: FormMaker
    memory: Memory
    places: Places
    judge: Judge
    react: React
    mark: MarkInDoubt | None = None


class Pool:
    """Carries jobs to some hosts of a site, over connections that are kept and used again.

    ``limits`` are those of the whole site, which may have other hosts too.  ``sources`` are in the order of preference:
    the first that is not paused is used.  ``opener`` makes connections.
    ``on_room`` is called when there is room again after :meth:`want_room`; ``on_change`` when the site was slowed or
    paused.

    How much a pool takes at once grows with what it gets done, so that a site that never answers holds little.  When no
    connection can be opened, or one closes before it has dealt with any message, the site is paused, and everything
    that waits gets the reason as its outcome.
    """

    _log = Logger()

    def __init__(
        self,
        common: Common,
        limits: SiteLimits,
        shape: Shape,
        sources: Sequence[Source],
        opener: Opener,
        on_room: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        self.standing = Standing(
            limits.site,
            opener.route,
            sources,
            judge=common.judge,
            react=common.react,
            timers=common.timers,
            on_change=on_change,
        )
        self._limits = limits
        self._common = common
        self._timers = common.timers
        self._shape = shape
        self._sources = sources
        self._opener = opener
        self._on_room = on_room
        # One object each, by which others know us.
        self._wake, self._hear, self._reclaim = self._feed, self._tell_room, self.close_idle
        self._waiting = Waiting(common.memory, self._wake)
        self._idle: list[Connection] = []
        self._usable: set[Connection] = set()  # open, busy or not
        self._openings: set[Opening] = set()
        self._alive: dict[Connection, Source] = {}  # made and not yet closed
        self._busy = 0
        self._depth = 0
        self._tempo = Tempo()
        self._feeding = self._hungry = self._starved = self._known_idle = False
        self._alarm: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None

    # --- for the agent ---

    @property
    def route(self) -> Route:
        """The way that new connections go."""
        return self._opener.route

    @route.setter
    def route(self, route: Route) -> None:
        self._opener.route = route
        self.standing.follow(route)

    def deliver(self, job: Job) -> Deferred[Mapping[int, Outcome]]:
        """See :meth:`smtpeter.interfaces.IDeliveryAgent.deliver`."""
        work = Work(job)
        self._limits.load += 1
        self._waiting.add(work)
        self._feed()
        return work.done

    def room(self) -> int:
        """How many recipients may be claimed now, altogether."""
        source = self.standing.source()
        if self._stopped is not None or source is None:
            return 0
        load, limit, allowed = self._load, source.limit, source.throttle.allowance(self._timers.seconds(), AHEAD)
        room = max(limit, min(self._depth, limit * DEPTH)) - load
        if allowed is not None:
            room = min(room, allowed - self._limits.load)
        # Other hosts of the site have their share, and leave something to these.
        return max(0, min(room, max(limit * DEPTH - self._limits.load, 0 if load else 1)))

    @property
    def _load(self) -> int:
        return self._busy + len(self._waiting)

    def want_room(self) -> None:
        """There would have been more: tell when there is room."""
        self._starved = True
        self._limits.starved[self._hear] = None
        self._set_alarm(self._wait() or LOOK)

    @property
    def is_unused(self) -> bool:
        """Whether it could be forgotten."""
        return not self._alive and not self._openings and not self._busy and not len(self._waiting)

    def resume(self) -> None:
        """As if nothing had been."""
        self.standing.resume()
        self._feed()
        self._tell_room()

    def close_idle(self) -> bool:
        """Close a connection that nobody uses, if there is one, since others want its place."""
        if not self._idle:
            return False
        self._idle[0].quit()
        return True

    def _others_want(self, connection: Connection) -> bool:
        return self._common.places.are_wanted or self._alive[connection].places.are_wanted

    def _note_idle(self) -> None:
        """Have it known whether there is such a connection."""
        self._known_idle = bool(self._idle)
        for places in (self._common.places, *(source.places for source in self._sources)):
            if self._known_idle:
                places.idle[self._reclaim] = None
            else:
                places.idle.pop(self._reclaim, None)

    def stop(self) -> Deferred[None]:
        """Start nothing more, finish what is under way, close idle connections."""
        if self._stopped is None:
            self._stopped = Deferred()
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
            self._refuse_waiting(STOPPING)
            for connection in list(self._idle):
                connection.quit()
            for opening in list(self._openings):
                opening.cancel()
            self._check_stopped()
        return self._stopped

    def abort(self, in_doubt: bool) -> None:
        """Cut connections; those that await the answer to a final dot only if ``in_doubt``."""
        for connection in list(self._alive):
            if in_doubt or not connection.awaits_end:
                connection.abort("The server is stopping")

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
        while self._idle and not len(self._waiting) and self._others_want(self._idle[0]):
            self._idle[0].quit()
        if bool(self._idle) is not self._known_idle:
            self._note_idle()

    def _feed_once(self) -> None:
        if not len(self._waiting):
            return
        if self._stopped is not None:
            self._refuse_waiting(STOPPING)
            return
        source = self.standing.source()
        if source is None or (self.standing.is_barred and not self._usable and not self._openings):
            self._refuse_waiting(self.standing.reason, AT_ONCE)
            if len(self._waiting):
                self._set_alarm(GAP)
            return
        while self._idle:
            wait = source.throttle.send_wait(self._timers.seconds())
            if wait:
                self._set_alarm(wait)
                return
            connection = self._idle.pop()
            if not connection.usable:
                continue
            if self._alive[connection] is not source:
                connection.quit()  # this address is not to be used now
                continue
            work = self._waiting.next()
            if work is None:  # until there is memory
                self._idle.append(connection)
                return
            self._busy += 1
            self._carry(connection, work)
        self._open_more(source)

    def _refuse_waiting(self, outcome: Outcome, limit: int | None = None) -> None:
        for work in self._waiting.drain(limit):
            self._limits.ended()
            work.settle_rest(outcome)
            work.done.callback(work.outcomes)

    def _carry(self, connection: Connection, work: Work) -> None:
        """Go on with a job on this connection, as far as there is something to go on with."""
        if not connection.usable:
            self._free(connection, work)
            return
        try:
            wait = self._common.forms.make(work, connection.offers("8BITMIME"))
            if wait is not None:
                wait.addCallback(lambda made: self._carry(connection, work))
                wait.addErrback(self._failed, connection, work)
            elif work.left:
                self._transact(connection, work)
            else:
                self._free(connection, work)
        except Exception:
            self._failed(Failure(), connection, work)

    def _failed(self, failure: Failure, connection: Connection, work: Work) -> None:
        self._log.failure("a delivery failed: submission={submission}", failure, submission=work.job.submission)
        work.fenced = True  # not to be tried again on another connection
        connection.abort("Something went wrong here")
        if not work.done.called:
            work.left = [each for each in work.job.recipients if each.number not in work.outcomes]
            work.settle_rest(Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "Something went wrong here"))
            self._free(connection, work)

    def _transact(self, connection: Connection, work: Work) -> None:
        job, form = work.job, work.form
        assert form is not None
        part = work.take(min(self._shape.recipients, connection.recipients_limit))
        source = self._alive[connection]
        begun = self._timers.seconds()
        source.throttle.sending(begun, len(part))
        self._tempo.begun(begun, self._busy)
        mark = self._make_mark(work, part) if self._common.mark is not None else None

        def transacted(outcomes: Mapping[int, Outcome]) -> None:
            if form.seven_bit:
                outcomes = {number: each._replace(seven_bit=each.stage == "end") for number, each in outcomes.items()}
            if connection.served:
                now = self._timers.seconds()
                self._tempo.ended(now, now - begun)
            self._transacted(connection, work, part, self.standing.judge(outcomes, source))

        connection.send(
            Transaction(
                form.reverse_path, part, form.content, job.body, job.smtputf8, job.ret, job.envid, mark is not None
            ),
            transacted,
            mark,
        )

    def _make_mark(self, work: Work, part: Sequence[LeasedRecipient]) -> Mark:
        ask, job = self._common.mark, work.job
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
        self, connection: Connection, work: Work, part: Sequence[LeasedRecipient], outcomes: Mapping[int, Outcome]
    ) -> None:
        work.outcomes.update(outcomes)
        source = self._alive.get(connection)
        again = [recipient for recipient in part if outcomes[recipient.number].kind is OutcomeKind.NOT_TRIED]
        if len(again) < len(part):
            work.returned = 0
            if connection.served:
                self._depth += 1
                if source is not None:
                    source.succeeded(self._timers.seconds())
            elif not connection.usable:
                deferred = [outcome for outcome in outcomes.values() if outcome.kind is OutcomeKind.DEFERRED]
                if deferred and source is not None:
                    self._note_trouble(deferred[0], source, connection)
        if self._stopped is not None or work.fenced:
            work.settle_rest(STOPPING)
        elif again:
            work.left = (*again, *work.left)
        if work.left and self._may_go_on(connection, source):
            self._carry(connection, work)
        else:
            self._free(connection, work)

    def _may_go_on(self, connection: Connection, source: Source | None) -> bool:
        if not connection.usable or source is not self.standing.source() or self._is_worn(connection):
            return False
        return source is not None and not source.throttle.send_wait(self._timers.seconds())

    def _is_worn(self, connection: Connection) -> bool:
        """Whether it has carried as many messages as one connection may, or as it may while others want its place."""
        most = min(self._shape.messages, connection.transactions_limit)
        source = self._alive.get(connection)
        if source is not None and self._others_want(connection):
            most = min(most, TURN)
        return connection.transactions >= most

    def _free(self, connection: Connection, work: Work) -> None:
        """A connection has done what it could for a job."""
        if work.done.called:
            return
        self._busy -= 1
        if connection.usable:
            if self._is_worn(connection) or self._stopped is not None:
                connection.quit()
            else:
                self._idle.append(connection)
        if work.left:
            work.returned += 1
            if work.returned > self._shape.connections:  # so it was no matter of connections idle for too long
                work.settle_rest(_UNSERVED)
                source = self.standing.source()
                if source is not None:
                    self._note_trouble(_UNSERVED, source, connection)
        over = not work.left  # afterwards it may have been ended among those that wait
        if over:
            self._waiting.release(work)
        else:
            self._waiting.put_back(work)
        self._feed()
        if over:
            self._limits.ended()
            work.done.callback(work.outcomes)
            self._tell_room()
        self._check_stopped()

    def _note_trouble(self, outcome: Outcome, source: Source, connection: Connection | None = None) -> None:
        if self._stopped is not None:
            return
        is_last = not (self._usable - {connection} or self._openings)
        if self.standing.note_trouble(outcome, source, is_last):
            self._depth = 0

    # --- room and time ---

    def _tell_room(self) -> None:
        if not self._starved or self._stopped is not None:
            return
        room = self.room()
        if room and room >= self._load:
            self._starved = False
            self._on_room()
        else:
            self._limits.starved[self._hear] = None
            self._set_alarm(self._wait() or LOOK)

    def _wait(self) -> float:
        """Seconds until a pause is over, or until the next message may go; 0.0: neither keeps us."""
        source = self.standing.source()
        return self.standing.pause() if source is None else source.throttle.send_wait(self._timers.seconds())

    def _set_alarm(self, seconds: float) -> None:
        """Look again after so many seconds, if not before; 0.0: something else will happen."""
        if self._stopped is not None or not seconds:
            return
        if self._alarm is not None:
            if self._alarm.getTime() <= self._timers.seconds() + seconds:
                return
            self._alarm.cancel()
        self._alarm = self._timers.callLater(seconds, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._feed()
        if self._starved and self.room():
            self._starved = False
            self._limits.starved.pop(self._hear, None)
            self._on_room()
        elif self._starved:
            self._set_alarm(self._wait() or LOOK)

    # --- connections ---

    def _open_more(self, source: Source) -> None:
        """Open as many connections as it is worth, and look again soon whether it is worth more."""
        waiting, there = len(self._waiting), len(self._usable) + len(self._openings)
        if not waiting or self.standing.is_barred:
            return
        worth = self._tempo.wanted(self._timers.seconds(), waiting, self._busy, self._common.places.crowding)
        while there < min(worth, waiting + self._busy, source.limit):
            wait = source.throttle.connect_wait(self._timers.seconds())
            if wait:
                self._set_alarm(wait)
                return
            if there and not (source.places.are_free and self._common.places.are_free):
                break  # nobody makes way for a second one
            if not source.places.take(self._wake):
                return
            if not self._common.places.take(self._wake):
                source.places.give_back()
                return
            there += 1
            source.throttle.connecting(self._timers.seconds())
            opening = Opening(self._opener, source.address, self, self._timers)
            self._openings.add(opening)
            opening.start()
        self._set_alarm(STALL)

    def opened(self, opening: Opening, connection: Connection) -> None:
        """A connection is ready for mail."""
        self.standing.forgive()
        self._openings.discard(opening)
        self._usable.add(connection)
        self._idle.append(connection)
        if self._stopped is not None:
            connection.quit()
        self._feed()

    def not_opened(self, opening: Opening, outcome: Outcome) -> None:
        """There is no host of this site that takes mail now."""
        self._openings.discard(opening)
        source = self._source_of(opening)
        self._give_back(source)
        self._note_trouble(outcome, source)
        self._feed()
        self._check_stopped()

    def connection_made(self, opening: Opening, connection: Connection) -> None:
        """TCP is there; the session is being opened."""
        self._alive[connection] = self._source_of(opening)

    def _source_of(self, opening: Opening) -> Source:
        return next(source for source in self._sources if source.address is opening.source)

    def connection_gone(self, connection: Connection) -> None:
        """See :class:`smtpeter.delivery.connection.ConnectionOwner`."""
        if connection in self._idle:
            self._idle.remove(connection)
        if connection in self._usable:
            self._usable.discard(connection)
            self._give_back(self._alive[connection])
        self._feed()

    def _give_back(self, source: Source) -> None:
        self._common.places.give_back()
        source.places.give_back()

    def connection_closed(self, connection: Connection) -> None:
        """See :class:`smtpeter.delivery.connection.ConnectionOwner`."""
        self._alive.pop(connection, None)
        self._check_stopped()

    def _check_stopped(self) -> None:
        stopped = self._stopped
        if stopped is not None and not stopped.called and not self._busy and not self._openings and not self._alive:
            stopped.callback(None)
