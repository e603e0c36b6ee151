"""The table of replies, row by row: what is said in which situation, over the whole door with transports in memory.

Not in it, because what they are about is not there yet: sender domains that are not owned, quotas, signed return
addresses, MIME that is too complex, and policy.  There is no limit on the messages of one session.
"""

from __future__ import annotations

from base64 import b64encode

import pytest
from twisted.internet.defer import Deferred

from smtpeter.errors import Refusal, StorageFull, StorageUnavailable
from smtpeter.intake.gate import FULL, UNAVAILABLE
from smtpeter.intake.listener import Sessions
from smtpeter.intake.smtp import PENDING_LIMIT
from smtpeter.intake.tls import READ_SIZE
from smtpeter.store.files import SMALL_CONTENT
from tests.fakes.smtp_connection import AUTH, BODY, MAIL, Connection, Handle
from tests.fakes.smtp_session import codes

EHLO = b"EHLO client.test\r\n"
FROM = b"MAIL FROM:<a@example.com>\r\n"
TO = b"RCPT TO:<b@example.net>\r\n"
SENT = ["250 2.1.0", "250 2.1.5", "354"]
TAKEN = [*SENT, "250 2.0.0"]


def in_clear(*, mx=False):
    """A session without TLS that said EHLO."""
    connection = Connection(encrypted=False, mx=mx)
    connection.say(EHLO)
    return connection


def encrypted():
    """A session over TLS that said EHLO."""
    connection = Connection()
    connection.say(EHLO)
    return connection


def logged_in(**how):
    return Connection(**how).log_in()


def said(connection, *pieces):
    """The replies to these octets, by code and enhanced code; ``closed`` at the end where the connection is closed."""
    output = b"".join(connection.say(piece) for piece in pieces) if pieces else connection.heard()
    connection.clock.advance(0)
    output += connection.heard()
    return codes(output) + (["closed"] if connection.transport.disconnecting else [])


def auth(username, password):
    return b"AUTH PLAIN " + b64encode(f"\0{username}\0{password}".encode()) + b"\r\n"


# --- greeting / EHLO / QUIT ---


def test_greeting_ehlo_quit():
    connection = Connection(encrypted=False)
    assert said(connection) == ["220"]
    assert connection.say(EHLO).startswith(b"250-")
    assert said(connection, b"QUIT\r\n") == ["221 2.0.0", "closed"]


# --- shutting down, too many connections, stress, idle timeout, too many errors ---


@pytest.mark.parametrize("kind", [{"encrypted": False}, {}])
def test_shutting_down(kind):
    connection = Connection(**kind)
    connection.heard()
    connection.sessions.stop()
    assert said(connection) == ["421 4.3.2", "closed"]


def test_shutting_down_before_the_tls_handshake_is_over():
    connection = Connection(handshake=False)
    connection.sessions.stop()
    connection.protocol.handshakeCompleted()
    assert said(connection) == ["421 4.3.2", "closed"]


def test_too_many_connections():
    assert said(Connection(encrypted=False, sessions=Sessions(0, 100))) == ["421 4.7.0", "closed"]
    assert said(Connection(sessions=Sessions(0, 100))) == ["421 4.7.0", "closed"]


def test_too_many_connections_from_one_address():
    sessions = Sessions(100, 1)
    assert said(Connection(sessions=sessions)) == ["220"]
    assert said(Connection(sessions=sessions)) == ["421 4.7.0", "closed"]


def test_stress():
    connection = Connection(sessions=Sessions(1, 1))
    connection.heard()
    connection.clock.advance(10)
    assert said(connection) == ["421 4.4.2", "closed"]


def test_idle_timeout():
    connection = Connection()
    connection.heard()
    connection.clock.advance(299)
    assert said(connection) == []
    connection.clock.advance(1)
    assert said(connection) == ["421 4.4.2", "closed"]


def test_too_many_errors():
    assert said(logged_in(), b"RCPT\r\n" * 50) == ["503 5.5.1"] * 20 + ["421 4.7.0", "closed"]


def test_errors_are_forgotten_when_a_message_was_taken():
    connection = logged_in()
    for _ in range(5):
        assert said(connection, b"RCPT\r\n" * 19) == ["503 5.5.1"] * 19
        assert said(connection, MAIL + BODY) == TAKEN
    assert said(connection, b"RCPT\r\n" * 50)[-2:] == ["421 4.7.0", "closed"]


def test_too_many_failed_authentications():
    wrong = auth("alice", "wrong")
    assert said(encrypted(), wrong * 5) == ["535 5.7.8"] * 3 + ["421 4.7.0", "closed"]


def test_too_many_commands_that_do_nothing():
    assert said(Connection(), b"NOOP\r\n" * 200)[-2:] == ["421 4.7.0", "closed"]


# --- early talker, HTTP verbs on the SMTP port ---


@pytest.mark.parametrize(
    ("early", "reply"), [(b"EHLO client.test\r\n", "554 5.5.0"), (b"GET / HTTP/1.1\r\n", "221 2.7.0")]
)
def test_early_talker(monkeypatch, early, reply):
    monkeypatch.setattr(Handle, "early", early)
    assert said(Connection(encrypted=False)) == [reply, "closed"]


@pytest.mark.parametrize("verb", [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT"])
def test_http(verb):
    connection = Connection(encrypted=False)
    connection.heard()
    assert said(connection, verb + b" / HTTP/1.1\r\nHost: x\r\n\r\n") == ["221 2.7.0", "closed"]


# --- single commands: unknown verb and syntax; known but off; order; addresses; parameters ---


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (b"XYZZY\r\n", "500 5.5.1"),
        (b"BDAT 5 LAST\r\n", "500 5.5.1"),
        (b"EHLO\r\n", "501 5.5.4"),
        (b"RSET x\r\n", "501 5.5.4"),
        (b"NOOP " + b"x" * 3000 + b"\r\n", "500 5.5.2"),
        (b"NOOP " + b"x" * 30_000 + b"\r\n", "500 5.5.2"),
        (b"NOOP \xff\r\n", "500 5.5.2"),
        (b"VRFY alice\r\n", "252 2.0.0"),
        (b"EXPN list\r\n", "502 5.5.1"),
        (b"TURN\r\n", "502 5.5.1"),
        (b"ETRN example.com\r\n", "502 5.5.1"),
        (FROM, "503 5.5.1"),
        (AUTH, "503 5.5.1"),
        (TO, "503 5.5.1"),
        (b"DATA\r\n", "503 5.5.1"),
    ],
)
def test_commands_before_ehlo(sent, reply):
    connection = Connection()
    connection.heard()
    assert said(connection, sent, b"NOOP\r\n") == [reply, "250 2.0.0"], "and the session lives"


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (FROM, "503 5.5.1"),
        (b"DATA\r\n", "503 5.5.1"),
        (AUTH, "503 5.5.1"),
        (b"RCPT TO:<b@example.net> SIZE=1\r\n", "555 5.5.4"),
        (b"RCPT TO:<>\r\n", "501 5.1.3"),
        (b"RCPT TO:<b@>\r\n", "501 5.1.3"),
        (b"RCPT TO:b@example.net\r\n", "501 5.1.3"),
    ],
)
def test_commands_within_a_transaction(sent, reply):
    assert said(logged_in(), FROM, sent) == ["250 2.1.0", reply]


def test_starttls_and_auth_within_a_transaction():
    # Only the door for returned mail lets one begin a transaction without them.
    assert said(in_clear(mx=True), FROM, b"STARTTLS\r\n") == ["250 2.1.0", "503 5.5.1"]
    connection = Connection(mx=True)
    connection.say(EHLO)
    assert said(connection, FROM, AUTH) == ["250 2.1.0", "503 5.5.1"]


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (b"MAIL FROM:<a@>\r\n", "501 5.1.7"),
        (b"MAIL FROM:a@example.com\r\n", "501 5.1.7"),
        (b"MAIL FROM:<a b@example.com>\r\n", "501 5.1.7"),
        (b"MAIL FROM:<a@example.com> FOO=1\r\n", "555 5.5.4"),
        (b"MAIL FROM:<a@example.com> BODY=BINARYMIME\r\n", "501 5.5.4"),
        ("MAIL FROM:<ä@example.com>\r\n".encode(), "553 5.6.7"),
    ],
)
def test_mail(sent, reply):
    assert said(logged_in(), sent) == [reply]


# --- STARTTLS missing / in use / unavailable; AUTH missing at MAIL ---


def test_starttls_missing():
    connection = in_clear()
    assert connection.say(FROM) == b"530 5.7.0 Must issue a STARTTLS command first\r\n"


def test_starttls_in_use():
    assert said(encrypted(), b"STARTTLS\r\n") == ["554 5.5.1"]


def test_starttls():
    connection = in_clear()
    assert said(connection, b"STARTTLS now\r\n") == ["501 5.5.4"]
    assert said(connection, b"STARTTLS\r\n") == ["220 2.0.0"] and connection.transport.tls


def test_auth_missing():
    assert encrypted().say(FROM) == b"530 5.7.0 Authentication required\r\n"


# --- AUTH without TLS; bad credentials; bad base64 or *; mechanism; backend down; repeated ---


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (auth("alice", "wrong"), "535 5.7.8"),
        (auth("nobody", "secret"), "535 5.7.8"),
        (b"AUTH PLAIN !!!\r\n", "501 5.5.2"),
        (b"AUTH PLAIN\r\n*\r\n", "501 5.7.0"),
        (b"AUTH LOGIN\r\n*\r\n", "501 5.7.0"),
        (b"AUTH CRAM-MD5\r\n", "504 5.5.4"),
        (b"AUTH PLAIN " + b"A" * 20_000 + b"\r\n", "500 5.5.6"),
        (b"auth plain\r\n" + b"A" * 20_000 + b"\r\n", "500 5.5.6"),
        (b"AUTH PLAIN " + b"A" * 12_280 + b"\r\n", "500 5.5.6"),
    ],
)
def test_auth(sent, reply):
    connection = encrypted()
    assert said(connection, sent)[-1] == reply
    assert said(connection, FROM) == ["530 5.7.0"]
    assert said(connection, AUTH, AUTH) == ["235 2.7.0", "503 5.5.1"]


def test_an_overlong_auth_line_in_pieces():
    connection = encrypted()
    assert said(connection, b"AUTH PLAIN ", *[b"A" * 5000] * 5, b"\r\n") == ["500 5.5.6"]
    assert said(connection, b"NOOP " + b"A" * 5000, *[b"A" * 5000] * 5, b"\r\n") == ["500 5.5.2"]


def test_auth_without_tls():
    assert said(in_clear(), AUTH) == ["538 5.7.11"]


@pytest.mark.parametrize("trouble", [StorageUnavailable("down"), StorageFull("full"), RuntimeError("bug")])
def test_auth_while_the_store_is_down(trouble):
    connection = encrypted()
    connection.directory.trouble = trouble
    assert said(connection, AUTH, auth("alice", "wrong")) == ["454 4.7.0"] * 2


def test_auth_while_too_many_guesses_come_from_there():
    connection = encrypted()
    connection.directory.trouble = Refusal(454, "4.7.0", "Too many guesses")
    assert connection.say(AUTH) == b"454 4.7.0 Too many guesses\r\n"
    assert said(connection, AUTH * 200)[-2:] == ["421 4.7.0", "closed"], "and not for ever"


# --- credential disabled ---


def test_a_credential_that_was_disabled_meanwhile():
    connection = logged_in()
    connection.directory.submitter.answer = Refusal(550, "5.7.1", "Revoked")
    assert said(connection, FROM) == ["550 5.7.1"]


# --- the mx listener without AUTH ---


@pytest.mark.parametrize("recipient", [b"b@example.net", b"postmaster@mx.test", b"postmaster", b"abuse@mx.test"])
def test_mx_without_auth(recipient):
    assert said(in_clear(mx=True), FROM, b"RCPT TO:<%s>\r\n" % recipient) == ["250 2.1.0", "530 5.7.0"]


# --- a recipient whose domain does not exist ---


def test_a_recipient_s_domain_is_not_looked_up():
    assert said(logged_in(), FROM, b"RCPT TO:<b@nowhere.invalid>\r\n") == ["250 2.1.0", "250 2.1.5"]


# --- long lines of DATA ---


@pytest.mark.parametrize(("length", "reply"), [(998, "250 2.0.0"), (999, "250 2.0.0"), (65_536, "250 2.0.0")])
def test_a_line_of_data_over_998_octets(length, reply):
    connection = logged_in()
    assert said(connection, MAIL, b"x: y\r\n\r\n" + b"a" * length + b"\r\n.\r\n") == [*SENT, reply]


def test_a_line_of_data_over_64_kib_is_swallowed_to_the_end():
    connection = logged_in()
    assert said(connection, MAIL, b"x: y\r\n\r\n" + b"a" * 65_537 + b"\r\n") == SENT
    assert said(connection, b"RSET\r\nMAIL FROM:<evil@example.com>\r\n.\r\n", b"NOOP\r\n") == ["554 5.6.0", "250 2.0.0"]
    assert connection.intake.submissions == []


# --- too many recipients ---


def test_too_many_recipients():
    assert said(logged_in(), FROM, TO * 5) == ["250 2.1.0"] + ["250 2.1.5"] * 3 + ["452 4.5.3"] * 2


# --- size announced / real; trouble with disk or database ---


def test_size_announced():
    assert said(logged_in(), b"MAIL FROM:<a@example.com> SIZE=1000001\r\n") == ["552 5.3.4"]


def test_size_real():
    content = b"x: y\r\n\r\n" + (b"a" * 998 + b"\r\n") * 1001 + b".\r\n"
    assert said(logged_in(), MAIL, content) == [*SENT, "552 5.3.4"]


@pytest.mark.parametrize(("refusal", "reply"), [(FULL, "452 4.3.1"), (UNAVAILABLE, "451 4.3.0")])
def test_mail_while_there_is_no_room(refusal, reply):
    connection = logged_in()
    connection.gate.refusal = refusal
    assert said(connection, FROM) == [reply]


@pytest.mark.parametrize(
    ("trouble", "reply"),
    [(StorageFull("full"), "452 4.3.1"), (StorageUnavailable("down"), "451 4.3.0"), (RuntimeError("bug"), "451 4.3.0")],
)
def test_trouble_with_disk_or_database(trouble, reply):
    connection = logged_in()
    connection.intake.trouble = trouble
    assert said(connection, MAIL, BODY) == [*SENT, reply]
    connection.intake.trouble, connection.content.trouble = None, trouble
    assert said(connection, MAIL, BODY) == [*SENT, reply]


# --- no valid recipients; bare newlines; loop; header too large ---


@pytest.mark.parametrize("bare", [b"\n", b"\r", b"\0", b"\n.\n", b"\r.\r", b"\r\r\n"])
def test_bare_cr_lf_nul(bare):
    assert said(logged_in(), MAIL, b"x: y\r\n\r\na" + bare + b"b\r\n.\r\n") == [*SENT, "550 5.5.2"]


def test_data_without_valid_recipients():
    assert said(logged_in(), FROM, b"RCPT TO:<>\r\nDATA\r\n") == ["250 2.1.0", "501 5.1.3", "554 5.5.1"]


def test_loop():
    assert said(logged_in(), MAIL, b"Received: x\r\n" * 6 + b"\r\n.\r\n") == [*SENT, "554 5.4.6"]


@pytest.mark.parametrize("header", [b"x: " + b"a" * 1000 + b"\r\n", b"x: y\r\n" * 1001])
def test_header_too_large(header):
    assert said(logged_in(), MAIL, header + b"\r\n.\r\n") == [*SENT, "554 5.6.0"]


# --- processing took longer than the client can wait ---


def test_processing_took_too_long_and_is_rolled_back():
    connection = logged_in()
    withdrawn = []
    connection.intake.submit = lambda submission: Deferred(lambda deferred: withdrawn.append(submission.id))
    assert said(connection, MAIL, BODY) == SENT
    connection.clock.advance(60)
    assert said(connection) == ["451 4.4.5"] and len(withdrawn) == 1


# --- accepted ---


def test_accepted_only_after_the_commit():
    connection = logged_in()
    connection.intake.hold = True
    assert said(connection, MAIL, BODY) == SENT
    connection.intake.commit()
    assert connection.heard() == f"250 2.0.0 Ok, queued as {connection.intake.submissions[0].id}\r\n".encode()


# --- limits that end in no reply of their own, by their names ---


def test_handshake_timeout():
    connection = Connection(handshake=False)
    connection.clock.advance(10)
    assert connection.transport.aborted and said(connection) == []


def test_data_rate():
    connection = logged_in()
    connection.say(MAIL)
    for _ in range(30):
        assert not connection.transport.disconnecting
        connection.say(b"a" * 499)
        connection.clock.advance(1)
    assert said(connection) == ["421 4.4.2", "closed"]


def test_memory_of_a_session_whose_client_sends_on_and_on():
    connection = logged_in()
    connection.intake.hold = True
    connection.say(MAIL + BODY)
    sent = 0
    while connection.transport.producerState != "paused":
        connection.say(b"NOOP\r\n" * 1000)
        sent += 6000
    assert sent <= PENDING_LIMIT + 6000 and PENDING_LIMIT + READ_SIZE <= 64 * 1024
    assert connection.transport.bufferSize == READ_SIZE


def test_memory_of_a_session_that_waits_for_its_turn():
    connection = logged_in()
    connection.say((FROM + TO + b"RSET\r\n") * 100)
    assert connection.transport.producerState == "paused"
    connection.clock.advance(0)
    assert connection.transport.producerState == "producing" or connection.transport.disconnecting


def test_memory_of_a_message():
    assert SMALL_CONTENT == 64 * 1024
