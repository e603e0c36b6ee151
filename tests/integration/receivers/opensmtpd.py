"""OpenSMTPD as a receiver: without PIPELINING, SMTPUTF8 and CHUNKING, and always with 8BITMIME and SIZE."""

from __future__ import annotations

from pathlib import Path

from tests.integration.receivers.offer import EVERYTHING, EXTENSIONS, Offer, RealReceiver
from tests.integration.receivers.root import Root

_CONFIGURATION = """
{pki}
smtp max-message-size {size}
{filters}
table everybody {{ "@" = "mailbox" }}
listen on {address} port {port} hostname {hostname} {options}
action "keep" mda "/keep '%{{sender}}' '%{{rcpt}}'" virtual <everybody>
match from any for any action "keep"
"""
_KEEP = """#!/bin/sh
name=$(mktemp /var/mail/tmp/XXXXXXXXXX) || exit 75
{ printf 'Return-path: <%s>\\nEnvelope-to: %s\\n' "$1" "$2" && cat; } >"$name" || exit 75
mv "$name" /var/mail/new/
"""


class OpenSmtpd(RealReceiver):
    """Debian's opensmtpd, of a release in which it can use its keys: before 7.3 it could not with OpenSSL 3, and every
    handshake failed.  ``greylists`` has it say 451 to everybody, for ever."""

    def __init__(
        self, address: str, port: int, offer: Offer = EVERYTHING, hostname: str = "mx.opensmtpd.example"
    ) -> None:
        super().__init__(address, port, offer, hostname)
        assert {"8BITMIME", "SIZE"} <= offer.extensions <= EXTENSIONS
        self._root = Root("opensmtpd7", ("opensmtpd", "opensmtpq"))
        self._root.make("var/lib/opensmtpd/empty")
        self._root.make("var/spool")
        self._root.make("var/run")
        self._root.make("run")
        self._root.write("keep", _KEEP, mode=0o755)
        self._root.write("etc/ssl/certs/ca-certificates.crt", "")
        options, pki, filters = "", "", {}
        if offer.certificate is not None:
            self._root.write("etc/mx.pem", offer.certificate.read_bytes(), mode=0o600)
            pki = f'pki {hostname} cert "/etc/mx.pem"\npki {hostname} key "/etc/mx.pem"'
            options = f"tls{'-require' if offer.demands_tls else ''} pki {hostname} "
        if offer.greylists:
            filters["grey"] = 'phase rcpt-to match src { "127.0.0.0/8" } reject "451 4.7.1 Greylisted"'
        if not offer.ehlo:
            filters["old"] = 'phase ehlo match src { "127.0.0.0/8" } reject "502 5.5.1 What is EHLO?"'
        if filters:
            options += f"filter {{ {', '.join(filters)} }} "
        if "DSN" not in offer.extensions:
            options += "no-dsn"
        self._root.write(
            "etc/smtpd.conf",
            _CONFIGURATION.format(
                pki=pki,
                size=offer.size,
                filters="\n".join(f'filter "{name}" {rule}' for name, rule in filters.items()),
                address=address,
                port=port,
                hostname=hostname,
                options=options,
            ),
            mode=0o600,
        )

    @property
    def maildir(self) -> Path:
        return self._root.path / "var/mail"

    def start(self) -> OpenSmtpd:
        self._root.start("smtpd", "-d", "-v", "-f", "/etc/smtpd.conf")
        self.wait_until_up()
        return self

    def stop(self) -> None:
        self._root.remove()

    def log(self) -> str:
        return self._root.output.read_text(errors="replace") if self._root.output.exists() else ""
