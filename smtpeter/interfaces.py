"""Every interface at which the rooms meet.  No code lives here.

Times are seconds since the epoch (UTC) unless said otherwise.  Whatever returns a ``Deferred`` of the store may fail
with :class:`smtpeter.errors.StorageUnavailable`, which is always temporary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from twisted.cred.credentials import ICredentials
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from smtpeter.model.account import Account, AccountState, Credential, CredentialKind
from smtpeter.model.delivery import Job, Outcome, SettledJob
from smtpeter.model.event import JournalEntry
from smtpeter.model.listing import Filter, MessageRow, Verb
from smtpeter.model.submission import Content, Submission


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

    def check() -> Deferred[None] | None:
        """Confirm, at the start of each message, that this submitter may send now.

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

    def submit(submission: Submission) -> Deferred[None]:
        """Take over responsibility; fires only when the submission is durable.

        Cancel it to take the submission back, as :meth:`IQueueStore.enqueue` says.
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

    def enqueue(submission: Submission) -> Deferred[None]:
        """Make a submission durable, all its recipients due, with an ``attempt`` event for each.

        Cancel it to take the submission back: what is not yet written never will be, and its file is removed; of what
        turns out to have been written all the same, recipients that are still due are cancelled.
        """

    def recover() -> Deferred[int]:
        """At start: whatever was leased is due at once as a possible duplicate, or held where it was marked in doubt.
        Fires with the number of recipients concerned."""

    def recover_expired(now: float, in_hand: Collection[tuple[str, int]]) -> Deferred[int]:
        """The same for leases that ended before ``now``, except those ``in_hand`` (submission, lease): a claim whose
        answer was lost, or a node that died, must not keep mail for ever."""

    def bring_forward(now: float, longest: float) -> Deferred[int]:
        """After the clock was set back: nothing is due, and no lease ends, more than ``longest`` seconds after ``now``,
        except what was submitted for a later time and not tried yet.  Fires with the number of recipients whose due
        time was changed."""

    def due_domains(now: float, limit: int) -> Deferred[tuple[Sequence[str], float | None]]:
        """Domains with recipients due at ``now``, longest waiting first, and the time at which the next one after
        ``now`` falls due (None: none is waiting)."""

    def claim_due(domains: Sequence[str], limit: int, now: float, lease_until: float) -> Deferred[Sequence[Job]]:
        """Lease up to ``limit`` recipients that are due in these domains.  A submission is in at most one job of the
        answer, unless parts of the store are damaged: what can be read is claimed around them, what cannot is held or
        left alone.  The committed claim is the mark that an attempt may be under way."""

    def renew(submission: str, lease: int, lease_until: float) -> Deferred[bool]:
        """Prolong a job's lease; False where it is no longer ours."""

    def mark_in_doubt(submission: str, lease: int, numbers: Sequence[int]) -> Deferred[bool]:
        """Write down that a final dot is about to be sent (``in_doubt = "hold"``); False where the lease is lost."""

    def settle(jobs: Sequence[SettledJob]) -> Deferred[int]:
        """Write outcomes, events and notifications, all or nothing.  Fires with the number of recipients settled;
        fewer than given means that some were fenced off: their rows are not touched."""

    def release(submission: str, lease: int) -> Deferred[None]:
        """Give back, at once due again and not counted as attempts, what of a job is still leased."""

    def select(filter: Filter, limit: int) -> Deferred[Sequence[MessageRow]]:
        """Rows for a listing, newest first."""

    def count(filter: Filter, verb: Verb) -> Deferred[int]:
        """How many recipients a bulk verb would change now."""

    def apply(filter: Filter, verb: Verb, now: float, limit: int) -> Deferred[int]:
        """Carry out a verb on at most ``limit`` recipients that it fits; fires with how many were changed.

        retry: due (deferred) ones are due at once.  hold: due ones are held.  release: held ones are due at once.
        cancel: due or held ones are cancelled.  Leased recipients are left alone.
        """

    def submission(id: str) -> Deferred[Submission]:
        """A submission as it was taken in, its content without data.  Fails with KeyError."""

    def depths() -> Deferred[Mapping[str, int]]:
        """The number of recipients in each state that is not final."""

    def paused() -> Deferred[bool]:
        """Whether all delivery is stopped by an operator."""

    def set_paused(paused: bool) -> Deferred[None]:
        """Stop or start all delivery."""

    def purge(now: float, content_age: float, captured_age: float, event_age: float, limit: int) -> Deferred[int]:
        """Forget up to ``limit`` submissions' content, or rows and events, whose retention (seconds after they were
        done) is over; fires with how many were dealt with, 0 when nothing was left to do."""

    def generation() -> Deferred[int]:
        """A counter that grows whenever a command changed what a running server may have cached."""


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
    ) -> Deferred[Credential]:
        """Fails with NotPossible where there is no such account, or the public part is taken."""

    def credential(kind: CredentialKind, public: str) -> Deferred[Credential | None]:
        """One that exists and is not revoked."""

    def credentials(kind: CredentialKind, email: str | None) -> Deferred[Sequence[Credential]]:
        """All, revoked ones too, of one account or of all, oldest first."""

    def edit_credential(
        kind: CredentialKind, public: str, name: str | None, options: tuple[tuple[str, str], ...] | None
    ) -> Deferred[None]:
        """Change the name or the options; None leaves as it is.  Fails with NotPossible where there is none."""

    def rotate_credential(kind: CredentialKind, public: str, secret_hash: bytes, key_id: str) -> Deferred[None]:
        """Give it another secret.  Fails with NotPossible where there is none."""

    def revoke_credential(kind: CredentialKind, public: str) -> Deferred[None]:
        """End it.  Fails with NotPossible where there is none, or it was revoked before."""

    def credential_used(numbers: Sequence[int], time: float) -> Deferred[None]:
        """Note that credentials were used."""

    def bind_keys(fingerprint: str) -> Deferred[None]:
        """Remember, the first time, which keys file belongs to this store; later fail with ConfigError for another."""


class IEventJournal(Interface):
    """What happened, in order."""

    def of_submission(submission: str, number: int | None) -> Deferred[Sequence[JournalEntry]]:
        """The events of a submission, or of one recipient of it, oldest first."""

    def after(cursor: int, limit: int) -> Deferred[Sequence[JournalEntry]]:
        """Every event after a cursor, in order."""


# --- delivery -------------------------------------------------------------------------------------------------------


class IDeliveryAgent(Interface):
    """Carries jobs to where they go."""

    def deliver(job: Job) -> Deferred[Mapping[int, Outcome]]:
        """Attempt a job; fires with an outcome for every recipient's number.  An errback is a bug."""

    def capacity() -> int:
        """How many more jobs can start now without waiting for a place."""

    def stop() -> Deferred[None]:
        """Start nothing more, finish what is under way in reasonable time, close idle connections."""


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
