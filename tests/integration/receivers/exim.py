"""Exim as a receiver."""

from __future__ import annotations

from pathlib import Path

from tests.integration.receivers.offer import EVERYTHING, Offer, RealReceiver
from tests.integration.receivers.root import Root

_CONFIGURATION = """
primary_hostname = {hostname}
local_interfaces = {address}.{port}
pid_file_path = /var/run/exim.pid
log_file_path = /var/log/exim4/%slog
log_selector = +all
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
smtp_accept_max = 500
smtp_accept_max_per_connection = 0
smtp_accept_queue = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 200
message_size_limit = {size}
accept_8bitmime = {eight}
smtputf8_advertise_hosts = {utf8}
pipelining_advertise_hosts = {pipelining}
chunking_advertise_hosts = {chunking}
dsn_advertise_hosts = {dsn}
prdr_enable = false
{tls}
acl_smtp_helo = helo
acl_smtp_mail = mail
acl_smtp_rcpt = rcpt
acl_smtp_dkim = dkim
acl_smtp_data = data

begin acl

helo:
  {helo}
  accept

mail:
  {mail}
  accept

rcpt:
  {rcpt}
  accept

dkim:
  accept dkim_status = pass
    logwrite = DKIM-PASS d=$dkim_cur_signer a=$dkim_algo
  accept logwrite = DKIM-FAIL d=$dkim_cur_signer a=$dkim_algo $dkim_verify_status $dkim_verify_reason

data:
  accept

begin routers

everybody:
  driver = accept
  transport = keep

begin transports

keep:
  driver = appendfile
  directory = /var/mail
  maildir_format
  user = mailbox
  return_path_add
  envelope_to_add
  create_file = anywhere
  mode_fail_narrower = false
"""
_WITHOUT_EHLO = """deny message = 502 5.5.1 What is EHLO?
    condition = ${if eqi{${length_4:$smtp_command}}{EHLO}}"""
_SEEN = "/var/spool/exim4/seen/${sha1:$sender_address/$local_part@$domain}"


class Exim(RealReceiver):
    """Debian's exim4-daemon-light.  It also verifies DKIM: ``DKIM-PASS d=... a=...`` in its log, of keys that
    ``nameserver`` (an address whose port 53 answers) knows."""

    def __init__(
        self,
        address: str,
        port: int,
        offer: Offer = EVERYTHING,
        hostname: str = "mx.exim.example",
        nameserver: str = "127.0.0.1",
    ) -> None:
        super().__init__(address, port, offer, hostname)
        self._root = Root("exim", ("Debian-exim",))
        self._root.write("etc/resolv.conf", f"nameserver {nameserver}\noptions timeout:2 attempts:2\n")
        self._root.make("var/spool/exim4/seen", "Debian-exim", 0o777)
        self._root.make("var/spool/exim4", "Debian-exim")
        self._root.make("var/log/exim4", "Debian-exim")
        self._root.make("var/run", "Debian-exim")
        tls = "tls_advertise_hosts ="
        if offer.certificate is not None:
            self._root.write("etc/exim4/mx.pem", offer.certificate.read_bytes(), "Debian-exim", 0o600)
            tls = "tls_advertise_hosts = *\ntls_certificate = /etc/exim4/mx.pem\ntls_privatekey = /etc/exim4/mx.pem"
        greylist = (
            f"defer message = 4.7.1 Greylisted\n    condition = ${{if !exists{{{_SEEN}}}}}\n"
            f"    condition = ${{run{{/usr/bin/touch {_SEEN}}}{{yes}}{{yes}}}}"
        )
        hosts = {name: "*" if name in offer.extensions else "" for name in offer.extensions}
        self._root.write(
            "etc/exim4/exim4.conf",
            _CONFIGURATION.format(
                hostname=hostname,
                address=address,
                port=port,
                size=offer.size if "SIZE" in offer.extensions else 0,
                eight=str("8BITMIME" in offer.extensions).lower(),
                utf8=hosts.get("SMTPUTF8", ""),
                pipelining=hosts.get("PIPELINING", ""),
                chunking=hosts.get("CHUNKING", ""),
                dsn=hosts.get("DSN", ""),
                tls=tls,
                helo="" if offer.ehlo else _WITHOUT_EHLO,
                mail="deny message = 5.7.0 Encryption needed\n    !encrypted = *" if offer.demands_tls else "",
                rcpt=greylist if offer.greylists else "",
            ),
        )

    @property
    def maildir(self) -> Path:
        return self._root.path / "var/mail"

    def start(self) -> Exim:
        self._root.start("exim4", "-bdf", "-q1m")
        self.wait_until_up()
        return self

    def stop(self) -> None:
        self._root.remove()

    def log(self) -> str:
        files = [self._root.output, *(self._root.path / "var/log/exim4").glob("*log")]
        return "".join(path.read_text(errors="replace") for path in files if path.exists())
