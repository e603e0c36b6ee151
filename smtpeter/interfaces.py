"""Every interface at which the rooms meet.  No code lives here.

Times are seconds since the epoch (UTC) unless said otherwise.  Whatever returns a ``Deferred`` of the store may fail
with :class:`smtpeter.errors.StorageUnavailable`, which is always temporary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from twisted.cred.credentials import ICredentials
from twisted.internet.defer import Deferred
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface

from smtpeter.model.account import USUAL_SCOPES, Account, AccountState, Credential, CredentialKind, Scope
from smtpeter.model.delivery import Job, Lane, LeasedRecipient, Outcome, SettledJob
from smtpeter.model.domain import DomainKey, SenderDomain, SigningKey
from smtpeter.model.envelope import Recipient
from smtpeter.model.event import EventKind, JournalEntry
from smtpeter.model.feature import (
    Addressee,
    Block,
    BlockKind,
    Happening,
    MessageSummary,
    Options,
    PlacedSlot,
    Prepared,
    Slot,
    Unprepared,
    WebRequest,
    WebResponse,
)
from smtpeter.model.listing import Filter, MessageRow, Parking, Record, RecordFilter, Standing, Verb
from smtpeter.model.route import Route, SiteState, TlsPolicy
from smtpeter.model.submission import Content, Idempotency, Submission, Taken, WholeMessage

T = TypeVar("T")


class IClock(Interface):
    """Wall time.  Timers do not use it: they run on the reactor, whose clock is monotonic."""

    def time() -> float:
        """Now, in seconds since the epoch."""


# --- the doors in ---------------------------------------------------------------------------------------------------


class ISubmitter(Interface):
    """The cred avatar: somebody who may hand over mail, the same for every door."""

    account = Attribute("the smtpeter.model.account.Account")
    login = Attribute("the credential's public name, or empty for an account's own password")
    options = Attribute("the credential's default options: a tuple of (name, value)")
    scopes = Attribute("what the credential may be used for: a tuple of smtpeter.model.account.Scope")

    def check(sending: bool = True) -> Deferred[None] | None:
        """Confirm, at the start of each message or request, that this submitter may send now; or else, where it is not
        ``sending``, that he is still who he was: then an account that is not approved yet will do.

        None where that is known without asking the store; otherwise a Deferred.

        :raises smtpeter.errors.Refusal: (or the Deferred fails with it) where the account is pending or suspended,
            or the credential was revoked since.
        """


class IRemoteCredentials(ICredentials):
    """Credentials that tell where they come from: guesses are counted by that."""

    address = Attribute("the client's address, a str")


class ITokenCredential(ICredentials):
    """What a client proves itself with over HTTP: ``Authorization: Bearer``."""

    token = Attribute("the whole token, a str")


class ISubmissionIntake(Interface):
    """The one door through which every message enters the queue."""

    def submit(submission: Submission) -> Deferred[Taken | None]:
        """Take over responsibility; fires only when the submission is durable, as :meth:`IQueueStore.enqueue` says.

        Cancel it to take the submission back, as it says there.
        """


class IMessageIntake(Interface):
    """Takes messages from doors that have them as a whole: everything is then as with SMTP."""

    def take(message: WholeMessage, submitter: ISubmitter) -> Deferred[Taken]:
        """Take a message; fires when it is durable.  It is asked before whether mail is accepted now, but for requests
        that were made before under their idempotency key: they are answered as then, whatever would be said now.

        Fails with Refusal (4xx: later; 5xx: what is wrong), with IdempotencyConflict, and with the store's errors.
        """

    def again(
        submission: Submission,
        numbers: Collection[int],
        submitter: ISubmitter,
        idempotency: Idempotency | None = None,
    ) -> Deferred[Taken]:
        """Take the same message once more for these of its recipients, under new ids, with the options that it had.
        ``idempotency`` is that of the request for it.

        Fails as :meth:`take`, and with KeyError and ContentCorrupt where its content is gone.
        """


# --- store ----------------------------------------------------------------------------------------------------------


class IContentSpool(Interface):
    """One message's octets on their way into the store."""

    size = Attribute("octets written so far")

    def write(chunk: bytes) -> Deferred[None] | None:
        """Take the next octets.  None: go on.  A Deferred: wait for it before writing more (back-pressure)."""

    def finish() -> Deferred[Content]:
        """Nothing more comes.  Fires when large content is durable; small content becomes so with its row."""

    def abort() -> None:
        """Forget what was written; may be called at any time before the content was enqueued, and twice."""


class IContentStore(Interface):
    """Where the octets of messages are kept: small ones with the rows, large ones as files."""

    def spool() -> IContentSpool:
        """Begin to take in a message."""

    def read(submission: str, content: Content) -> Deferred[bytes]:
        """A message's octets, checked.  Fails with ContentCorrupt where they are not what was taken in, KeyError where
        they are gone (retention)."""


class IQueueStore(Interface):
    """The queue.  Every call is one transaction of its own; no cursor or connection ever leaves the store."""

    def enqueue(submission: Submission) -> Deferred[Taken | None]:
        """Make a submission durable, all its recipients due, with an ``attempt`` event for each.

        Fires with None where that was done for all recipients.  Where the submission has an idempotency key it fires
        with what became of it: recipients that were taken before under this key are not enqueued again (and where there
        were only such, nothing is, and a file of its content is removed).  Fails with IdempotencyConflict where another
        request was taken under its key.  The key is committed in the same transaction.

        Cancel it to take the submission back: what is not yet written never will be, and its file is removed; of what
        turns out to have been written all the same, recipients that are still due are cancelled.  But what was written
        under a key stays, and is the answer to whoever comes again with it.
        """

    def taken(
        account: int | None, idempotency: Idempotency, recipients: Sequence[Recipient], now: float
    ) -> Deferred[Taken | None]:
        """What became of an account's whole request (with a digest) that was made before under this key, with these
        recipients: what is told then as :meth:`enqueue` would.  None where nothing was taken under it; who then comes
        at the same time is told by :meth:`enqueue`.  Fails with IdempotencyConflict as that does."""

    def recover() -> Deferred[int]:
        """At start: whatever was leased is due at once as a possible duplicate, or held where it was marked in doubt.
        No lane is parked for more than some seconds longer, so that whoever starts is told of all that have something
        due.  Fires with the number of recipients concerned."""

    def recover_expired(now: float, in_hand: Collection[tuple[str, int]]) -> Deferred[int]:
        """The same for leases that ended before ``now``, except those ``in_hand`` (submission, lease): a claim whose
        answer was lost, or a node that died, must not keep mail for ever."""

    def bring_forward(now: float, longest: float, back: float = 0.0) -> Deferred[int]:
        """After the clock was set back, by ``back`` seconds as far as is known: what was due is, nothing waits for
        longer than it would have, nor is parked or leased for longer; and whatever is known of the clock, for no more
        than ``longest`` seconds after ``now``.  Except what was submitted for a later time and not tried yet.  Fires
        with the number of recipients whose due time was changed."""

    def due_lanes(now: float, limit: int) -> Deferred[tuple[Sequence[Lane], float | None]]:
        """Lanes with recipients due at ``now`` that are not parked, those first that were so first, and the time at
        which the next one after ``now`` falls due or is parked no longer (None: none is waiting)."""

    def claim_due(shares: Sequence[tuple[Lane, int]], now: float, lease_until: float) -> Deferred[Sequence[Job]]:
        """Lease recipients that are due in these lanes, from each up to so many; of the last submission among them all
        that are due in its lane, up to 100 more, so that they can go together.  A submission is in at most one job of
        the answer, unless parts of the store are damaged: what can be read is claimed around them, what cannot is held
        or left alone.  The committed claim is the mark that an attempt may be under way."""

    def claim_overdue(
        lanes: Sequence[Lane], limit: int, now: float, delayed: float, until: float
    ) -> Deferred[Sequence[Job]]:
        """Lease, until ``until``, up to ``limit`` recipients of these lanes, parked or not, that are due and must not
        wait for their turn: their time for delivery is over, or their sender asked to be told of a delay, was not told
        yet, and could expect them to be delivered from a time before ``delayed`` on."""

    def park(lanes: Collection[Lane], site: str, until: float) -> Deferred[None]:
        """Leave these lanes alone until then: they go to a site that takes nothing more now.  Recipients of theirs that
        fall due meanwhile wait with the others.  A time that has come ends it."""

    def parking(lane: Lane) -> Deferred[Parking | None]:
        """Where a lane is parked for; None where it is not now, or nothing waits in it."""

    def standing(submission: str, number: int) -> Deferred[Standing]:
        """Where a recipient stands now.  Fails with KeyError."""

    def claim_incoming(limit: int, now: float, until: float) -> Deferred[Sequence[Unprepared]]:
        """Take up to ``limit`` submissions that wait to be prepared, in the order in which they came.  Each is nobody
        else's until the time ``until``, or the next start; that it was attempted is durable before it is told."""

    def store_prepared(prepared: Sequence[Prepared]) -> Deferred[int]:
        """Write what was made of submissions: their recipients are due from now on, each with a ``prepared`` event.
        Fires with how many were written; others were claimed again meanwhile, or are not wanted any more, and the
        files of their content are removed."""

    def postpone_prepare(submission: str, attempt: int, until: float, reason: str) -> Deferred[bool]:
        """It is to be prepared again, not before ``until``; its recipients have a ``deferral`` event with the reason.
        False where it was claimed again meanwhile."""

    def fail_prepare(submission: str, attempt: int, settlement: SettledJob) -> Deferred[bool]:
        """It cannot be prepared: its waiting recipients end, or are held, as these settlements say.  False as above."""

    def oldest_unprepared() -> Deferred[float | None]:
        """When the submission came in that has waited longest for its first attempt to be prepared to come to an end;
        None: none waits."""

    def renew(submission: str, lease: int, lease_until: float) -> Deferred[bool]:
        """Prolong a job's lease; False where it is no longer ours."""

    def mark_in_doubt(submission: str, lease: int, numbers: Sequence[int]) -> Deferred[bool]:
        """Write down that a final dot is about to be sent (``in_doubt = "hold"``); False where the lease is lost."""

    def settle(jobs: Sequence[SettledJob]) -> Deferred[int]:
        """Write outcomes, events and notifications, all or nothing.  Fires with the number of recipients settled;
        fewer than given means that some were fenced off: their rows are not touched."""

    def release(submission: str, lease: int) -> Deferred[None]:
        """Give back, at once due again and not counted as attempts, what of a job is still leased."""

    def select(filter: Filter, limit: int, before: tuple[str, int] | None = None) -> Deferred[Sequence[MessageRow]]:
        """Rows for a listing, newest first; with ``before`` those that come behind this (submission, number) in it."""

    def count(filter: Filter, verb: Verb) -> Deferred[int]:
        """How many recipients a bulk verb would change now."""

    def apply(filter: Filter, verb: Verb, now: float, limit: int) -> Deferred[int]:
        """Carry out a verb on at most ``limit`` recipients that it fits; fires with how many were changed.

        retry: due (deferred) ones are due at once.  hold: due ones are held.  release: held ones are due at once.
        cancel: due or held ones are cancelled.  Leased recipients are left alone.  What is retried or released ends
        the parking of its lane, for all that waits there; retry fits what is due in a parked lane too.
        """

    def submission(id: str) -> Deferred[Submission]:
        """A submission as it was taken in, its content without data.  Fails with KeyError."""

    def prepared(submission: str) -> Deferred[tuple[Content, tuple[PlacedSlot, ...]] | None]:
        """What was made of a submission, its content without data; None where it went, or will go, as it came."""

    def depths() -> Deferred[Mapping[str, int]]:
        """The number of recipients in each state that is not final."""

    def paused() -> Deferred[bool]:
        """Whether all delivery is stopped by an operator."""

    def set_paused(paused: bool) -> Deferred[None]:
        """Stop or start all delivery."""

    def purge(now: float, content_age: float, captured_age: float, event_age: float, limit: int) -> Deferred[int]:
        """Forget up to ``limit`` submissions' content, or rows and events, whose retention (seconds after they were
        done) is over, and as many idempotency keys; fires with how many were dealt with, 0 when nothing was left."""

    def generation() -> Deferred[int]:
        """A counter that grows whenever a command changed what a running server may have cached."""


class ISiteStore(Interface):
    """Sites that are slowed or paused: what operators see of them, and what they say to it."""

    def write(states: Sequence[SiteState]) -> Deferred[None]:
        """These and no others; an operator's word to resume that was not read before stays."""

    def states() -> Deferred[Sequence[SiteState]]:
        """All, longest first."""

    def resume(site: str) -> Deferred[int]:
        """Ask the server to treat a site (empty: every one) as if nothing had been.  Fires with how many states of
        sites that concerns."""

    def parked(site: str) -> Deferred[Sequence[Lane]]:
        """The lanes that are parked for a site; empty: for any."""

    def unpark(lanes: Sequence[Lane]) -> Deferred[None]:
        """Have these looked at again.  Very many are better told in parts: it is one transaction."""


class IDomainStore(Interface):
    """Domains that accounts send from."""

    def add_domain(domain: str, email: str, keys: Sequence[DomainKey]) -> Deferred[SenderDomain]:
        """Fails with NotPossible where there is no such account, or somebody has the domain."""

    def remove_domain(domain: str) -> Deferred[None]:
        """With its keys.  Fails with NotPossible where there is none."""

    def add_key(domain: str, key: DomainKey) -> Deferred[None]:
        """Another key.  Fails with NotPossible where there is no such domain, or the selector is taken."""

    def remove_key(domain: str, selector: str) -> Deferred[None]:
        """Fails with NotPossible where there is none."""

    def domains(email: str | None = None) -> Deferred[Sequence[SenderDomain]]:
        """All, or those of one account, by name."""


class IAccountStore(Interface):
    """Accounts, logins and tokens.  Hashes only: no secret ever comes here."""

    def add_account(email: str, name: str, admin: bool, state: AccountState, password_hash: str) -> Deferred[Account]:
        """Fails with NotPossible where the address is taken (compared without case)."""

    def account(email: str) -> Deferred[Account | None]:
        """By e-mail address, without case."""

    def accounts() -> Deferred[Sequence[Account]]:
        """All, by e-mail address."""

    def set_password(email: str, password_hash: str) -> Deferred[None]:
        """Fails with NotPossible where there is no such account."""

    def set_account_state(email: str, state: AccountState) -> Deferred[None]:
        """Approve or suspend.  Fails with NotPossible where there is no such account."""

    def add_credential(
        kind: CredentialKind,
        email: str,
        public: str,
        secret_hash: bytes,
        key_id: str,
        name: str,
        options: tuple[tuple[str, str], ...],
        scopes: tuple[Scope, ...] = USUAL_SCOPES,
    ) -> Deferred[Credential]:
        """Fails with NotPossible where there is no such account, or the public part is taken."""

    def credential(kind: CredentialKind, public: str) -> Deferred[Credential | None]:
        """One that exists and is not revoked."""

    def credentials(kind: CredentialKind, email: str | None) -> Deferred[Sequence[Credential]]:
        """All, revoked ones too, of one account or of all, oldest first."""

    def edit_credential(
        kind: CredentialKind,
        public: str,
        name: str | None,
        options: tuple[tuple[str, str], ...] | None,
        scopes: tuple[Scope, ...] | None = None,
    ) -> Deferred[None]:
        """Change name, options or scopes; None leaves as it is.  Fails with NotPossible where there is none."""

    def rotate_credential(kind: CredentialKind, public: str, secret_hash: bytes, key_id: str) -> Deferred[None]:
        """Give it another secret.  Fails with NotPossible where there is none."""

    def revoke_credential(kind: CredentialKind, public: str) -> Deferred[None]:
        """End it.  Fails with NotPossible where there is none, or it was revoked before."""

    def credential_used(numbers: Sequence[int], time: float) -> Deferred[None]:
        """Note that credentials were used."""

    def bind_keys(fingerprint: str) -> Deferred[None]:
        """Remember, the first time, which keys file belongs to this store; later fail with ConfigError for another."""


class ISecretMaker(Interface):
    """Makes what people and programs prove themselves with.  Each answer has ``public``, ``shown`` (tell it once, keep
    it nowhere), ``secret_hash`` and ``key_id``, as :meth:`IAccountStore.add_credential` wants them."""

    def login(username: str | None = None) -> Any:
        """A login; with ``username`` another password for that one."""

    def token() -> Any:
        """A token."""

    def password() -> Deferred[tuple[str, str]]:
        """A person's first password, and its hash."""


class IBlockStore(Interface):
    """The small list of links that must die."""

    def block(kind: BlockKind, value: str, time: float) -> Deferred[bool]:
        """Add one; False where it was there already."""

    def unblock(kind: BlockKind, value: str) -> Deferred[bool]:
        """Remove one; False where there was none."""

    def blocks() -> Deferred[Sequence[Block]]:
        """All, oldest first."""


class IEventJournal(Interface):
    """What happened, in order."""

    def delivery_times(recipients: Collection[tuple[str, int]]) -> Deferred[Mapping[tuple[str, int], float | None]]:
        """When each of these (submission, number) was delivered, None: not yet; without those that are not kept."""

    def record(happenings: Sequence[Happening]) -> Deferred[int]:
        """Write what mail readers did.  Fires with how many were written: others are of messages that are not kept."""

    def of_submission(submission: str, number: int | None) -> Deferred[Sequence[JournalEntry]]:
        """The events of a submission, or of one recipient of it, oldest first."""

    def after(cursor: int, limit: int) -> Deferred[Sequence[JournalEntry]]:
        """Every event after a cursor, in order."""

    def records(
        filter: RecordFilter, after: int, limit: int, render: Callable[[Sequence[Record]], T]
    ) -> Deferred[tuple[T, int | None]]:
        """Events behind a cursor (0: from the beginning of what the filter wants), in order, with all that is known of
        them; and the cursor to go on behind, None where nothing is left now.

        ``limit`` is how many events are looked at, so that one call is never long; there may be fewer of those that are
        wanted, or none, with more to come.  ``render`` makes of them what is needed; it is called in another thread.
        """

    def last() -> Deferred[int]:
        """The cursor of the newest event, 0 where there is none."""

    def kinds(account: int, since: float, until: float) -> Deferred[frozenset[EventKind]]:
        """Which kinds of events of an account's mail lie within these times, ``until`` excluded.  It may take long."""

    def first_time() -> Deferred[float | None]:
        """The time of the oldest event that is kept."""


# --- delivery -------------------------------------------------------------------------------------------------------


class IDeliveryAgent(Interface):
    """Carries jobs to where they go."""

    def deliver(job: Job) -> Deferred[Mapping[int, Outcome]]:
        """Attempt a job that :meth:`parts` gave; fires with an outcome for every recipient's number.  An errback is a
        bug."""

    def plan(lanes: Sequence[Lane], limit: int, crowded: bool = False) -> Any:
        """What to do about lanes that have something due: a :class:`smtpeter.delivery.plan.Plan`, for at most
        ``limit`` recipients altogether.  Lanes that were told before and are not exhausted count too.  ``crowded``:
        there are more than these, which are told once these are parked."""

    def exhausted(lanes: Collection[Lane]) -> None:
        """Nothing more is due in these now."""

    def waiting() -> Iterable[tuple[Sequence[Lane], Outcome, bool]]:
        """Lanes with something due that cannot go now, what that means for a recipient there, and whether their site is
        paused (or unknown); otherwise it only has no room."""

    def parts(job: Job) -> Sequence[Job]:
        """The same recipients in jobs that go to one site each, and can go at the same time."""

    def on_room(call: Callable[[], None]) -> None:
        """``call`` is to be called whenever there is room again where there was none."""

    def stop() -> Deferred[None]:
        """Start nothing more, finish what is under way in reasonable time, close idle connections."""


class IPersonalizer(Interface):
    """Gives each recipient his own copy, where features want that."""

    def is_personal(job: Job) -> bool:
        """Whether recipients of this job get different octets, or different reverse-paths."""

    def personalize(job: Job, content: bytes) -> ICopies:
        """What makes the copies for the recipients of a job; ``content`` is the job's.

        :raises smtpeter.errors.ContentCorrupt: where the job's slots do not lie within it.
        """


class ICopies(Interface):
    """One job's copies, each for one recipient.  What all have in common was worked out once."""

    def reverse_path(recipient: LeasedRecipient) -> str:
        """The reverse-path on the wire for this recipient.

        :raises smtpeter.errors.FeatureMissing: where the feature that makes it fails.
        """

    def fill(recipient: LeasedRecipient) -> bytes:
        """The octets for this recipient: the job's content with its slots filled.  Its length stays the same.  It may
        be called from any thread.

        :raises smtpeter.errors.FeatureMissing: where a feature that made slots is not there any more, or fails.
        """


class IRouter(Interface):
    """Finds the way to a domain."""

    def known(domain: str) -> Route | Outcome | None:
        """What :meth:`route` found not long ago; None: ask it."""

    def route(domain: str) -> Deferred[Route | Outcome]:
        """The way, or what its being unknown means for recipients there.  An errback is a bug."""


class ISigner(Interface):
    """Signs messages as they go out, last of all."""

    def wants(account: int | None, options: Options) -> bool:
        """Whether anybody may sign mail of this account with these options."""

    def is_quick(account: int | None, options: Options) -> bool:
        """Whether a small message of theirs is signed so soon that it needs no thread."""

    def sign(submission: str, account: int | None, options: Options, content: bytes) -> bytes:
        """The header fields to be put on top of the content; empty where nobody signs it.  It is called from several
        threads, the reactor's among them where it is quick.

        :raises smtpeter.errors.FeatureMissing: where a feature that should have signed failed.
        """


class ISenderDomains(Interface):
    """Who may send from which domain, known without asking the store."""

    def owns(account: int, domain: str) -> bool:
        """Whether the domain, or one that it is below, is the account's; of several the nearest decides."""

    def keys(account: int | None, domain: str) -> Sequence[SigningKey]:
        """What signs mail of this account from this domain; empty where it is not the account's.

        :raises smtpeter.errors.FeatureMissing: where one of its keys cannot be used.
        """

    def has_keys(account: int | None) -> bool:
        """Whether there is anything that signs mail of this account."""

    def longest_key(account: int | None) -> int:
        """The bits of the longest RSA key among that; 0: there is none."""


class ISentMessages(Interface):
    """What recipients were sent, as it went."""

    def octets(submission: Submission, number: int | None) -> Deferred[bytes]:
        """The octets that went to a recipient.  Before it is sent these are the octets for a receiver that takes 8-bit
        content; before its features have prepared it, the octets that came in.  Without a number the places that are
        different for each recipient are not filled.

        Fails with KeyError where the content is no longer kept, with ContentCorrupt, and with FeatureMissing where the
        copy cannot be made any more.
        """


class IMetrics(Interface):
    """Counters for /metrics; names and labels are fixed where the implementation is made."""

    def count(name: str, value: int = 1, **labels: str) -> None:
        """Add to a counter."""

    def observe(name: str, seconds: float) -> None:
        """Add an observation to a histogram."""


# --- store plumbing -------------------------------------------------------------------------------------------------


class IExecutor(Interface):
    """Runs the store's transactions: on threads in the server, at once in commands and tests."""

    def write(operation: Callable[[Any], Any]) -> Deferred[Any]:
        """Run ``operation(connection)`` in a write transaction; fires when it is committed and durable."""

    def read(operation: Callable[[Any], Any]) -> Deferred[Any]:
        """Run ``operation(connection)`` in a read transaction."""

    def scan(operation: Callable[[Any], Any]) -> Deferred[Any]:
        """The same for what goes through much of the store: it is in the way of other scans only."""


# --- features -------------------------------------------------------------------------------------------------------


class IFeatureCatalog(Interface):
    """The features that are installed and not disabled, in the order in which they run."""

    options = Attribute("all options of theirs: an iterable of smtpeter.model.feature.Option")

    def canonical(name: str) -> str | None:
        """The name under which an option of theirs is kept, by any of its names; None: it is nobody's."""

    def read(name: str, text: str) -> str:
        """What a text means as the value of an option of theirs.

        :raises ValueError: where the text is no such value; its text tells what is expected.
        """

    def read_default(name: str, text: str) -> str:
        """What a text means as a login's or token's default of an option of theirs, or of the core.

        :raises ValueError: as :meth:`read`, and where the option can have no default.
        """

    def known(options: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Those of a login's or token's default options that are still somebody's."""

    def preparing(options: Options) -> Sequence[tuple[str, IPreparingFeature]]:
        """The names and features that prepare a message with these options."""

    def checking(options: Options) -> Sequence[tuple[str, ICheckingFeature]]:
        """Those that look at it before it is taken."""

    def enveloping(options: Options) -> Sequence[tuple[str, IEnvelopeFeature]]:
        """Those that choose its reverse-paths."""

    def signing(options: Options) -> Sequence[tuple[str, ISigningFeature]]:
        """Those that sign it when it goes out."""

    def securing(options: Options) -> Sequence[tuple[str, ITransportFeature]]:
        """Those that say how it is to be encrypted on its way."""

    def personalizing(name: str) -> IPersonalizingFeature | None:
        """The feature with this name, where it fills slots."""

    resources = Attribute("the features that serve ``/t/<name>/``: a mapping of names to IResourceFeature")


class IFeatureServices(Interface):
    """What every feature has of the program around it."""

    hostname = Attribute("the name of this server, a str")
    tracking_url = Attribute("where mail readers find ``/t/<feature>/``: an URL without a slash at its end")
    bounce_domain = Attribute("the domain of signed return addresses")
    links = Attribute("the feature's own smtpeter.seals.LinkSeal")

    def key(purpose: str, key_id: str | None = None) -> bytes:
        """32 octets for a purpose of the feature's own, from the current master key or the one with this id.

        :raises KeyError: where there is no such key.
        """

    def key_id() -> str:
        """The id of the current master key."""

    def record(kind: EventKind, submission: str, number: int, data: Mapping[str, Any], request: WebRequest) -> None:
        """Have an event written soon, with what the request tells of who caused it.  Only where requests are served.

        :raises ValueError: where ``kind`` is neither CLICK nor OPEN.
        """

    def is_blocked(account: int | None, submission: str, domain: str = "") -> bool:
        """Whether links of this account or submission, or to this domain, must not work any more.  Only where requests
        are served."""

    def signing_keys(account: int | None, domain: str) -> Sequence[SigningKey]:
        """What signs mail of this account from this domain; empty where it is not the account's.  Only where mail is
        delivered."""

    def has_signing_keys(account: int | None) -> bool:
        """Whether there is anything that signs mail of this account.  Only where mail is delivered."""

    def longest_signing_key(account: int | None) -> int:
        """The bits of the longest RSA key among that, which tell how long signing takes; 0: there is none.  Only where
        mail is delivered."""


class IFeaturePlugin(IPlugin):
    """A feature, as it is found: a module-level object in a module of ``smtpeter.plugins``."""

    name = Attribute("lower-case letters, digits and ``_``: of its table in the configuration, and of its URLs")
    options = Attribute("a tuple of smtpeter.model.feature.Option")
    after = Attribute("a tuple of names of features that come before this one; those that are not there are ignored")
    before = Attribute("a tuple of names of features that come after this one")

    def configure(section: Mapping[str, Any], services: IFeatureServices) -> object:
        """The feature itself, an IMessageFeature with whatever abilities it has.  ``section`` is its table.

        Called once in each process.  The feature may keep state, but each process has its own.

        :raises smtpeter.errors.ConfigError: where the table is wrong; the text names the key.
        """


class IMessageFeature(Interface):
    """What every feature is.  What it can do is told by the interfaces below that it provides too."""

    def wants(options: Options) -> bool:
        """Whether it has anything to do with a message that has these options."""


class ICheckingFeature(IMessageFeature):
    """Looks at a message before it is taken, in the reactor's thread: it has microseconds."""

    def check(summary: MessageSummary, options: Options) -> None:
        """Let it in, or not.

        :raises smtpeter.errors.Refusal: tells the client why not, and what to do.
        """


class IPreparingFeature(IMessageFeature):
    """Changes a message, once for all its recipients, in a worker process."""

    on_failure = Attribute("a smtpeter.model.feature.FailurePolicy")

    def prepare(message: IEditableMessage, context: IPrepareContext) -> None:
        """Edit the message.  It may be called again for the same message, from the beginning.

        Whatever it raises, and whatever it takes too long for, is dealt with as ``on_failure`` says.
        """


class IPersonalizingFeature(IMessageFeature):
    """Fills the slots that it put into a message, for each recipient, at delivery."""

    def values(keys: Sequence[str], addressee: Addressee) -> Sequence[str]:
        """A value for each key, of the length that its slot has.  Several recipients may come from several threads."""


class IEnvelopeFeature(IMessageFeature):
    """Chooses the reverse-path of each recipient, at delivery."""

    def reverse_path(reverse_path: str, addressee: Addressee) -> str:
        """What goes on the wire instead of this reverse-path (empty: null)."""


class ITransportFeature(IMessageFeature):
    """Says how a message is to be encrypted on its way to the receiver, in the reactor's thread."""

    def tls_policy(options: Options) -> TlsPolicy:
        """What its connection must be at least; of several the strictest counts."""


class ISigningFeature(IMessageFeature):
    """Signs a message, as it goes out, behind all other changes."""

    def signs(account: int | None) -> bool:
        """Whether it may sign mail of this account.  It is asked for every message, in the reactor's thread: where
        nobody signs, none has to be looked at in another."""

    def is_quick(account: int | None) -> bool:
        """Whether :meth:`sign` takes well under a millisecond for a message of 32 KiB of this account.  It is asked
        like :meth:`signs`.  Such messages are signed in the reactor's thread, all others in another."""

    def sign(content: bytes, account: int | None) -> bytes:
        """Whole header fields (with their CRLF) to be put on top; empty: it does not sign this message.  ``content`` is
        exactly what goes on the wire behind them.  It is called from several threads."""


class IResourceFeature(IMessageFeature):
    """Serves ``/t/<its name>/...`` to mail readers, in the reactor's thread."""

    def serve(request: WebRequest) -> WebResponse:
        """The answer, at once."""


class IPrepareContext(Interface):
    """What a feature knows of the message beside its octets."""

    submission = Attribute("its id")
    account = Attribute("the number of the submitter's account, or None")
    reverse_path = Attribute("as it was given; empty: null")
    recipients = Attribute("how many there are")
    options = Attribute("its effective options")

    def note(text: str) -> None:
        """Say in the ``prepared`` event what was done, or why not."""


class IEditableMessage(Interface):
    """A message whose leaves can be edited.  Everything that is not edited stays as it is, octet for octet."""

    html = Attribute("the text/html leaves that readers show and that may be touched: a tuple of IEditableLeaf")
    plain = Attribute("likewise the text/plain leaves")
    closed = Attribute("why nothing of it may be touched, empty where it may: ``signed``, ``encrypted``, ``dkim``, ...")

    def fields(name: str) -> tuple[str, ...]:
        """The values of all header fields with this name, unfolded, encoded words as they are."""

    def add_field(name: str, value: str) -> None:
        """Put a field on top of the header.

        :raises ValueError: where name or value cannot be a field of printable ASCII on one line.
        """


class IEditableLeaf(Interface):
    """One leaf, decoded.  Offsets are in ``octets``."""

    octets = Attribute(
        "what it holds now; what is ASCII in it is ASCII.  A slot is there as as many octets as its value will have"
    )
    encoding = Attribute("the Python codec of ``octets``")
    takes_slots = Attribute("whether slots can be put into it; not so in UTF-16 and the like")
    protected = Attribute("ranges (start, end) that a feature asked others to leave alone, in order")

    def links() -> Sequence[Any]:
        """The links in HTML (:class:`smtpeter.mime.html.Link`), found once for as long as nothing is edited."""

    def splice(edits: Sequence[tuple[int, int, Sequence[bytes | Slot]]]) -> None:
        """Replace ``octets[start:end]`` by these pieces, for each (start, end, pieces).

        The edits are in order and do not overlap.  Slots and protected ranges elsewhere move along; those inside what
        is replaced are gone.

        :raises ValueError: for edits out of order or range, for those that cut a slot, and for slots where
            ``takes_slots`` is false.
        """

    def text() -> str:
        """``octets`` decoded.

        :raises UnicodeError: where they are not what the charset says.
        """

    def set_text(text: str) -> None:
        """Replace everything; what the charset does not have becomes a character reference in HTML, else ``?``.

        :raises ValueError: where it already holds slots.
        """

    def protect(start: int, end: int) -> None:
        """Ask the features that follow to leave this range alone."""
