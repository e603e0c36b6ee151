"""Postfix as a receiver, or as a hop on the way to one."""

from __future__ import annotations

import os
import pwd
import shutil
import socketserver
import tempfile
import threading
from pathlib import Path

from bench.postfix import Instance
from tests.integration.receivers.offer import EVERYTHING, EXTENSIONS, Offer, RealReceiver
from tests.integration.tools import postfix

_RECEIVING = """
smtpd_discard_ehlo_keywords = {discard}
message_size_limit = {size}
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = {recipients}
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_peername_lookup = no
local_header_rewrite_clients =
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_base = {directory}
virtual_mailbox_maps = static:mail/
virtual_minimum_uid = 1
virtual_uid_maps = static:{user}
virtual_gid_maps = static:{group}
smtpd_tls_loglevel = 1
smtpd_tls_session_cache_database =
"""
_WITHOUT_EHLO = """
smtpd_command_filter = regexp:{ {/^EHLO .*/ WHAT} }
"""
_TLS = """
smtpd_tls_chain_files = {certificate}
smtpd_tls_security_level = {level}
"""
_KEEPING = """
virtual_mailbox_domains = static:all
"""
_PASSING_ON = """
virtual_mailbox_domains =
default_transport = smtp:[{host}]:{port}
smtp_host_lookup = native
smtp_tls_security_level = none
"""


class Postfix(RealReceiver):
    """Debian's postfix.  With ``next_hop`` (host and port) it keeps nothing and passes everything on; ``main`` are
    further lines of its main.cf."""

    def __init__(
        self,
        address: str,
        port: int,
        offer: Offer = EVERYTHING,
        hostname: str = "mx.postfix.example",
        next_hop: tuple[str, int] | None = None,
        main: str = "",
    ) -> None:
        super().__init__(address, port, offer, hostname)
        postfix()
        self._directory = Path(tempfile.mkdtemp(prefix="smtpeter-postfix-"))
        self._directory.chmod(0o755)
        nobody = pwd.getpwnam("nobody")
        for part in ("tmp", "new", "cur"):
            (self.maildir / part).mkdir(parents=True)
            os.chown(self.maildir / part, nobody.pw_uid, nobody.pw_gid)
        self._greylist = _Greylist() if offer.greylists else None
        lines = _RECEIVING.format(
            discard=", ".join(sorted(EXTENSIONS - offer.extensions)),
            size=offer.size,
            recipients=f"check_policy_service inet:127.0.0.1:{self._greylist.port}" if self._greylist else "permit",
            directory=self._directory,
            user=nobody.pw_uid,
            group=nobody.pw_gid,
        )
        lines += _PASSING_ON.format(host=next_hop[0], port=next_hop[1]) if next_hop else _KEEPING
        if offer.certificate is not None:
            certificate = self._directory / "mx.pem"
            shutil.copyfile(offer.certificate, certificate)
            certificate.chmod(0o600)
            lines += _TLS.format(certificate=certificate, level="encrypt" if offer.demands_tls else "may")
        if not offer.ehlo:
            lines += _WITHOUT_EHLO
        self._instance = Instance(self._directory / "postfix", port, lines + main, address=address, hostname=hostname)

    @property
    def maildir(self) -> Path:
        return self._directory / "mail"

    def start(self) -> Postfix:
        self._instance.start()
        self.wait_until_up()
        return self

    def stop(self) -> None:
        self._instance.stop()
        if self._greylist is not None:
            self._greylist.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def log(self) -> str:
        return self._instance.log.read_text(errors="replace") if self._instance.log.exists() else ""


class _Greylist(socketserver.ThreadingTCPServer):
    """Postfix's policy protocol: whoever comes for the first time with a sender and recipient shall come again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Question)
        self.port = self.server_address[1]
        self.seen: set[tuple[str, str]] = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Question(socketserver.StreamRequestHandler):
    server: _Greylist

    def handle(self) -> None:
        asked: dict[str, str] = {}
        for line in self.rfile:
            name, equals, value = line.decode("utf-8", "replace").rstrip("\n").partition("=")
            if equals:
                asked[name] = value
                continue
            who = (asked.get("sender", ""), asked.get("recipient", ""))
            action = "dunno" if who in self.server.seen else "451 4.7.1 Greylisted"
            self.server.seen.add(who)
            self.wfile.write(f"action={action}\n\n".encode())
            asked = {}
