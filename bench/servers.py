"""The servers that are measured, each pinned to one core and started in a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import postfix

from smtpeter.auth.certificate import ensure_certificate

HERE = Path(__file__).parent
SERVER_CORE, CLIENT_CORE = "0", "1"
SCRIPTS = Path(sys.executable).parent


class Server(Protocol):
    """Something to be measured, on a port that speaks TLS from the start."""

    name: str
    port: int
    user: str
    password: str

    def cpu_seconds(self) -> float:
        """CPU time of its processes so far."""

    def unfinished(self) -> int:
        """How many messages it still has to deliver."""

    def stop(self) -> None:
        """End it."""


def process_seconds(pid: int) -> float:
    """CPU time of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Smtpeter:
    """With ``relay`` (host:port) it delivers there; else its queue is paused: accepting only, like a hold queue."""

    name = "smtpeter"

    def __init__(
        self,
        directory: Path,
        port: int,
        relay: str | None = None,
        *,
        delivery: str = "",
        settings: str = "",
        before: tuple[str, ...] = (),
        cores: str = SERVER_CORE,
    ) -> None:
        """``settings`` are further lines of its configuration, ``before`` a command that starts its own.  ``delivery``
        are lines of its own instead of ``relay``."""
        self.port = port
        self.http_port = port + 1
        self.https_port = port + 2
        directory.mkdir(parents=True)
        self._config = directory / "smtpeter.toml"
        self.database = directory / "data" / "smtpeter.db"
        local = "interface=127.0.0.1"
        if not delivery:
            delivery = 'mode = "capture"' if relay is None else f'mode = "relay"\nrelay = "smtp://{relay}"'
        self._config.write_text(
            f'hostname = "localhost"\ndata_dir = "{directory / "data"}"\n[listen]\nsmtp = []\nmx = []\n'
            f'https = ["tcp:{self.https_port}:{local}"]\n'
            f'smtps = ["tcp:{port}:{local}"]\nhttp = ["tcp:{self.http_port}:{local}"]\n'
            f"[delivery]\n{delivery}\n{settings}"
        )
        self._config.chmod(0o600)
        self.command("account", "add", "bench@example.com")
        login = self.command("login", "add", "--account", "bench@example.com")
        self.user, self.password = login["username"], login["password"].replace(" ", "")
        self.token = self.command("token", "add", "--account", "bench@example.com")["token"]
        if 'mode = "capture"' in delivery:
            self.command("queue", "pause")
        self._log = (directory / "log").open("wb")
        server = [SCRIPTS / "twistd", "-n", "--pidfile=", "smtpeter", "--config", self._config]
        self._process = subprocess.Popen(
            ["taskset", "-c", cores, *before, *server],
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        for _ in range(100):
            time.sleep(0.1)
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/healthz").close()
                return
            except OSError:
                continue
        raise SystemExit(f"smtpeter did not start, see {self._log.name}")

    def command(self, *arguments: str) -> Any:
        """Run a command beside it; what it tells."""
        command = [SCRIPTS / "smtpeter", "--config", self._config, *arguments, "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    def cpu_seconds(self) -> float:
        return process_seconds(self._process.pid)

    def peak_memory(self) -> int:
        """The most memory that it had so far, in KiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    def unfinished(self) -> int:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM recipient WHERE state < 4").fetchone()[0])

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)  # what it was started by may not hand the signal on
        self._process.wait()
        self._log.close()


class Postfix(postfix.Postfix):
    """Postfix, into its hold queue or to a relay."""

    name = "Postfix"
    user, password = postfix.USER, postfix.PASSWORD

    def __init__(self, directory: Path, port: int, relay: str | None = None) -> None:
        directory.mkdir(mode=0o755, parents=True)
        files = ensure_certificate(directory / "tls", "localhost", time.time())
        super().__init__(directory / "postfix", port, files.certificate, files.private_key, relay)
        self.start(SERVER_CORE)

    def unfinished(self) -> int:
        waiting = ("maildrop", "incoming", "active", "deferred")
        return sum(len(names) for each in waiting for _, _, names in os.walk(self.queue / each))


class Aiosmtpd:
    """aiosmtpd with a handler that syncs a file for each message; it delivers nothing."""

    name = "aiosmtpd"
    user, password = "bench", "bench-secret"

    def __init__(self, directory: Path, port: int, relay: str | None = None) -> None:
        self.port = port
        files = ensure_certificate(directory / "tls", "localhost", time.time())
        (directory / "mail").mkdir()
        self._process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, sys.executable, HERE / "aiosmtpd_server.py", str(port), directory / "mail",
             files.certificate, files.private_key, self.user, self.password]
        )  # fmt: skip
        time.sleep(1)

    def cpu_seconds(self) -> float:
        return process_seconds(self._process.pid)

    def unfinished(self) -> int:
        return 0

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


class Sink:
    """A next hop that takes everything and keeps nothing: Postfix's smtp-sink, on the client's core."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        sink = shutil.which("smtp-sink", path=os.environ["PATH"] + ":/usr/sbin")
        if sink is None:
            raise SystemExit("smtp-sink is missing: install Debian's postfix")
        self._process = subprocess.Popen(
            ["taskset", "-c", CLIENT_CORE, sink, "-u", "nobody", "-a", self.address, "1000"]
        )

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
