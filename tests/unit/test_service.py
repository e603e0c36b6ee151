"""The whole program over ports in memory: how it starts, what it serves, how it ends."""

from __future__ import annotations

import fcntl
import os
import resource
import sqlite3
import time
from dataclasses import replace

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs

from smtpeter.auth.certificate import ensure_certificate
from smtpeter.auth.keys import load_or_create
from smtpeter.errors import ConfigError, StorageUnavailable
from smtpeter.service import SESSION_GRACE, START_INTERVAL, STORE_TROUBLE, CannotStart, Gateway
from smtpeter.settings import DemoPorts, Limits, Listen, Tls, demo_settings
from tests.fakes.reactor import FakeReactor
from tests.fakes.smtp_connection import Transport

PORTS = DemoPorts()


@pytest.fixture(autouse=True)
def process():
    """What a start changes of the process."""
    umask = os.umask(0o022)
    os.umask(umask)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    os.umask(umask)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)


class Running:
    def __init__(self, settings):
        self.reactor = FakeReactor()
        self.ready = 0
        self.gateway = Gateway(settings, self.reactor, self._is_ready)

    def _is_ready(self):
        self.ready += 1

    def start(self):
        self.gateway.privilegedStartService()
        self.gateway.startService()
        return self

    def stop(self):
        self.reactor.wait_for(self.gateway.stopService())

    def connect(self, port):
        factory = next(factory for number, factory, *_ in self.reactor.tcpServers if number == port)
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 4000))
        if protocol is None:
            return None, None
        transport = Transport(peerAddress=IPv4Address("TCP", "127.0.0.1", 4000))
        protocol.makeConnection(transport)
        return protocol, transport

    def get(self, path):
        factory = next(factory for number, factory, *_ in self.reactor.tcpServers if number == PORTS.http)
        channel = factory.buildProtocol(None)
        transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 4000))
        channel.makeConnection(transport)
        channel.dataReceived(b"GET " + path + b" HTTP/1.0\r\n\r\n")
        return transport.value()


@pytest.fixture
def settings(tmp_path):
    return demo_settings(tmp_path / "data")


@pytest.fixture
def running(settings):
    running = Running(settings).start()
    yield running
    running.stop()


# --- while it runs ---


def test_every_port_is_bound_and_answers(running):
    assert {number for number, *_ in running.reactor.tcpServers} == set(PORTS)
    for port in (PORTS.smtp, PORTS.submission):
        protocol, transport = running.connect(port)
        assert transport.value() == b"220 localhost ESMTP smtpeter\r\n"
        protocol.connectionLost()
    assert running.get(b"/healthz").endswith(b"\r\n\r\nok\n")
    assert running.ready == 1


def test_many_connections_may_wait_unless_the_endpoint_says_how_many(settings):
    listen = Listen(("tcp:2525", "tcp:2526:backlog=7", "tcp:2527:127.0.0.1:8", r"tcp:2528:\:\:1"), (), (), (), ())
    running = Running(replace(settings, listen=listen)).start()
    assert [(number, backlog) for number, _, backlog, _ in running.reactor.tcpServers] == [
        (2525, 1024),
        (2526, 7),
        (2527, 8),
        (2528, 1024),
    ]
    running.stop()


def test_health_tells_of_a_store_that_fails_and_forgets_it_when_it_does_not(running):
    running.gateway._store_trouble(StorageUnavailable("disk I/O error"))
    assert b" 503 " in running.get(b"/healthz")
    running.reactor.advance(STORE_TROUBLE)
    assert b" 200 " in running.get(b"/healthz")


def test_the_door_with_tls_says_nothing_in_clear(running):
    protocol, transport = running.connect(PORTS.smtps)
    assert transport.value() == b""
    with capturedLogs() as events:
        protocol.dataReceived(b"EHLO x\r\n")
        protocol.connectionLost(None)
    assert b"220" not in transport.value()
    assert [event["log_level"].name for event in events] == ["info"]


def test_numbers_are_shown(running):
    shown = running.get(b"/metrics")
    assert b"smtpeter_smtp_sessions_total" in shown
    assert b'smtpeter_sites{condition="paused"} 0.0' in shown
    assert b'smtpeter_delivery_connections{place="taken"} 0.0' in shown


def test_whoever_comes_before_there_is_something_to_serve_is_sent_away(settings):
    early = Running(settings)
    early.gateway.privilegedStartService()
    _, transport = early.connect(PORTS.smtp)
    assert transport.value() == b"421 4.3.2 localhost The service is starting; try again later\r\n"
    assert transport.disconnecting
    assert early.connect(PORTS.smtps) == (None, None)


@pytest.mark.parametrize(
    ("limits", "said", "seconds"),
    [
        (Limits(command_timeout=5.0), b"", 5),
        (Limits(data_rate=0, command_timeout=5.0), b"EHLO", 5),
    ],
)
def test_limits_reach_the_sessions(settings, limits, said, seconds):
    running = Running(replace(settings, limits=limits)).start()
    protocol, transport = running.connect(PORTS.smtp)
    protocol.dataReceived(said)
    running.reactor.advance(seconds - 1)
    assert not transport.disconnecting
    running.reactor.advance(1)
    assert transport.disconnecting and b"421 4.4.2" in transport.value()
    protocol.connectionLost()
    assert running.gateway._doors["smtp"].inner._door.timeouts == (5.0, 10.0, limits.data_rate)
    running.stop()


def test_a_full_volume_is_bad_health(running, monkeypatch):
    class Volume:
        f_blocks, f_bavail, f_frsize = 1000, 0, 4096

    monkeypatch.setattr(os, "statvfs", lambda directory: Volume)
    running.reactor.run_calls()
    running.reactor.advance(5)
    running.reactor.run_calls()
    assert b" 503 " in running.get(b"/healthz")


# --- a start that fails: one line, and an exit code ---


def refused(running):
    with pytest.raises(CannotStart) as caught:
        running.start()
    told = caught.value.code
    assert isinstance(told, str) and told.startswith("smtpeter: ") and "\n" not in told
    assert isinstance(caught.value, Exception)  # or twistd would let whoever starts a daemon wait for ever
    return told


def test_a_second_server_is_refused(settings, running):
    assert "another server is running" in refused(Running(settings))


def test_the_wrong_keys_are_refused_before_anything_is_touched(settings, tmp_path):
    first = Running(settings).start()
    first.stop()
    left = settings.data_dir / "content" / "ab" / "a file that another store would not know"
    left.touch()
    settings.keys.file.unlink()
    load_or_create(settings.keys.file)
    assert "this is not the keys file of this store" in refused(Running(settings))
    assert left.exists()


def test_a_port_that_is_taken_is_named(settings):
    running = Running(settings)

    def listen(port, *arguments, **keywords):
        raise CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))

    running.reactor.listenTCP = listen
    assert 'listen.smtp: "tcp:2525:interface=127.0.0.1" cannot be listened on: ' in refused(running)


@pytest.mark.parametrize("description", ["foo:1", "tcp", "tcp:x", "systemd:domain=INET", "ssl:4444", "tcp:1:y=z"])
def test_what_is_no_endpoint_is_named(settings, description):
    wrong = replace(settings, listen=Listen((description,), (), (), (), ()))
    assert f'listen.smtp: "{description}" is not an endpoint description: ' in refused(Running(wrong))


@pytest.mark.parametrize("which", ["index=0", "index=7", "name=smtp"])
def test_a_socket_that_systemd_did_not_give_is_named(settings, which):
    wrong = replace(settings, listen=Listen((f"systemd:domain=INET6:{which}",), (), (), (), ()))
    assert "names a socket that systemd did not give" in refused(Running(wrong))


def test_a_certificate_that_is_not_there_is_named(settings, tmp_path):
    tls = Tls(tmp_path / "no.pem", tmp_path / "no.key")
    assert "tls.certificate: " in refused(Running(replace(settings, tls=tls)))


def test_a_directory_that_cannot_be_used_is_named(settings, tmp_path):
    (tmp_path / "data").touch()
    assert str(tmp_path / "data") in refused(Running(settings))


def test_a_store_that_is_in_trouble_is_waited_for(settings, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            "smtpeter.store.sqlite.queue.QueueStore.recover", lambda store: fail(StorageUnavailable("disk I/O error"))
        )
        with capturedLogs() as events:
            running = Running(settings).start()
            running.reactor.advance(START_INTERVAL)
        assert [event["reason"] for event in events if event.get("event") == "storage"] == ["disk I/O error"] * 2
        assert b" 503 " in running.get(b"/healthz") and b"starting" in running.get(b"/healthz")
        assert running.connect(PORTS.submission)[1].value().startswith(b"421 4.3.2 ")
    running.reactor.advance(START_INTERVAL)
    assert b" 200 " in running.get(b"/healthz")
    protocol, transport = running.connect(PORTS.submission)
    assert transport.value().startswith(b"220 ")
    protocol.connectionLost()
    assert running.ready == 1
    running.stop()


def test_a_database_that_another_process_has_locked_is_waited_for(settings):
    Running(settings).start().stop()
    other = sqlite3.connect(settings.store.sqlite_file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    running = Running(settings).start()
    assert b" 503 " in running.get(b"/healthz") and running.ready == 0
    other.execute("COMMIT")
    running.reactor.advance(START_INTERVAL)
    assert b" 200 " in running.get(b"/healthz")
    other.close()
    running.stop()


def test_what_is_found_wrong_while_the_store_is_waited_for_is_told_until_it_is_mended(settings, monkeypatch):
    answers = [StorageUnavailable("locked"), ConfigError("another schema"), OSError(5, "Input/output error")]

    def recover(store):
        return fail(answers.pop(0)) if answers else succeed(0)

    monkeypatch.setattr("smtpeter.store.sqlite.queue.QueueStore.recover", recover)
    with capturedLogs() as events:
        running = Running(settings).start()
        for _ in range(3):
            assert running.ready == 0
            running.reactor.advance(START_INTERVAL)
    assert running.ready == 1
    assert len([event for event in events if event.get("event") == "storage"]) == 3
    running.stop()


def test_a_certificate_that_cannot_be_written_yet_does_not_keep_the_store_from_the_next_attempt(settings, monkeypatch):
    locked, full = [StorageUnavailable("locked")], [OSError(28, "No space left on device")]

    def recover(store):
        return fail(locked.pop()) if locked else succeed(0)

    def ensure(*arguments):
        if full:
            raise full.pop()
        return ensure_certificate(*arguments)

    monkeypatch.setattr("smtpeter.store.sqlite.queue.QueueStore.recover", recover)
    running = Running(settings).start()
    monkeypatch.setattr("smtpeter.service.ensure_certificate", ensure)
    running.reactor.advance(START_INTERVAL)
    assert running.ready == 0 and not full
    running.reactor.advance(START_INTERVAL)
    assert running.ready == 1
    running.stop()


def test_a_server_that_waits_for_its_store_can_be_stopped(settings, monkeypatch):
    monkeypatch.setattr(
        "smtpeter.store.sqlite.queue.QueueStore.recover", lambda store: fail(StorageUnavailable("disk I/O error"))
    )
    running = Running(settings).start()
    running.stop()
    running.reactor.advance(START_INTERVAL)
    assert running.reactor.getDelayedCalls() == []


def test_a_disk_that_is_full_when_all_is_ready_ends_the_start(settings):
    def full():
        raise OSError(28, "No space left on device")

    running = Running(settings)
    running.gateway._when_ready = full
    assert "No space left on device" in refused(running)


# --- the end ---


def test_the_end_gives_up_the_store_and_comes_once(settings):
    running = Running(settings).start()
    ended = running.gateway.stopService()
    assert running.gateway.stopService() is ended
    running.reactor.wait_for(ended)
    with (settings.data_dir / "smtpeter.db.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    Running(settings).start().stop()


def test_the_end_of_what_never_began_is_nothing(settings):
    running = Running(settings)
    running.reactor.wait_for(running.gateway.stopService())
    only_bound = Running(settings)
    only_bound.gateway.privilegedStartService()
    only_bound.reactor.wait_for(only_bound.gateway.stopService())


def test_sessions_are_told_and_those_that_stay_are_cut_before_the_store_closes(settings):
    running = Running(settings).start()
    idle, told = running.connect(PORTS.smtp)
    busy, cut = running.connect(PORTS.smtp)
    busy._decision = Deferred()  # as it would for an answer of the store
    ended = running.gateway.stopService()
    assert told.value().endswith(b"421 4.3.2 The service is shutting down; try again later\r\n")
    assert told.disconnecting and not cut.disconnecting and not ended.called
    idle.connectionLost()
    running.reactor.advance(SESSION_GRACE)
    assert cut.aborted
    busy.connectionLost()
    running.reactor.wait_for(ended)


def test_a_step_of_the_end_that_fails_does_not_keep_the_store_open(settings):
    running = Running(settings).start()
    running.gateway._directory.flush = lambda: fail(StorageUnavailable("down"))
    running.gateway._ports._ports[0].stopListening = lambda: fail(OSError("odd"))
    with capturedLogs() as events:
        running.stop()
    assert len([event for event in events if "while the server stopped" in event["log_format"]]) == 2
    Running(settings).start().stop()


def test_nothing_is_left_in_the_clock_after_the_end(settings):
    running = Running(settings).start()
    running.stop()
    assert running.reactor.getDelayedCalls() == []


def test_an_endpoint_that_takes_its_time_is_stopped_too(settings, monkeypatch):
    waiting = Deferred()

    class Endpoint:
        def listen(self, factory):
            return waiting

    monkeypatch.setattr("smtpeter.ports.serverFromString", lambda reactor, description: Endpoint())
    running = Running(replace(settings, listen=Listen(("slow:",), (), (), (), ()))).start()

    class Port:
        stopped = False

        def stopListening(self):
            self.stopped = True

    port = Port()
    waiting.callback(port)
    running.stop()
    assert port.stopped


def test_our_own_certificate_is_made_anew_in_a_server_that_runs_on(running, settings):
    certificate = settings.data_dir / "tls" / "fullchain.pem"
    before = certificate.read_bytes()
    running.gateway._upkeep._clock = LaterClock(400 * 86400)
    running.gateway._upkeep._look_at_certificate()
    assert certificate.read_bytes() != before


@pytest.mark.parametrize(("days", "told"), [(0, []), (355, ["warn"]), (400, ["error"])])
def test_a_certificate_that_ends_is_told_of(settings, tmp_path, days, told):
    files = ensure_certificate(tmp_path / "tls", "localhost", time.time())
    running = Running(replace(settings, tls=Tls(files.certificate, files.private_key))).start()
    with capturedLogs() as events:
        running.gateway._upkeep._clock = LaterClock(days * 86400)
        running.gateway._upkeep._look_at_certificate()
    assert [event["log_level"].name for event in events] == told
    (line,) = (line for line in running.get(b"/metrics").splitlines() if line.startswith(b"smtpeter_certificate_exp"))
    assert line.startswith(b'smtpeter_certificate_expires{hostname="localhost"} ')
    assert float(line.split()[1]) == pytest.approx(time.time() + 365 * 86400, abs=86400)
    running.stop()


class LaterClock:
    def __init__(self, seconds):
        self._seconds = seconds

    def time(self):
        return time.time() + self._seconds
