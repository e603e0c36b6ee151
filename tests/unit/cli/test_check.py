import errno
import json
import os

import pytest
from click.testing import CliRunner

from smtpeter.auth.certificate import ensure_certificate
from smtpeter.auth.keys import load_or_create
from smtpeter.cli import inspection
from smtpeter.cli.endpoints import loopback_of, tcp_addresses
from smtpeter.cli.main import smtpeter
from smtpeter.clock import WallClock
from smtpeter.errors import ConfigError

LISTEN = """
[listen]
smtp = ["tcp:0:interface=127.0.0.1"]
mx = []
smtps = []
https = []
http = []
"""
WEB = '[web]\ntracking_url = "https://click.example.com"\n'


@pytest.fixture
def check(gateway):
    """Run ``check`` with more configuration; gives the exit code and the document."""

    def run(more=WEB, listen=LISTEN):
        gateway.configure(listen + more)
        result = gateway.run("check", "--json")
        document = json.loads(result.stdout)
        assert document["ok"] == (result.exit_code == 0) == (not document["problems"])
        assert result.stderr.count("\n") == (0 if document["ok"] else 1)
        return document

    return run


def certificate(directory, hostname="mail.example.com", now=None):
    files = ensure_certificate(directory, hostname, WallClock().time() if now is None else now)
    return f'[tls]\ncertificate = "{files.certificate}"\nprivate_key = "{files.private_key}"\n'


def test_all_is_well_and_nothing_is_made(check, gateway, tmp_path):
    tls = certificate(tmp_path / "tls")
    assert check(WEB + tls) == {"ok": True, "problems": [], "warnings": []}
    assert not gateway.data_dir.exists()
    assert gateway.run("check").stdout == "no errors\n"


def test_after_the_first_start_all_is_well_too(check, gateway, tmp_path):
    tls = certificate(tmp_path / "tls")
    gateway.add_account()
    before = {path: path.stat().st_mtime_ns for path in gateway.data_dir.rglob("*")}
    assert check(WEB + tls)["ok"]
    assert {path: path.stat().st_mtime_ns for path in gateway.data_dir.rglob("*")} == before


def test_every_problem_of_the_configuration_has_its_line(gateway):
    gateway.config.write_text('colour = 1\n[delivery]\nmode = "relay"\nport = 0\n')
    result = gateway.run("check")
    assert result.exit_code == 1
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["error"] * 2
    assert "colour" in result.stdout
    assert "delivery.port" in result.stdout
    assert result.stderr == "smtpeter: check found 2 errors\n"


def test_no_configuration(gateway):
    gateway.config.unlink()
    result = gateway.run("check", "--json")
    assert (result.exit_code, json.loads(result.stdout)["ok"]) == (1, False)


def test_names_are_warned_about(gateway):
    gateway.config.write_text(
        f'hostname = "mail"\ndata_dir = "{gateway.data_dir}"\n{LISTEN}[delivery]\nmode = "capture"\n'
    )
    document = json.loads(gateway.run("check", "--json").stdout)
    assert document["ok"]
    assert [line.partition(":")[0] for line in document["warnings"]] == [
        "tls.certificate",
        "hostname",
        "web.tracking_url",
    ]


def test_a_relay_in_clear_text_is_warned_about_without_its_password(gateway):
    gateway.config.write_text(
        f'hostname = "mail.example.com"\ndata_dir = "{gateway.data_dir}"\n{LISTEN}{WEB}'
        '[delivery]\nmode = "relay"\nrelay = "smtp://user:geheim@host"\n'
    )
    result = gateway.run("check")
    assert "delivery.relay" in result.stdout
    assert "geheim" not in result.output


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EADDRINUSE, "in use"),
        (errno.EACCES, "privileges"),
        (errno.EADDRNOTAVAIL, "not an address"),
        (errno.EPERM, "bound"),
    ],
)
def test_a_port_that_cannot_be_bound(check, monkeypatch, number, text):
    monkeypatch.setattr(inspection, "bind_error", lambda interface, port: number)
    (problem,) = check()["problems"]
    assert problem.startswith("listen.smtp")
    assert text in problem


def test_ports_in_use_by_our_own_running_server_are_no_problem(check, gateway, monkeypatch):
    from smtpeter.store.opening import take_lock

    monkeypatch.setattr(inspection, "bind_error", lambda interface, port: errno.EADDRINUSE)
    gateway.add_account()
    assert len(check()["problems"]) == 1
    lock = take_lock(gateway.data_dir / "smtpeter.db")
    try:
        assert check()["ok"]
    finally:
        os.close(lock)


def test_two_doors_at_one_port(check):
    listen = '[listen]\nsmtp = ["tcp:58700"]\nmx = ["tcp:58700"]\nsmtps = []\nhttps = []\nhttp = []\n'
    (problem,) = check(listen=listen)["problems"]
    assert problem.startswith("listen.mx")
    assert "listen.smtp" in problem


def test_the_keys_file_is_for_our_eyes_only(check, gateway):
    gateway.add_account()
    (gateway.data_dir / "keys.toml").chmod(0o644)
    (problem,) = check()["problems"]
    assert problem.startswith("keys.file")


def test_the_keys_file_of_another_store(check, gateway):
    gateway.add_account()
    assert check()["ok"]
    before = sorted(gateway.data_dir.iterdir())
    (gateway.data_dir / "keys.toml").unlink()
    load_or_create(gateway.data_dir / "keys.toml")
    (problem,) = check()["problems"]
    assert problem.startswith("keys.file")
    assert "not the keys file of this store" in problem
    assert sorted(gateway.data_dir.iterdir()) == before, "nothing is made"


def test_a_store_that_is_no_database(check, gateway):
    gateway.add_account()
    (gateway.data_dir / "smtpeter.db").write_bytes(b"something else\n" * 1000)
    (problem,) = check()["problems"]
    assert problem.startswith("store.url")
    assert "is not a database" in problem


def test_data_dir_for_all_eyes_is_warned_about(check, gateway):
    gateway.data_dir.mkdir(mode=0o755)
    assert any(line.startswith("data_dir") for line in check()["warnings"])


def test_data_dir_that_is_no_directory(check, gateway):
    gateway.data_dir.write_text("")
    assert check()["problems"][0].startswith("data_dir")


def test_free_space(check):
    (problem,) = check(WEB + '[limits]\nfree_space = "99.9999%"\n')["problems"]
    assert problem.startswith("limits.free_space")


def test_another_kind_of_store(check):
    (problem,) = check(WEB + '[store]\nurl = "postgresql://user:geheim@db/x"\n')["problems"]
    assert problem.startswith("store.url")
    assert "geheim" not in problem


def test_certificates(check, tmp_path):
    now = WallClock().time()
    day = 86400.0
    assert "expired" in check(certificate(tmp_path / "a", now=now - 500 * day))["problems"][0]
    assert "not valid before" in check(certificate(tmp_path / "b", now=now + 5 * day))["problems"][0]
    assert "expires in" in check(certificate(tmp_path / "c", now=now - 355 * day))["warnings"][0]
    assert "is not for the hostname" in check(certificate(tmp_path / "d", "other.example.com"))["warnings"][0]
    one, other = certificate(tmp_path / "e"), certificate(tmp_path / "f")
    mixed = "\n".join([*one.splitlines()[:2], other.splitlines()[2]]) + "\n"
    assert "does not belong" in check(mixed)["problems"][0]
    (tmp_path / "a" / "privkey.pem").chmod(0o644)
    assert "chmod 640" in check(certificate(tmp_path / "a", now=now - 500 * day))["problems"][0]


def test_our_own_certificate_that_was_not_made_anew_is_warned_about(check, gateway):
    now = WallClock().time()
    gateway.data_dir.mkdir(mode=0o700)
    certificate(gateway.data_dir / "tls", now=now)
    assert not any("made anew" in line for line in check()["warnings"])
    for name in ("fullchain.pem", "privkey.pem", "ca.pem"):
        (gateway.data_dir / "tls" / name).unlink()
    certificate(gateway.data_dir / "tls", now=now - 355 * 86400)
    assert any("ends in 10 days and was not made anew" in line for line in check()["warnings"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_only_root_can_read_or_use_is_told(check, gateway, tmp_path):
    tls = certificate(tmp_path / "tls")
    gateway.add_account()
    os.chown(gateway.data_dir, 12345, 12346)
    document = check(WEB + tls)
    assert any("cannot be read by the user 12345" in line for line in document["warnings"])
    assert any("cannot be reached" in line or "belongs to root" in line for line in document["problems"])


def test_the_demonstration_is_checked_without_being_made(tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, "bind_error", lambda interface, port: 0)
    result = CliRunner().invoke(smtpeter, ["--demo-dir", str(tmp_path / "demo"), "check", "--json"])
    assert json.loads(result.stdout) == {"ok": True, "problems": [], "warnings": []}
    assert not (tmp_path / "demo").exists()


def test_endpoint_descriptions():
    assert tcp_addresses("tcp:587") == [("", 587)]
    assert tcp_addresses("tcp:587:interface=127.0.0.1") == [("127.0.0.1", 587)]
    assert tcp_addresses(r"tcp6:25:interface=\:\:1") == [("::1", 25)]
    assert tcp_addresses("systemd:domain=INET:index=0") == []
    assert tcp_addresses("unix:/run/smtpeter.sock") == []
    for wrong in ("", "587", "tcp", "tcp:x", "tcp:99999", "tcp:-1", "tcp:25:colour=red", "carrier-pigeon:1"):
        with pytest.raises(ConfigError):
            tcp_addresses(wrong)


def test_how_this_machine_reaches_itself():
    assert [loopback_of(each) for each in ("", "0.0.0.0", "::", "192.0.2.1")] == [
        "127.0.0.1", "127.0.0.1", "::1", "192.0.2.1",
    ]  # fmt: skip


def test_a_configuration_that_everybody_reads_is_warned_about(check, gateway):
    assert not any("chmod 640" in warning for warning in check()["warnings"])
    gateway.config.chmod(0o644)
    assert "chmod 640" in gateway.run("check").stdout


def test_several_accounts_that_may_all_send_from_anywhere(check, gateway, tmp_path):
    tls = certificate(tmp_path / "tls")
    gateway.add_account()
    assert check(WEB + tls)["warnings"] == []
    gateway.add_account("bob@example.com")
    (warning,) = check(WEB + tls)["warnings"]
    assert warning.startswith("sending.require_domain: there are 2 accounts")
    assert check(WEB + tls + "[sending]\nrequire_domain = true\n")["warnings"] == []
