"""``smtpeter send-test``: one message through the whole way, by the running server's own door."""

from __future__ import annotations

import smtplib
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import click

from smtpeter.auth.secrets import make_login
from smtpeter.cli.arguments import address
from smtpeter.cli.endpoints import loopback_of, tcp_addresses
from smtpeter.cli.installation import Installation, pass_installation
from smtpeter.cli.message import read_messages
from smtpeter.cli.printing import json_option, print_json
from smtpeter.cli.rows import print_message
from smtpeter.errors import NotPossible
from smtpeter.model.account import AccountState, CredentialKind
from smtpeter.model.delivery import FINAL_STATES, RecipientState
from smtpeter.model.documents import describe, describe_event
from smtpeter.model.event import JournalEntry
from smtpeter.model.ids import parse_id
from smtpeter.model.listing import MessageRow
from smtpeter.settings import Settings
from smtpeter.store.opening import Store, result_of

_SMTP_TIMEOUT = 30.0
_LOOK_EVERY = 0.2


@click.command("send-test")
@click.argument("recipient", metavar="ADDRESS", type=address)
@click.option("--from", "sender", type=address, help="The sender; without it, the account's own address.")
@click.option("--account", "email", type=address, help="Who submits it; without it, an administrator, or anybody.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds to follow it before giving up.",
)
@json_option
@pass_installation
def send_test(
    installation: Installation, recipient: str, sender: str | None, email: str | None, wait: float, as_json: bool
) -> None:
    """Submit one message to the running server, and show what happens to it."""
    if not all(each is None or each.isascii() for each in (recipient, sender, email)):
        raise NotPossible("a test is sent from and to ASCII addresses only")
    settings = installation.settings
    with installation.open() as store:
        email = _submitter(store, email)
        with _temporary_login(installation, store, email) as (username, password):
            text = _compose(sender or email, recipient, settings.hostname, installation.clock.time())
            id = _submit(settings, username, password, sender or email, recipient, text)
        row, events = _follow(store, id, wait)
    if as_json:
        print_json(describe(row) | {"events": [describe_event(each) for each in events]})
    else:
        print_message(row, events)
    if row.state is not RecipientState.DELIVERED:
        raise NotPossible(f"the message {id} is {row.state}")


def _submitter(store: Store, email: str | None) -> str:
    """The account that submits.

    :raises NotPossible: where there is none that may.
    """
    if email is None:
        allowed = [each for each in result_of(store.accounts.accounts()) if each.state is AccountState.APPROVED]
        if not allowed:
            raise NotPossible("there is no approved account: add one, or say who submits with --account EMAIL")
        return next((each for each in allowed if each.admin), allowed[0]).email
    account = result_of(store.accounts.account(email))
    if account is None:
        raise NotPossible(f"there is no account {email}")
    return account.email


@contextmanager
def _temporary_login(installation: Installation, store: Store, email: str) -> Iterator[tuple[str, str]]:
    """A username and a password that work only here."""
    new = make_login(installation.keys)
    result_of(
        store.accounts.add_credential(
            CredentialKind.LOGIN, email, new.public, new.secret_hash, new.key_id, "send-test", ()
        )
    )
    try:
        yield new.public, new.shown.replace(" ", "")
    finally:
        result_of(store.accounts.revoke_credential(CredentialKind.LOGIN, new.public))


def _compose(sender: str, recipient: str, hostname: str, now: float) -> bytes:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = f"Test message from {hostname}"
    message["Date"] = formatdate(now)
    message["Message-ID"] = make_msgid(domain=hostname)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"This is a test of the mail gateway {hostname}.\n")
    return message.as_bytes().replace(b"\n", b"\r\n")


def _submit(settings: Settings, username: str, password: str, sender: str, recipient: str, text: bytes) -> str:
    """Hand the message over as any client would; the id under which it was queued.

    :raises NotPossible: where nobody answers, or the answer is no.
    """
    expected = _own_certificate(settings)
    try:
        with _connect(settings) as server:
            _check_it_is_ours(server, expected)
            server.login(username, password)
            _accepted(server.mail(sender))
            _accepted(server.rcpt(recipient))
            answer = _accepted(server.data(text))
    except smtplib.SMTPResponseException as error:
        raise NotPossible(f"the server refused the message: {error.smtp_code} {_line(error.smtp_error)}") from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotPossible(f"the server broke off: {error}") from None
    id = answer.rpartition(" ")[2]
    if parse_id(id) is None:
        raise NotPossible(f"the server's answer has no id in it: {answer}")
    return id


def _accepted(reply: tuple[int, bytes]) -> str:
    """The text of a positive reply.

    :raises NotPossible: for any other.
    """
    code, text = reply
    if code // 100 != 2:
        raise NotPossible(f"the server refused the message: {code} {_line(text)}")
    return _line(text)


def _connect(settings: Settings) -> smtplib.SMTP:
    """An encrypted connection to our own server, from this machine."""
    doors = [(address, True) for each in settings.listen.smtps for address in tcp_addresses(each)]
    doors += [(address, False) for each in settings.listen.smtp for address in tcp_addresses(each)]
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # names and authorities say nothing of loopback: see _check_it_is_ours
    for (interface, port), encrypted in doors:
        host = loopback_of(interface)
        try:
            if encrypted:
                return smtplib.SMTP_SSL(host, port, timeout=_SMTP_TIMEOUT, context=context)
            server = smtplib.SMTP(host, port, timeout=_SMTP_TIMEOUT)
        except ConnectionRefusedError:
            continue
        server.starttls(context=context)
        return server
    raise NotPossible("no server is listening where listen.smtps and listen.smtp say: is it running?")


def _own_certificate(settings: Settings) -> bytes:
    """The certificate that our server shows, in DER."""
    path = settings.tls.certificate or settings.data_dir / "tls" / "fullchain.pem"
    try:
        pem = path.read_text("ascii")
    except OSError as error:
        raise NotPossible(f"the server's certificate {path}: {error.strerror}; is the server running?") from None
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(begin + pem.partition(begin)[2].partition(end)[0] + end)


def _check_it_is_ours(server: smtplib.SMTP, certificate: bytes) -> None:
    """Whoever listens on loopback has to have our certificate before it is shown a password."""
    assert isinstance(server.sock, ssl.SSLSocket)
    if server.sock.getpeercert(binary_form=True) != certificate:
        raise NotPossible("what listens there is not this server: it has another certificate")


def _line(answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return " ".join(text.split())


def _follow(store: Store, id: str, wait: float) -> tuple[MessageRow, Sequence[JournalEntry]]:
    """The message once there is nothing more to expect of it, or when time is up."""
    until = time.monotonic() + wait
    while True:
        row, events = read_messages(store, id)[0]
        if row.state in FINAL_STATES or row.state is RecipientState.HELD or time.monotonic() >= until:
            return row, events
        time.sleep(_LOOK_EVERY)
