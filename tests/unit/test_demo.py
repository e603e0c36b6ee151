"""The demonstration: made once, the same at each start."""

from __future__ import annotations

import io
import json
import stat
import sys
from pathlib import Path

import pytest

from smtpeter import demo
from smtpeter.auth.secrets import split_token
from smtpeter.clock import WallClock
from smtpeter.demo import announce, default_directory, ensure_demo, prepare_demo
from smtpeter.errors import ConfigError
from smtpeter.model.account import CredentialKind, Scope
from smtpeter.settings import DemoPorts
from smtpeter.store.opening import open_for_command, result_of


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Hashing a password is slow on purpose."""
    monkeypatch.setattr(demo, "hash_password", lambda password: "$argon2id$x")


@pytest.fixture
def taken(monkeypatch):
    """The ports that somebody listens on."""
    taken = set()

    class Socket:
        def __init__(self, *arguments):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *arguments):
            pass

        def setsockopt(self, *arguments):
            pass

        def bind(self, address):
            if address[1] in taken:
                raise OSError(98, "Address already in use")

    monkeypatch.setattr(demo.socket, "socket", Socket)
    return taken


def test_state_goes_where_xdg_says_or_below_home():
    assert default_directory({"XDG_STATE_HOME": "/state", "HOME": "/h"}) == Path("/state/smtpeter-demo")
    assert default_directory({"XDG_STATE_HOME": "relative", "HOME": "/h"}) == Path("/h/.local/state/smtpeter-demo")
    assert default_directory({"HOME": "/h"}) == Path("/h/.local/state/smtpeter-demo")


def test_the_second_start_has_the_same_secrets(tmp_path):
    first = ensure_demo(tmp_path / "demo")
    assert ensure_demo(tmp_path / "demo") == first
    assert first.settings.delivery.mode == "capture" and first.settings.demo
    assert stat.S_IMODE((tmp_path / "demo" / "demo.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "demo").stat().st_mode) == 0o700


def with_accounts(made, act):
    store = open_for_command(made.settings.store.url, made.settings.data_dir, WallClock())
    try:
        return result_of(act(store.accounts))
    finally:
        result_of(store.close())


def scopes_of(made):
    public = split_token(made.token)[0]
    return with_accounts(made, lambda accounts: accounts.credential(CredentialKind.TOKEN, public)).scopes


def test_the_token_is_for_everything(tmp_path):
    assert scopes_of(ensure_demo(tmp_path)) == tuple(Scope)


def make_old(tmp_path, made):
    """As versions made it whose tokens had no scopes."""
    public = split_token(made.token)[0]
    with_accounts(made, lambda it: it.edit_credential(CredentialKind.TOKEN, public, None, None, (Scope.SEND,)))
    secrets = json.loads((tmp_path / "demo.json").read_text())
    del secrets["scopes"]
    (tmp_path / "demo.json").write_text(json.dumps(secrets))


def test_the_token_of_an_old_demonstration_stays_and_is_for_everything(tmp_path, monkeypatch):
    made = ensure_demo(tmp_path)
    make_old(tmp_path, made)
    assert ensure_demo(tmp_path) == made
    assert scopes_of(made) == tuple(Scope)
    monkeypatch.setattr(demo, "open_for_command", None)  # from now on the store is left alone
    assert ensure_demo(tmp_path) == made


def test_an_old_demonstration_whose_token_was_revoked_starts_all_the_same(tmp_path):
    made = ensure_demo(tmp_path)
    make_old(tmp_path, made)
    with_accounts(made, lambda it: it.revoke_credential(CredentialKind.TOKEN, split_token(made.token)[0]))
    assert ensure_demo(tmp_path) == made


def test_secrets_are_not_in_the_representation(tmp_path):
    made = ensure_demo(tmp_path)
    for secret in (made.password, made.token, made.account_password):
        assert secret not in repr(made)


def test_a_start_that_was_broken_off_before_its_secrets_were_written_is_made_good(tmp_path):
    first = ensure_demo(tmp_path)
    (tmp_path / "demo.json").unlink()
    second = ensure_demo(tmp_path)
    assert second.password != first.password and second.email == first.email


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"email": "x"}', b"null", b"\xff"])
def test_damaged_secrets_are_told_in_one_line(tmp_path, content):
    ensure_demo(tmp_path)
    (tmp_path / "demo.json").write_bytes(content)
    with pytest.raises(ConfigError, match="is damaged; remove") as caught:
        ensure_demo(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"7", b"{}", b"null", b'["a", "b", "c", "d", "e"]', b"[1, 2, 3, 4, 5, 6]"])
def test_damaged_ports_are_the_usual_ones(tmp_path, content):
    (tmp_path / "ports.json").write_bytes(content)
    assert ensure_demo(tmp_path).ports == DemoPorts()


def test_a_directory_that_cannot_be_made_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot hold the demonstration"):
        ensure_demo(tmp_path / "file" / "demo")


def test_a_full_disk_is_told_in_one_line(tmp_path, monkeypatch):
    def write_file(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo, "write_file", write_file)
    with pytest.raises(ConfigError, match="No space left"):
        ensure_demo(tmp_path)


def test_taken_ports_are_left_for_the_next_free_ones(tmp_path, taken):
    usual = DemoPorts()
    taken.update({usual.smtp, usual.smtp + 1, usual.http})
    prepared = prepare_demo(tmp_path)
    assert prepared.ports == usual._replace(smtp=usual.smtp + 2, http=usual.http + 1)
    assert prepared.settings.listen.smtp[0] == f"tcp:{usual.smtp + 2}:interface=127.0.0.1"


def test_when_every_port_is_taken_that_is_told(tmp_path, taken):
    taken.update(range(2000, 9000))
    with pytest.raises(ConfigError, match=r"no port is free on 127\.0\.0\.1 from 2525 to 2624"):
        prepare_demo(tmp_path)


def test_the_announcement_tells_what_is_needed_and_notes_the_ports(tmp_path, monkeypatch):
    made = ensure_demo(tmp_path)
    made = made._replace(ports=made.ports._replace(submission=5999))
    out = io.StringIO()
    monkeypatch.setattr(sys, "__stdout__", out)
    announce(made)
    for told in (made.username, made.password, made.token, made.email, made.account_password, "127.0.0.1:5999"):
        assert told in out.getvalue()
    command = f"curl http://127.0.0.1:{made.ports.http}/v1/send -H 'Authorization: Bearer {made.token}' \\\n"
    assert command in out.getvalue() and f"http://127.0.0.1:{made.ports.http}/docs" in out.getvalue()
    assert json.loads((tmp_path / "ports.json").read_text())[1] == 5999
    assert ensure_demo(tmp_path).ports.submission == 5999


class Closed:
    def write(self, text):
        raise BrokenPipeError

    flush = write


@pytest.mark.parametrize("out", [None, Closed()])
def test_a_demonstration_runs_though_nobody_reads_how_to_use_it(tmp_path, monkeypatch, out):
    monkeypatch.setattr(sys, "__stdout__", out)
    made = ensure_demo(tmp_path)
    announce(made)
    assert (tmp_path / "ports.json").exists()
