"""A server that root starts and that then is somebody else: what it can still do, and what it cannot any more."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import smtplib
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import smtpeter
from smtpeter.auth.certificate import ensure_certificate
from tests.integration.gateway import START_TIMEOUT, Gateway, send, wait_for

CONTENT = b"From: a@example.com\r\nTo: b@example.net\r\nSubject: Hello\r\n\r\nHello\r\n"
USER = "nobody"


# Opens one directory to everybody, for this command alone: in a mount namespace of its own, through an overlay.
OPENED = """
set -e
mkdir "$1/upper" "$1/work"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$2"
chmod o+x "$2"
shift 2
exec "$@"
"""


def closed_directory():
    """The first directory on the way to this Python that other users cannot enter, such as root's home; or None."""
    for path in (Path(sys.base_prefix), Path(sys.prefix), Path(smtpeter.__file__).parent):
        for directory in reversed([path, *path.parents]):
            if not directory.stat().st_mode & stat.S_IXOTH:
                return directory
    return None


def way_for_others(directory):
    """What has to stand before a command so that another user can run this Python; needs an empty directory."""
    closed = closed_directory()
    return [] if closed is None else ["unshare", "-m", "sh", "-c", OPENED, "sh", str(directory), str(closed)]


def reason_to_skip():
    if os.geteuid() != 0:
        return "only root can become somebody else"
    with tempfile.TemporaryDirectory() as directory:
        attempt = [sys.executable, "-c", f"import os; os.setuid({pwd.getpwnam(USER).pw_uid}); import smtpeter.tap"]
        try:
            subprocess.run([*way_for_others(directory), *attempt], cwd="/", check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return f"the user {USER} has no access to this Python or to smtpeter"
    return None


REASON = reason_to_skip()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def low_port():
    """A free port that only root may bind."""
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.skip("no port below 1024 is free")


class Dropping(Gateway):
    """Started by root, with twistd's options as they are given."""

    def __init__(self, directory, extra=""):
        super().__init__(directory, 'mode = "capture"', extra)
        low = low_port()
        self.config.write_text(self.config.read_text().replace(f"tcp:{self.smtps}:", f"tcp:{low}:"))
        self.smtps = low
        self.data = directory / "data"

    def way_to_run(self):
        return way_for_others(tempfile.mkdtemp(dir=self.config.parent))

    def start(self, *options):
        self.process = self.launch("-n", "--pidfile=", "--uid", USER, "--gid", "nogroup", *options)
        return self.wait_until_up()

    def refused(self):
        """Why there was no start."""
        process = self.launch("-n", "--pidfile=", "--uid", USER, "--gid", "nogroup")
        assert process.wait(START_TIMEOUT) == 1
        return [line for line in self.log.read_text().splitlines() if line.startswith("smtpeter: ")]

    def shown(self, port=None):
        """The certificate that a new session is shown."""
        context = ssl._create_unverified_context()
        if port == self.smtp:
            with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
                client.starttls(context=context)
                return client.sock.getpeercert(binary_form=True)
        connection = socket.create_connection(("127.0.0.1", port or self.smtps), timeout=10)
        with context.wrap_socket(connection) as tls:
            return tls.getpeercert(binary_form=True)


@pytest.fixture
def directory():
    """Where the user may go: pytest's own directories are root's alone."""
    directory = Path(tempfile.mkdtemp(prefix="smtpeter-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def make(directory):
    made = []

    def make(extra=""):
        gateway = Dropping(directory, extra)
        made.append(gateway)
        return gateway

    yield make
    for gateway in made:
        gateway.end()


def give(path):
    """Make a directory that belongs to the user."""
    path.mkdir(mode=0o700)
    user = pwd.getpwnam(USER)
    os.chown(path, user.pw_uid, user.pw_gid)


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


def test_ports_are_bound_as_root_and_nothing_of_root_is_left(make):
    gateway = make()
    give(gateway.data)
    login = gateway.add_login()
    gateway.start("--umask", "022")
    status = status_of(gateway.process.pid)
    uid, gid = (str(number) for number in pwd.getpwnam(USER)[2:4])
    assert status["Uid"] == [uid] * 4 and status["Gid"] == [gid] * 4
    assert set(status["Groups"]) <= {gid}
    assert {int(status[name][0], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    assert "with the rights of root" not in gateway.log.read_text()
    with gateway.connect(login) as client:  # on the port that only root could bind
        small = send(client, "a@example.com", ["b@example.net"], CONTENT)
        large = send(client, "a@example.com", ["b@example.net"], CONTENT + b"x" * 70 + b"\r\n" + b"y\r\n" * 200_000)
    for id in (small, large):
        wait_for(lambda id=id: gateway.json("message", "show", id)["state"] == "delivered")
    gateway.json("account", "add", "second@example.com")  # root's commands, while the server runs
    assert len(gateway.raw(large)) > 600_000
    made = [gateway.data, *gateway.data.rglob("*")]
    assert len(made) > 8
    assert {path.stat().st_uid for path in made} == {int(uid)}
    public = {"ca.pem", "fullchain.pem"}
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077 and path.name not in public] == []
    gateway.stop()


def test_a_data_directory_that_root_made_is_refused_with_the_command_that_helps(make):
    gateway = make()
    login = gateway.add_login()
    (line,) = gateway.refused()
    assert f"{gateway.data} belongs to root" in line
    command = f"chown -R {USER}: {gateway.data}"
    assert line.endswith(f": {command}")
    subprocess.run(command.split(), check=True)
    gateway.start()
    with gateway.connect(login) as client:
        send(client, "a@example.com", ["b@example.net"], CONTENT)


def test_one_file_that_a_server_of_root_s_left_is_refused_too(make):
    gateway = make()
    give(gateway.data)
    gateway.add_login()
    os.chown(gateway.data / "smtpeter.db", 0, 0)
    (line,) = gateway.refused()
    assert f"{gateway.data / 'smtpeter.db'} belongs to root" in line
    assert "belongs to root" in gateway.run("check", check=False).stdout.decode()


# --- certificates that only root can read


def install(directory, name):
    """Another certificate, as certbot has them: a directory of root's, and names that point into another one."""
    archive, live = directory / "archive", directory / "live"
    made = ensure_certificate(archive / name, "localhost", time.time())
    live.mkdir(mode=0o700, exist_ok=True)
    for file in made:
        link = live / f"{file.name}.new"
        link.symlink_to(file)
        link.replace(live / file.name)


def tls_of(directory):
    live = directory / "live"
    return f'[tls]\ncertificate = "{live / "fullchain.pem"}"\nprivate_key = "{live / "privkey.pem"}"\n'


def test_a_renewed_certificate_that_only_root_can_read_is_told_of_and_the_old_one_stays(make, directory):
    install(directory, "one")
    gateway = make(tls_of(directory))
    give(gateway.data)
    warnings = gateway.json("check")["warnings"]
    assert any("cannot be read by the user nobody" in line and "no renewed one" in line for line in warnings)
    gateway.start()
    assert f"cannot be read by the user {USER}" in gateway.log.read_text()
    first = gateway.shown()
    session = smtplib.SMTP_SSL("localhost", gateway.smtps, context=ssl._create_unverified_context())
    install(directory, "two")
    for _ in range(3):
        time.sleep(1.1)
        assert gateway.shown() == first
    assert session.noop()[0] == 250
    assert gateway.log.read_text().count("cannot be read by the user") == 1, "told once"


def test_a_certificate_that_a_hook_hands_over_is_seen_while_sessions_go_on(make, directory):
    """The hook that docs/operating.md shows."""
    install(directory, "one")
    install(directory, "two")
    handed = directory / "tls"
    handed.mkdir(mode=0o755)
    hook = directory / "hook"
    hook.write_text(
        "#!/bin/sh -e\n"
        f'install -m 0640 -g nogroup "$RENEWED_LINEAGE/privkey.pem" {handed}/privkey.pem.new\n'
        f'install -m 0644 "$RENEWED_LINEAGE/fullchain.pem" {handed}/fullchain.pem.new\n'
        f"mv {handed}/privkey.pem.new {handed}/privkey.pem\n"
        f"mv {handed}/fullchain.pem.new {handed}/fullchain.pem\n"
    )
    hook.chmod(0o755)

    def renew(name):
        subprocess.run([hook], env={**os.environ, "RENEWED_LINEAGE": str(directory / "archive" / name)}, check=True)

    renew("one")
    gateway = make(f'[tls]\ncertificate = "{handed}/fullchain.pem"\nprivate_key = "{handed}/privkey.pem"\n')
    give(gateway.data)
    assert not any("no renewed one" in line for line in gateway.json("check")["warnings"])
    gateway.start()
    first = gateway.shown()
    session = smtplib.SMTP_SSL("localhost", gateway.smtps, context=ssl._create_unverified_context())
    renew("two")
    wait_for(lambda: gateway.shown() != first)
    assert len({gateway.shown(port) for port in (gateway.smtp, gateway.smtps, gateway.https)}) == 1
    assert session.noop()[0] == 250
    log = gateway.log.read_text()
    assert "the certificate was read again" in log and "broken" not in log and "cannot be read" not in log


# --- as a daemon


def test_a_daemon_owns_its_log_and_its_pidfile_and_can_begin_a_new_log(make, directory):
    gateway = make()
    give(gateway.data)
    give(directory / "logs")
    give(directory / "run")
    log, pidfile = directory / "logs" / "smtpeter.log", directory / "run" / "pid"
    starter = gateway.launch("--uid", USER, "--gid", "nogroup", "--pidfile", pidfile, "--logfile", log)
    assert starter.wait(START_TIMEOUT) == 0, gateway.log.read_text()
    pid = int(pidfile.read_text())
    try:
        wait_for(lambda: gateway.health() == 200)
        assert status_of(pid)["Uid"] == [str(pwd.getpwnam(USER).pw_uid)] * 4
        assert log.owner() == USER and stat.S_IMODE(log.stat().st_mode) == 0o600
        os.kill(pid, signal.SIGUSR1)
        wait_for((directory / "logs" / "smtpeter.log.1").exists)
        os.kill(pid, signal.SIGHUP)
        wait_for(lambda: "SIGHUP" in log.read_text())
        assert log.owner() == USER and stat.S_IMODE(log.stat().st_mode) == 0o600
        assert gateway.health() == 200
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), 60)
    assert not pidfile.exists()
    assert "smtpeter has ended" in log.read_text()
