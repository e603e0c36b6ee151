import base64
import os
import tomllib

import pytest

from smtpeter.auth import private_files
from smtpeter.auth.keys import KeyRing, load_or_create
from smtpeter.errors import ConfigError

KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "data" / "keys.toml"


def test_made_once_for_our_eyes_only(file):
    ring = load_or_create(file)
    content = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert list(file.parent.iterdir()) == [file]
    again = load_or_create(file)
    assert file.read_bytes() == content
    assert again.fingerprint == ring.fingerprint
    assert again.derive("login") == ring.derive("login")


def test_two_rings_differ(tmp_path):
    assert load_or_create(tmp_path / "a").fingerprint != load_or_create(tmp_path / "b").fingerprint


def test_who_comes_second_takes_what_the_first_made(file, monkeypatch):
    """Two processes start at once: the other one's file appears after we saw none."""
    write_file = private_files.write_file
    made = []

    def first_somebody_else(path, content, **options):
        write_file(path, content.replace(b"\n1 = ", b"\nother = ").replace(b'"1"', b'"other"'))
        made.append(path)
        write_file(path, content, **options)

    monkeypatch.setattr("smtpeter.auth.keys.write_file", first_somebody_else)
    assert load_or_create(file).ids == ("other",)
    assert made and list(file.parent.iterdir()) == [file]


def test_added_keys_keep_the_fingerprint_and_the_old_derivations(file):
    old = load_or_create(file)
    new_key = base64.b64encode(bytes(32)).decode()
    file.write_text(file.read_text().replace('current = "1"', 'current = "2"') + f'2 = "{new_key}"\n')
    new = load_or_create(file)
    assert (new.current, new.ids) == ("2", ("1", "2"))
    assert new.fingerprint == old.fingerprint
    assert new.derive("link", "1") == old.derive("link")
    assert new.derive("link") != old.derive("link")


def test_each_purpose_has_its_own_key():
    ring = KeyRing("a", {"a": bytes(32)})
    derived = {ring.derive(purpose) for purpose in ("login", "token", "link", "verp")}
    assert len(derived) == 4 and all(len(key) == 32 for key in derived)
    with pytest.raises(KeyError):
        ring.derive("login", "b")


def test_nothing_shown_tells_a_key():
    master = bytes(range(32))
    ring = KeyRing("a", {"a": master})
    assert master.hex()[:8] not in repr(ring) + ring.fingerprint
    assert repr(master)[2:10] not in repr(ring)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o610])
def test_keys_that_others_could_read_or_write_stop_the_start(file, mode):
    load_or_create(file)
    file.chmod(mode)
    with pytest.raises(ConfigError, match="can be reached by other users: chmod 600"):
        load_or_create(file)


def test_keys_of_another_user_stop_the_start(file, monkeypatch):
    load_or_create(file)
    monkeypatch.setattr(private_files.os, "geteuid", lambda: 12345)
    monkeypatch.setattr(
        private_files.os, "fstat", lambda descriptor: os.stat_result((0o100600, 0, 0, 1, 999, *[0] * 5))
    )
    with pytest.raises(ConfigError, match=r"belongs to another user \(uid 999\)"):
        load_or_create(file)


def test_root_reads_the_keys_of_the_directory_s_owner(file, monkeypatch):
    load_or_create(file)
    owner = file.parent.stat().st_uid
    monkeypatch.setattr(private_files.os, "geteuid", lambda: 0)
    assert load_or_create(file).ids == ("1",)
    stranger = os.stat_result((0o100600, 0, 0, 1, owner + 1, *[0] * 5))
    monkeypatch.setattr(private_files.os, "fstat", lambda descriptor: stranger)
    with pytest.raises(ConfigError, match="belongs to another user"):
        load_or_create(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no toml", "is not TOML"),
        ("", "no table"),
        ("keys = 5", "no table"),
        ('current = "1"\n[keys]\n1 = "AAAA"', "keys.1 is not 32 octets"),
        ('current = "1"\n[keys]\n1 = 5', "keys.1 is not 32 octets"),
        ('current = "1"\n[keys]\nA-B = "x"', "a key's id"),
        ('current = "2"\n[keys]\n1 = "' + KEY + '"', "current has to be"),
        ('[keys]\n1 = "' + KEY + '"', "current has to be"),
    ],
)
def test_damaged_files_are_refused_in_one_line_without_the_key(file, content, words):
    file.parent.mkdir()
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match=words) as caught:
        load_or_create(file)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)
    assert file.read_text() == content


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "data").write_text("not a directory")
    with pytest.raises(ConfigError):
        load_or_create(tmp_path / "data" / "keys.toml")


def test_the_file_is_toml_with_a_key_of_256_bits(file):
    load_or_create(file)
    document = tomllib.loads(file.read_text())
    assert len(base64.b64decode(document["keys"][document["current"]])) == 32


def test_keys_that_belong_to_a_store_are_not_replaced_when_they_are_lost(tmp_path):
    path = tmp_path / "keys.toml"
    with pytest.raises(ConfigError, match="is missing"):
        load_or_create(path, create=False)
    assert not path.exists()
    made = load_or_create(path)
    assert load_or_create(path, create=False).fingerprint == made.fingerprint
