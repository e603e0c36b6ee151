"""What twistd is given: options, and a service that brings its log."""

from __future__ import annotations

import io
import os
import signal
import stat
import sys
from types import SimpleNamespace

import pytest
from twisted.application.service import Application, IService, Service
from twisted.internet.error import ReactorNotRunning
from twisted.internet.testing import MemoryReactor
from twisted.logger import ILogObserver

from smtpeter import __version__, tap
from smtpeter.tap import Options, Program, _make_observer
from twisted.plugins import smtpeter_plugin


@pytest.fixture(autouse=True)
def process():
    """What a start changes of it."""
    umask, interval = os.umask(0o022), sys.getswitchinterval()
    yield
    os.umask(umask)
    sys.setswitchinterval(interval)


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "smtpeter.toml"
        path.write_text(text)
        return str(path)

    return write


def refused(*arguments):
    with pytest.raises(SystemExit) as caught:
        Options().parseOptions(arguments)
    assert isinstance(caught.value.code, str)  # Python tells it on standard error and ends with 1
    return caught.value.code


def test_the_plugin_names_what_is_there():
    maker = smtpeter_plugin.smtpeter
    assert maker.tapname == "smtpeter" and maker.options is Options and maker.makeService is tap.makeService


def test_a_configuration_is_read(config):
    options = Options()
    options.parseOptions(["--config", config('hostname = "mx.example.com"\n[delivery]\nmode = "capture"')])
    assert options.settings.hostname == "mx.example.com" and not options.settings.demo


def test_without_an_option_the_usual_file_is_read(config, monkeypatch, tmp_path):
    monkeypatch.setattr(tap, "DEFAULT_FILE", tmp_path / "smtpeter.toml")
    assert "or try --demo" in refused()
    config('[delivery]\nmode = "capture"')
    Options().parseOptions([])


def test_the_demonstration_is_prepared_where_it_was_told(tmp_path, monkeypatch):
    monkeypatch.setattr("smtpeter.demo.hash_password", lambda password: "$argon2id$x")
    monkeypatch.setattr("smtpeter.demo._free_port", lambda first, taken: first)
    options = Options()
    options.parseOptions(["--demo-dir", str(tmp_path / "demo")])
    assert options.settings.demo and options.settings.data_dir == tmp_path / "demo"


def test_what_is_wrong_is_told_one_line_for_each_key(config):
    told = refused("--config", config('hostnam = "x"\n[limits]\nrecipients = 0')).split("\n")
    assert len(told) == 2 and all(line.startswith("smtpeter: ") for line in told)
    assert refused("--config", "/does/not/exist").startswith(
        "smtpeter: there is no configuration file /does/not/exist; "
    )
    assert refused("--demo", "--config", "x") == "smtpeter: --demo and --config exclude each other"


def test_a_shaping_file_that_is_wrong_is_refused(config, tmp_path):
    (tmp_path / "shaping.toml").write_text("[default]\nconnectoins = 3\n")
    told = refused("--config", config(f'[delivery]\nmode = "direct"\nshaping = "{tmp_path}/shaping.toml"'))
    assert "connectoins" in told


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as caught:
        Options().parseOptions(["--version"])
    assert caught.value.code == 0 and capsys.readouterr().out == f"smtpeter {__version__}\n"


# --- the log ---


class Log:
    def __init__(self, form):
        self.format = form


class Settings:
    def __init__(self, form="text"):
        self.log = Log(form)


@pytest.fixture
def rotation():
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    "twistd",
    [{"logger": object()}, {"nodaemon": True, "logger": object()}, {"syslog": True}, {"logfile": "-"}],
)
def test_what_twistd_was_told_of_the_log_is_left_to_it(twistd):
    assert _make_observer(Settings(), twistd, None) is None


@pytest.mark.parametrize("twistd", [{"nodaemon": True}, {"debug": True}, {"nodaemon": True, "logfile": "-"}])
@pytest.mark.parametrize(("form", "first"), [("text", "2"), ("json", "{")])
def test_in_the_foreground_the_log_goes_to_standard_output(monkeypatch, twistd, form, first):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    _make_observer(Settings(form), twistd, None)({"log_format": "hello", "log_time": 1e9})
    assert sys.stdout.getvalue().startswith(first)


@pytest.mark.parametrize(
    ("twistd", "name"),
    [({}, "twistd.log"), ({"logfile": "my.log"}, "my.log"), ({"nodaemon": True, "logfile": "my.log"}, "my.log")],
)
@pytest.mark.parametrize(("form", "first"), [("text", "2"), ("json", "{")])
def test_a_daemon_and_whoever_names_a_file_log_into_it(tmp_path, monkeypatch, rotation, twistd, name, form, first):
    monkeypatch.chdir(tmp_path)
    _make_observer(Settings(form), twistd, None)({"log_format": "hello", "log_time": 1e9})
    text = (tmp_path / name).read_text()
    assert text.startswith(first) and "hello" in text


def test_a_signal_rotates_the_file(tmp_path, rotation):
    class Reactor:
        def callFromThread(self, function):
            function()

    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    observer = _make_observer(Settings(), {"logfile": str(tmp_path / "my.log")}, Reactor())
    observer({"log_format": "before", "log_time": 1e9})
    signal.raise_signal(signal.SIGUSR1)
    observer({"log_format": "after", "log_time": 1e9})
    assert "before" in (tmp_path / "my.log.1").read_text()
    assert "before" not in (tmp_path / "my.log").read_text()


def test_no_more_than_so_many_log_files_are_kept(tmp_path, monkeypatch, rotation):
    """Whoever connects makes us write a line, and must not fill the disk; to rename thousands of files takes long."""
    monkeypatch.setattr(tap, "LOG_SIZE", 100)
    monkeypatch.setattr(tap, "LOG_FILES", 3)
    observer = _make_observer(Settings(), {"logfile": str(tmp_path / "my.log")}, None)
    for number in range(50):
        observer({"log_format": f"line {number}", "log_time": 1e9})
    assert {path.name for path in tmp_path.iterdir()} == {"my.log", "my.log.1", "my.log.2", "my.log.3"}
    assert "line 49" in (tmp_path / "my.log").read_text() + (tmp_path / "my.log.1").read_text()


def test_a_log_is_for_our_eyes_only_but_keeps_the_mode_that_it_was_given(config, tmp_path, monkeypatch, rotation):
    options = Options()
    options.parseOptions(["--config", config('[delivery]\nmode = "capture"')])
    monkeypatch.setattr("twisted.internet.reactor", MemoryReactor())
    shared = tmp_path / "shared.log"
    shared.touch()
    shared.chmod(0o640)
    for path, mode in ((tmp_path / "my.log", 0o600), (shared, 0o640)):
        options.parent = {"logfile": str(path)}
        tap.makeService(options)
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert sys.getswitchinterval() == tap.LOCK_SECONDS


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_log_that_root_begins_belongs_to_whom_its_directory_belongs(tmp_path, rotation):
    os.chown(tmp_path, 12345, 12346)
    for directory in (tmp_path, *tmp_path.parents[:3]):
        if directory != directory.parent and directory.stat().st_uid == 0 and directory.name.startswith("p"):
            directory.chmod(0o755)
    _make_observer(Settings(), {"logfile": str(tmp_path / "my.log")}, None)
    status = (tmp_path / "my.log").stat()
    assert (status.st_uid, status.st_gid) == (12345, 12346)


# --- signals


class SignalReactor:
    """A reactor that does at once what it is asked for, and counts its stops."""

    stopped = 0

    def callFromThread(self, function):
        function()

    def stop(self):
        self.stopped += 1
        if self.stopped > 1:
            raise ReactorNotRunning


@pytest.fixture
def signals():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, action in zip(numbers, before, strict=True):
        signal.signal(number, action)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_changes_nothing(signals, number):
    reactor = SignalReactor()
    tap._end_on_signals(reactor)
    signal.raise_signal(number)
    signal.raise_signal(number)
    assert reactor.stopped == 2


@pytest.mark.parametrize(("terminal", "stopped"), [(True, 1), (False, 0)])
def test_a_hangup_ends_what_runs_in_a_terminal_and_nothing_else(signals, monkeypatch, terminal, stopped):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    monkeypatch.setattr(os, "isatty", lambda descriptor: terminal)
    reactor = SignalReactor()
    tap._end_on_signals(reactor)
    signal.raise_signal(signal.SIGHUP)
    assert reactor.stopped == stopped


def test_nohup_is_respected(signals, monkeypatch):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(os, "isatty", lambda descriptor: True)
    tap._end_on_signals(SignalReactor())
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


# --- systemd


def test_systemd_is_told_of_readiness_and_of_the_end(monkeypatch):
    told = []
    monkeypatch.setattr(tap, "tell_systemd", lambda state, environment: told.append(state))
    options = Options()
    options.settings = SimpleNamespace(demo=False)
    tap._is_ready(options)
    program = Program(Service(), None)
    program.startService()
    assert told == ["READY=1"]
    program.stopService()
    assert told == ["READY=1", "STOPPING=1"]


def test_twistd_finds_the_log_at_its_application():
    gateway, observer = Service(), object()
    application = Application("smtpeter")
    Program(gateway, observer).setServiceParent(application)
    assert application.getComponent(ILogObserver) is observer
    IService(application).startService()
    assert gateway.running
    without = Application("smtpeter")
    Program(Service(), None).setServiceParent(without)
    assert without.getComponent(ILogObserver) is None


def test_a_log_that_cannot_be_opened_ends_the_start_with_one_line(config, monkeypatch):
    options = Options()
    options.parseOptions(["--config", config('[delivery]\nmode = "capture"')])
    options.parent = {"logfile": "/does/not/exist/log"}
    monkeypatch.setattr("twisted.internet.reactor", MemoryReactor())
    with pytest.raises(SystemExit, match=r"^smtpeter: the log cannot be written: "):
        tap.makeService(options)
