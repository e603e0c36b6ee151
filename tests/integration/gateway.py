"""A real server for tests: its own process, real ports, real files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from pathlib import Path

SCRIPTS = Path(sys.executable).parent
START_TIMEOUT = 60.0


def free_ports(count):
    """Ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(what, timeout=20.0, message="it did not happen in time"):
    """Ask until the answer is true, and give it back.  ``message`` may be a function that makes it in the end."""
    end = time.monotonic() + timeout
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < end, message() if callable(message) else message
        time.sleep(0.05)


class Gateway:
    """One configuration in a directory of its own; its process may be started, stopped and killed many times.

    ``scripts`` is where the programs are that are run, ``cwd`` the directory in which they are.
    """

    scripts = SCRIPTS
    cwd = Path("/")

    def __init__(self, directory: Path, delivery: str, extra: str = "", environment=None):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.smtp, self.alternative, self.mx, self.smtps, self.http, self.https = free_ports(6)
        self.config = directory / "smtpeter.toml"
        self.config.write_text(
            f"""
hostname = "localhost"
data_dir = "{directory / "data"}"
[listen]
smtp = ["tcp:{self.smtp}:interface=127.0.0.1", "tcp:{self.alternative}:interface=127.0.0.1"]
mx = ["tcp:{self.mx}:interface=127.0.0.1"]
smtps = ["tcp:{self.smtps}:interface=127.0.0.1"]
http = ["tcp:{self.http}:interface=127.0.0.1"]
https = ["tcp:{self.https}:interface=127.0.0.1"]
[delivery]
{delivery}
{extra}
"""
        )
        self.environment = {**os.environ, **(environment or {})}
        self.process = None
        self.log = directory / "log"
        self.secrets = []

    # --- the process ---

    def launch(self, *options, prefix=()):
        """Begin a server with these options of twistd's, behind ``prefix``; what becomes of it is for others to see."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*prefix, *self.way_to_run(), self.scripts / "twistd", *options, "smtpeter", "--config", self.config],
                cwd=self.cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self, *prefix):
        self.process = self.launch("-n", "--pidfile=", prefix=prefix)
        return self.wait_until_up()

    def wait_until_up(self):
        wait_for(self._is_up, START_TIMEOUT, lambda: f"the server did not start: {self.log.read_text()[-3000:]}")
        return self

    def _is_up(self):
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return self.health() == 200

    def health(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/healthz", timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log.read_text()[-3000:]

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def end(self):
        """End the process; whatever was tested, no secret may have come to its log."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        log = self.log.read_bytes() if self.log.exists() else b""
        for secret in self.secrets:
            assert secret not in log, f"a secret is in {self.log}"

    # --- the command ---

    def way_to_run(self):
        """What has to stand before each command."""
        return ()

    def run(self, *arguments, check=True, stdin=None):
        result = subprocess.run(
            [*self.way_to_run(), self.scripts / "smtpeter", "--config", self.config, *arguments],
            cwd=self.cwd,
            env=self.environment,
            capture_output=True,
            timeout=60,
            input=stdin,
        )
        if check:
            assert result.returncode == 0, (arguments, result)
        return result

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json").stdout)

    def raw(self, id):
        return self.run("message", "raw", id).stdout

    def add_login(self):
        """A username and a password that may send."""
        self.json("account", "add", "owner@example.com")
        login = self.json("login", "add", "--account", "owner@example.com")
        username, password = login["username"], login["password"]
        for form in {password, password.replace(" ", "")}:
            self.secrets += [form.encode(), b64encode(form.encode()), b64encode(f"\0{username}\0{form}".encode())]
        return username, password

    # --- clients ---

    def trust(self):
        """What a strict client needs to believe the server's own certificate."""
        return ssl.create_default_context(cafile=self.directory / "data" / "tls" / "ca.pem")

    def connect(self, login, port=None):
        """An smtplib client that has logged in."""
        port = port or self.smtps
        if port == self.smtps:
            client = smtplib.SMTP_SSL("localhost", port, timeout=30, context=self.trust())
        else:
            client = smtplib.SMTP("localhost", port, timeout=30)
            client.starttls(context=self.trust())
        client.login(*login)
        return client


def queued_id(reply):
    """The id in ``250 2.0.0 Ok, queued as <id>``."""
    text = reply.decode() if isinstance(reply, bytes) else reply
    lead, _, id = text.strip().rpartition(" ")
    assert lead.endswith("Ok, queued as"), text
    return id


def send(client, sender, recipients, content, mail_options=(), rcpt_options=()):
    """Submit as smtplib would, and give back the id that the server told."""
    code, reply = client.mail(sender, mail_options)
    assert code == 250, reply
    for recipient in recipients:
        code, reply = client.rcpt(recipient, rcpt_options)
        assert code == 250, reply
    code, reply = client.data(content)
    assert code == 250, reply
    return queued_id(reply)
