"""Where the CPU time of accepting a message goes: each stage alone, in a tight loop, on one core.

    taskset -c 0 python bench/stages.py

The stages are run one after the other with 2 KB messages, each on top of what the ones before it need.  What the sum
lacks of the whole program's figure is Twisted's reactor, the kernel, and the handing over between two threads.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from OpenSSL import SSL
from twisted.internet.defer import succeed

from smtpeter.auth.certificate import ensure_certificate
from smtpeter.clock import WallClock
from smtpeter.intake.heading import HeaderRoom
from smtpeter.intake.message import IncomingMessage, MessagePolicy
from smtpeter.mime.trace import Origin
from smtpeter.model.account import Account, AccountState
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.ids import ENTROPY_BYTES, make_submission_id
from smtpeter.model.reply import Reply
from smtpeter.model.submission import Content, Submission
from smtpeter.smtp import events
from smtpeter.smtp.answers import RECIPIENT_OK, SENDER_OK, START_DATA
from smtpeter.smtp.server import ServerSession, SessionLimits
from smtpeter.store.opening import open_for_command
from smtpeter.store.sqlite.enqueue import Enqueue

ROUNDS = 5000
GROUP = b"MAIL FROM:<sender1@example.com>\r\nRCPT TO:<rcpt1@example.net>\r\nDATA\r\n"
LINE = b"The quick brown fox jumps over the lazy dog and runs away 0123456789 again.\r\n"
HEADER = (
    b"From: Sender <sender@example.com>\r\nTo: Recipient <rcpt@example.net>\r\nSubject: load\r\n"
    b"Date: Sat, 21 Nov 2026 06:00:00 +0000\r\nMessage-ID: <load@example.com>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
)
MESSAGE = HEADER + LINE * 23
BODY = MESSAGE + b".\r\n"
POLICY = MessagePolicy("mail.example.com", 262144, 50, 86400.0)
ORIGIN = Origin("load.example.com", "127.0.0.1", "ESMTPSA", "TLSv1.3 TLS_AES_256_GCM_SHA384")


class Submitter:
    """Just enough of one."""

    account = Account(1, "a@example.com", "", False, AccountState.APPROVED, "", 0.0)
    login = "load"
    options = ()


class Spool:
    """In memory, as small content is."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def finish(self) -> object:
        data = b"".join(self._chunks)
        return succeed(Content(len(data), hashlib.sha256(data).digest(), data))


def measure(name: str, work: Callable[[], object], messages: int = 1) -> float:
    """Print the median of five runs, in microseconds of CPU for each message."""
    figures = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(ROUNDS // messages):
            work()
        figures.append((time.process_time() - start) / (ROUNDS // messages * messages) * 1e6)
    figure = sorted(figures)[2]
    print(f"{name:<58}{figure:8.1f} us")
    return figure


def session() -> Callable[[], object]:
    """The commands and the end of data, without I/O."""
    server = ServerSession("mail.example.com", SessionLimits(50_000_000, 1000, 2048, 20, 3, 100), encrypted=True)
    server.greet()
    server.receive(b"EHLO load.example.com\r\nAUTH PLAIN AGEAYg==\r\n")
    while (event := server.next_event()) is not None:
        if isinstance(event, events.AuthEvent):
            server.reply(Reply(235, "2.7.0", "Ok"))
    answers = {events.MailEvent: SENDER_OK, events.RecipientEvent: RECIPIENT_OK, events.DataEvent: START_DATA}
    done = Reply(250, "2.0.0", "Ok, queued as 01m7yjb580g5h86kt2hp5cb6jm")

    def transaction() -> None:
        for segment in (GROUP, BODY):
            server.receive(segment)
            while (event := server.next_event()) is not None:
                kind = type(event)
                if kind not in (events.ContentEvent, events.TurnOverEvent):
                    server.reply(answers.get(kind, done))
            server.take_output()

    return transaction


def message() -> Callable[[], object]:
    """Id, header, trace fields, checksum."""
    envelope = Envelope("sender1@example.com", (Recipient("rcpt1@example.net", "example.net"),))

    room = HeaderRoom()

    def take() -> None:
        now = time.time()
        id = make_submission_id(int(now * 1000), os.urandom(ENTROPY_BYTES))
        incoming = IncomingMessage(id, now, envelope, ORIGIN, Submitter(), Spool(), POLICY, room)  # type: ignore[arg-type]
        incoming.write(MESSAGE)
        incoming.finish()

    return take


def tls(directory: Path) -> Callable[[], object]:
    """The server's half of two records in and two out, by OpenSSL's memory BIOs as Twisted uses them."""
    files = ensure_certificate(directory, "localhost", time.time())
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(files.certificate))
    context.use_privatekey_file(str(files.private_key))
    server, client = SSL.Connection(context, None), SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    server.set_accept_state()
    client.set_connect_state()

    def move(source: SSL.Connection, target: SSL.Connection) -> bytes:
        try:
            data = source.bio_read(65536)
        except SSL.WantReadError:
            return b""
        target.bio_write(data)
        return data

    for _ in range(6):
        for end, other in ((client, server), (server, client)):
            try:
                end.do_handshake()
            except SSL.WantReadError:
                pass
            move(end, other)

    def encrypted(data: bytes) -> bytes:
        client.send(data)
        return client.bio_read(65536)

    # Records are numbered: each can be decrypted once, so they are prepared for all rounds.
    records = iter([encrypted(segment) for _ in range(5 * ROUNDS) for segment in (GROUP, BODY)])
    replies = (b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data\r\n", b"250 2.0.0 Ok, queued as " + b"x" * 26 + b"\r\n")

    def exchange() -> None:
        for reply in replies:
            server.bio_write(next(records))
            server.recv(32768)
            try:
                server.recv(32768)
            except SSL.WantReadError:
                pass
            server.send(reply)
            server.bio_read(32768)

    return exchange


def store(directory: Path, together: int) -> Callable[[], object]:
    """Rows, journal and commit on the writer's thread, so many messages at a time."""
    opened = open_for_command(f"sqlite://{directory}/bench.db", directory, WallClock())
    content = Content(len(MESSAGE), hashlib.sha256(MESSAGE).digest(), MESSAGE)
    envelope = Envelope("sender1@example.com", (Recipient("rcpt1@example.net", "example.net"),))

    def commit() -> None:
        now = time.time()
        ids = [make_submission_id(int(now * 1000), os.urandom(ENTROPY_BYTES)) for _ in range(together)]
        made = [
            Submission(id, 1, "load", "smtp", envelope, content, now, now, now + 86400, "load", "<load@example.com>")
            for id in ids
        ]
        opened.executor.write(lambda connection: Enqueue.together(connection, [Enqueue(each) for each in made]))

    return commit


def main() -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        directory = Path(name)
        measure("protocol: commands and data", session())
        measure("protocol: header, trace fields, id, checksum", message())
        measure("TLS: four records", tls(directory / "tls"))
        for together in (1, 8, 50):
            measure(f"store: {together} together", store(directory / f"store{together}", together), together)


if __name__ == "__main__":
    main()
