"""A connection to the SMTP protocol, driven by hand: no sockets, a clock that stands still, a store in memory."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from smtpeter.features.catalog import Catalog
from smtpeter.features.options import OptionTable
from smtpeter.intake.deadlines import Timeouts
from smtpeter.intake.door import SmtpDoor
from smtpeter.intake.features import FeatureIntake
from smtpeter.intake.listener import Sessions
from smtpeter.intake.message import MessagePolicy
from smtpeter.intake.smtp import SmtpProtocol
from smtpeter.model.feature import Option
from smtpeter.model.reply import Reply
from smtpeter.smtp.server import SessionLimits
from tests.fakes.intake import FakeContentStore, FakeDirectory, FakeIntake, FakeMetrics, FixedClock

LIMITS = SessionLimits(
    message_size=1_000_000, recipients=3, command_line=2048, errors=20, auth_failures=3, junk_commands=100
)
SWITCHES = OptionTable(
    (
        Option("inlinecss", "inlines style sheets", aliases=("inlinizecss",)),
        Option("trackclicks", "tracks clicks"),
        Option("trackopens", "tracks opens"),
    )
)
POLICY = MessagePolicy(
    "mx.test", header_size=1000, received_fields=5, expire=3600.0, features=FeatureIntake(Catalog(options=SWITCHES))
)
TIMEOUTS = Timeouts(command=300.0, handshake=10.0, data_rate=500)
AUTH = b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"
MAIL = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
BODY = b"Subject: hi\r\n\r\nhello\r\n.\r\n"


class Gate:
    refusal: Reply | None = None


class Handle:
    early = b""

    def get_protocol_version_name(self):
        return "TLSv1.3"

    def get_cipher_name(self):
        return "AES"

    def recv(self, size, flags):
        if not self.early:
            raise BlockingIOError
        return self.early[:size]


class Transport(StringTransport):
    """Remembers what was asked of it; cuts nothing by itself."""

    aborted = tls = nodelay = False

    def setTcpNoDelay(self, enabled):
        self.nodelay = enabled

    def abortConnection(self):
        self.aborted = True

    def startTLS(self, context, normal=True):
        self.tls = True

    def getHandle(self):
        return Handle()


class Connection:
    """A session over TLS from the start, greeted, unless ``encrypted`` or ``handshake`` say otherwise.

    ``features`` is a FeatureIntake in place of one that knows switches and has nothing behind them.
    """

    def __init__(self, *, encrypted=True, mx=False, sessions=None, handshake=True, timeouts=TIMEOUTS, features=None):
        self.clock = Clock()
        self.directory = FakeDirectory()
        self.intake = FakeIntake()
        self.content = FakeContentStore()
        self.gate = Gate()
        self.wall = FixedClock()
        self.metrics = FakeMetrics()
        self.sessions = Sessions(100, 100) if sessions is None else sessions
        self.door = SmtpDoor(
            self.directory.portal(), self.intake, self.content, self.gate, None, self.wall, self.clock, self.metrics,
            LIMITS, POLICY if features is None else POLICY._replace(features=features), timeouts,
        )  # fmt: skip
        self.protocol = SmtpProtocol(self.door, self.sessions, encrypted=encrypted, mx=mx)
        self.transport = Transport()
        self.protocol.makeConnection(self.transport)
        if encrypted and handshake:
            self.protocol.handshakeCompleted()

    def say(self, data):
        self.protocol.dataReceived(data)
        return self.heard()

    def heard(self):
        output = self.transport.value()
        self.transport.clear()
        return output

    def codes(self, data=b""):
        return [int(line[:3]) for line in self.say(data).split(b"\r\n") if line and line[3:4] == b" "]

    def log_in(self):
        self.heard()
        assert self.codes(b"EHLO client.test\r\n" + AUTH) == [250, 235]
        return self

    def lose(self):
        self.protocol.connectionLost(Failure(ConnectionDone()))
