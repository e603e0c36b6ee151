"""A next hop that is not ours: aiosmtpd, answering each recipient as its local part asks."""

from __future__ import annotations

import threading
from collections import defaultdict

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

RELAY_USER, RELAY_PASSWORD = "relay-user", "relay secret/with:odd@characters"


class Receiver:
    """Keeps what it got in ``messages``: (envelope sender, recipients, octets).

    A local part says what becomes of it: ``hard...`` 550 at RCPT, ``soft...`` 451 at RCPT twice and then 250; mail from
    a ``refused...`` sender gets 554 after its data, everything else 250.  ``lacks`` are keywords that its EHLO does not
    offer, ``size`` is the limit that it tells; both may be changed at any time.
    """

    def __init__(self, port, *, tls=None, tls_first=False, auth=False, lacks=(), address="127.0.0.1"):
        self.lacks = lacks
        self.size = 33_554_432
        self._transports = []
        self.messages = []
        self.options = []
        self.asked = defaultdict(int)
        self.connections = 0
        self._lock = threading.Lock()
        receiver = self

        class Server(SMTP):
            def connection_made(self, transport):
                receiver._transports.append(transport)
                if transport.get_extra_info("sslcontext") is None:
                    receiver.connections += 1
                super().connection_made(transport)

        class Control(Controller):
            def factory(self):
                return Server(
                    self.handler,
                    tls_context=None if tls_first else tls,
                    require_starttls=tls is not None and not tls_first,
                    auth_required=auth,
                    auth_require_tls=not tls_first,
                    authenticator=receiver._authenticate if auth else None,
                    enable_SMTPUTF8=True,
                )

        self.port = port
        self._controller = Control(
            self, hostname=address, server_hostname="localhost", port=port, ssl_context=tls if tls_first else None
        )

    def _authenticate(self, server, session, envelope, mechanism, data):
        right = (data.login, data.password) == (RELAY_USER.encode(), RELAY_PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        lines = [f"250-SIZE {self.size}" if line.startswith("250-SIZE") else line for line in responses]
        offered = [line for line in lines[1:-1] if line[4:].partition(" ")[0] not in self.lacks]
        return [lines[0], *offered, lines[-1]]

    async def handle_RCPT(self, server, session, envelope, address, options):
        with self._lock:
            self.asked[address] += 1
            self.options.append((address, tuple(options), tuple(envelope.mail_options)))
            if address.startswith("hard"):
                return "550 5.1.1 No such user here"
            if address.startswith("soft") and self.asked[address] <= 2:
                return "451 4.7.1 Greylisted, come back later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server, session, envelope):
        if (envelope.mail_from or "").startswith("refused"):
            return "554 5.7.1 This content is not wanted"
        with self._lock:
            self.messages.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content))
        return "250 2.0.0 Thank you"

    def got(self, recipient):
        """The octets of what this recipient got, one item for each time."""
        with self._lock:
            return [content for _, recipients, content in self.messages if recipient in recipients]

    def hang_up(self):
        """Close every connection."""
        for transport in self._transports:
            self._controller.loop.call_soon_threadsafe(transport.close)

    def start(self):
        self._controller.start()
        return self

    def stop(self):
        self._controller.stop()
