"""Programs of other people that hand mail over, each used as its users do, and none of them changed.

Every one checks our certificate against ``Door.authority``.
"""

from __future__ import annotations

import json
import re
import smtplib
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.integration.tools import node, perl, tool

SCRIPTS = Path(__file__).parent / "clients"
DSN = {"ret": "HDRS", "envid": "QQ314159", "notify": ["SUCCESS", "FAILURE"], "orcpt": "rfc822;first@example.org"}


class Door(NamedTuple):
    """Where and as whom to log in."""

    port: int
    tls_first: bool
    authority: Path
    username: str
    password: str


class Sent(NamedTuple):
    """What the program made of it: its exit code, and all that it showed."""

    code: int
    shown: str

    @property
    def ids(self):
        """The ids that the server told, as far as the program shows its answers."""
        return re.findall(r"250[ -]2\.0\.0 Ok, queued as (\S+)", self.shown)


def run(command, stdin=None):
    result = subprocess.run([*map(str, command)], capture_output=True, timeout=60, input=stdin)
    return Sent(result.returncode, (result.stdout + result.stderr).decode("utf-8", "replace"))


class _Telling:
    """smtplib's sendmail() does not tell what the server said after the data."""

    def data(self, text):
        code, reply = super().data(text)
        self.told = f"{code} {reply.decode()}"
        return code, reply


class _StartTls(_Telling, smtplib.SMTP):
    pass


class _Tls(_Telling, smtplib.SMTP_SSL):
    pass


class Smtplib:
    """Python's smtplib."""

    several = dsn = utf8 = skips_bad = True

    def send(self, door, sender, recipients, *messages, dsn=False, utf8=False, **_):
        mail_options = ["SMTPUTF8", "BODY=8BITMIME"] if utf8 else []
        rcpt_options = []
        if dsn:
            mail_options += [f"RET={DSN['ret']}", f"ENVID={DSN['envid']}"]
            rcpt_options += [f"NOTIFY={','.join(DSN['notify'])}", f"ORCPT={DSN['orcpt']}"]
        shown = []
        try:
            with self._connect(door) as client:
                client.login(door.username, door.password)
                for message in messages:
                    client.sendmail(sender, recipients, message.read_bytes(), mail_options, rcpt_options)
                    shown.append(client.told)
        except (smtplib.SMTPException, ssl.SSLError) as error:
            return Sent(1, "\n".join([*shown, str(error)]))
        return Sent(0, "\n".join(shown))

    def _connect(self, door):
        context = ssl.create_default_context(cafile=door.authority)
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python does from 3.13 on
        if door.tls_first:
            return _Tls("localhost", door.port, timeout=60, context=context)
        client = _StartTls("localhost", door.port, timeout=60)
        client.starttls(context=context)
        return client


class Swaks:
    """swaks, pipelining."""

    several = dsn = utf8 = False
    skips_bad = True

    def send(self, door, sender, recipients, message, **_):
        # swaks ends the last line itself
        unended = message.with_suffix(".swaks")
        unended.write_bytes(message.read_bytes().removesuffix(b"\r\n"))
        return run(
            [tool("swaks"), "--server", "localhost", "--port", door.port, "--pipeline",
             "--tls-on-connect" if door.tls_first else "--tls", "--tls-verify", "--tls-ca-path", door.authority,
             "--auth", "PLAIN", "--auth-user", door.username, "--auth-password", door.password,
             "--from", sender, "--to", ",".join(recipients), "--data", f"@{unended}"]
        )  # fmt: skip


class Curl:
    """curl, which uses one connection for all that one command sends."""

    several = utf8 = skips_bad = True
    dsn = False

    def send(self, door, sender, recipients, *messages, skip_bad=False, **_):
        return run(
            [tool("curl"), "-sS", "-v", "--ssl-reqd", "--cacert", door.authority,
             "--user", f"{door.username}:{door.password}", "--mail-from", sender,
             *(part for recipient in recipients for part in ("--mail-rcpt", recipient)),
             *(["--mail-rcpt-allowfails"] if skip_bad else []),
             "--upload-file", "{" + ",".join(map(str, messages)) + "}",
             f"{'smtps' if door.tls_first else 'smtp'}://localhost:{door.port}"]
        )  # fmt: skip


class Msmtp:
    """msmtp: GnuTLS and GNU SASL.  When one recipient is refused it sends to none."""

    several = utf8 = skips_bad = False
    dsn = True

    def send(self, door, sender, recipients, message, dsn=False, **_):
        options = [f"--dsn-return={DSN['ret'].lower()}", f"--dsn-notify={','.join(DSN['notify']).lower()}"]
        return run(
            [tool("msmtp"), "--debug", "--host=localhost", f"--port={door.port}", "--tls=on",
             f"--tls-starttls={'off' if door.tls_first else 'on'}", f"--tls-trust-file={door.authority}",
             "--auth=on", f"--user={door.username}", f"--passwordeval=echo '{door.password}'",
             *(options if dsn else []), f"--from={sender}", "--", *recipients],
            message.read_bytes(),
        )  # fmt: skip


class _Script:
    """A small program in another language; it gets its work as JSON."""

    several = dsn = skips_bad = True

    def send(self, door, sender, recipients, *messages, dsn=False, skip_bad=False, compose=None, **_):
        work = {
            **door._asdict(), "host": "localhost", "authority": str(door.authority), "skip_bad": skip_bad,
            "sender": sender, "recipients": recipients, "messages": [str(message) for message in messages],
            "dsn": DSN if dsn else None, "compose": compose,
        }  # fmt: skip
        return run(self.command(), json.dumps(work).encode())


class NetSmtp(_Script):
    """Perl's Net::SMTP, with IO::Socket::SSL and Authen::SASL."""

    utf8 = False

    def command(self):
        return [perl("Net::SMTP", "IO::Socket::SSL", "Authen::SASL"), SCRIPTS / "net_smtp.pl"]


class Nodemailer(_Script):
    """nodemailer, with Node's own TLS."""

    utf8 = True

    def command(self):
        return [node("nodemailer"), SCRIPTS / "nodemailer.cjs"]


CLIENTS = [Smtplib(), Swaks(), Curl(), Msmtp(), NetSmtp(), Nodemailer()]
