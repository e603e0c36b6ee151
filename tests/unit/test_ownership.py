import os
import pwd
import sys

import pytest

import smtpeter
from smtpeter import ownership
from smtpeter.errors import ConfigError
from smtpeter.ownership import acting_as_owner, refuse_what_is_closed, user_name
from smtpeter.settings import demo_settings

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def test_users_have_names_or_numbers():
    assert user_name(0) == "root"
    assert user_name(3_999_999_999) == "3999999999"


def test_acting_as_owner_of_what_does_not_exist_changes_nothing(tmp_path):
    before = os.geteuid()
    with acting_as_owner(tmp_path / "none"):
        assert os.geteuid() == before


@only_root
@pytest.mark.parametrize("uid", [pwd.getpwnam("nobody").pw_uid, 12345])
def test_root_acts_as_the_owner_with_the_owner_s_groups_and_is_root_again(tmp_path, uid):
    groups, gid = os.getgroups(), os.getegid()
    os.chown(tmp_path, uid, 12346)
    with pytest.raises(ZeroDivisionError), acting_as_owner(tmp_path):
        assert (os.geteuid(), os.getegid()) == (uid, 12346)
        assert 0 not in os.getgroups() and 12346 in os.getgroups()
        raise ZeroDivisionError
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, gid, groups)


# --- what somebody else has left


@pytest.fixture
def settings(tmp_path):
    settings = demo_settings(tmp_path / "data")
    for directory in ("content/ab", "tls", "lost+found"):
        (settings.data_dir / directory).mkdir(parents=True)
    for file in ("smtpeter.db", "smtpeter.db-wal", "keys.toml", "tls/privkey.pem", "lost+found/x"):
        (settings.data_dir / file).touch(mode=0o600)
    return settings


@pytest.fixture
def stranger(settings, monkeypatch):
    """Makes everything another user's, and some of it closed to us."""

    def closed(*names):
        paths = {str(settings.data_dir / name) for name in names}
        monkeypatch.setattr(ownership.os, "geteuid", lambda: 4711)
        monkeypatch.setattr(ownership.os, "access", lambda path, mode, effective_ids: str(path) not in paths)

    return closed


def test_what_is_ours_or_missing_is_fine(settings, tmp_path):
    refuse_what_is_closed(settings)
    refuse_what_is_closed(demo_settings(tmp_path / "none"))


def test_what_another_user_shares_is_fine(settings, stranger):
    stranger("lost+found", "lost+found/x")
    refuse_what_is_closed(settings)


@pytest.mark.parametrize(
    "name", ["", "smtpeter.db", "smtpeter.db-wal", "keys.toml", "content", "content/ab", "tls", "tls/privkey.pem"]
)
def test_what_is_closed_is_named_with_the_command_that_helps(settings, stranger, name):
    stranger(name)
    with pytest.raises(ConfigError) as caught:
        refuse_what_is_closed(settings)
    owner = user_name(settings.data_dir.stat().st_uid)
    assert str(caught.value) == (
        f"{settings.data_dir / name} belongs to {owner}, and the server, as the user 4711, cannot use it: "
        f"chown -R 4711: {settings.data_dir}"
    )


@pytest.mark.parametrize("path", [sys.executable, os.__file__, smtpeter.__file__])
def test_a_python_that_the_user_cannot_read_is_named(settings, monkeypatch, path):
    """Without this it starts, and ends in the traceback of some import."""
    monkeypatch.setattr(ownership.os, "access", lambda each, mode, effective_ids: str(each) != path)
    with pytest.raises(ConfigError, match=f"^the user .* cannot read {os.path.realpath(path)}, "):
        refuse_what_is_closed(settings)


def test_a_way_that_is_closed_is_named(settings, stranger, tmp_path):
    stranger(tmp_path)
    with pytest.raises(ConfigError, match=f"cannot be reached: {tmp_path} is closed to the user 4711"):
        refuse_what_is_closed(settings)
