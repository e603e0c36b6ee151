import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from smtpeter import __version__, ownership, settings
from smtpeter.cli import installation
from smtpeter.cli.main import smtpeter
from smtpeter.errors import StorageUnavailable
from smtpeter.store.migrate import known_migrations
from tests.unit.cli.conftest import EMAIL


def run(*arguments):
    return CliRunner().invoke(smtpeter, arguments)


def test_version():
    assert run("--version").stdout == f"smtpeter {__version__}\n"


def test_every_command_has_help_and_json():
    def commands(group, path):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from commands(command, (*path, name))
            else:
                yield (*path, name)

    found = list(commands(smtpeter, ()))
    assert len(found) > 20
    for path in found:
        result = run(*path, "--help")
        assert result.exit_code == 0
        assert "--json" in result.stdout


@pytest.mark.parametrize("arguments", [("queue", "explode"), ("--nonsense", "check"), ("account", "add"), ()])
def test_wrong_usage_is_2(arguments):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")


def test_demo_and_config_exclude_each_other(tmp_path):
    assert run("--demo", "--config", str(tmp_path / "x"), "account", "list").exit_code == 2


def test_a_missing_default_configuration_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(installation, "DEFAULT_FILE", tmp_path / "none.toml")
    result = run("account", "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert "none.toml" in result.stderr
    assert "--demo" in result.stderr


def test_a_wrong_configuration_is_one_line(gateway):
    gateway.config.write_text("colour = 1\nshape = 2\n")
    refused = gateway.refused("account", "list")
    assert "colour" in refused
    assert "shape" in refused


def test_keys_of_another_store_are_refused(gateway):
    gateway.add_account()
    (gateway.data_dir / "keys.toml").unlink()
    gateway.refused("account", "list")


def test_trouble_of_the_store_and_of_the_system_are_one_line(gateway, monkeypatch):
    def fail_with(error):
        def open_for_command(*arguments):
            raise error

        monkeypatch.setattr(installation, "open_for_command", open_for_command)

    fail_with(StorageUnavailable("the disk is\nangry"))
    assert "the store cannot do this now" in gateway.refused("account", "list")
    fail_with(PermissionError(13, "Permission denied", "/x/y"))
    assert gateway.refused("account", "list") == "smtpeter: Permission denied: /x/y\n"


def test_data_dir_that_is_a_file_is_one_line(gateway):
    gateway.data_dir.write_text("")
    gateway.refused("account", "list")


def test_the_demonstration_works_before_its_first_start(tmp_path):
    result = run("--demo-dir", str(tmp_path / "demo"), "account", "list")
    assert result.exit_code == 0
    assert "demo@example.com" in result.stdout
    assert run("--demo-dir", str(tmp_path / "demo"), "--demo", "message", "list", "--json").stdout == "[]\n"


def test_a_reader_that_has_seen_enough_ends_us_quietly(gateway):
    id = gateway.enqueue("x@example.net", data=b"x: y\r\n\r\n" + b"line\r\n" * 50_000)
    command = [sys.executable, "-c", "from smtpeter.cli.main import main; main()", "--config", str(gateway.config)]
    process = subprocess.Popen(
        [*command, "message", "raw", id], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert process.stdout.read(1) == b"x"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_makes_files_that_the_owner_of_data_dir_can_open(gateway, tmp_path, monkeypatch):
    monkeypatch.setattr(installation, "refuse_closed_python", lambda: None)  # the tests' own may be in root's home
    known_migrations()  # likewise: what it imports is then there
    for directory in (tmp_path, *tmp_path.parents[:3]):
        if directory.stat().st_uid == 0 and directory != Path("/tmp"):
            directory.chmod(0o755)
    gateway.data_dir.mkdir(mode=0o700)
    os.chown(gateway.data_dir, 12345, 12346)
    gateway.json("account", "add", EMAIL)
    made = list(gateway.data_dir.rglob("*"))
    assert made
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(12345, 12346)}
    assert os.geteuid() == os.getegid() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_python_that_the_owner_of_data_dir_cannot_read_is_one_line(gateway, monkeypatch):
    gateway.data_dir.mkdir(mode=0o700)
    os.chown(gateway.data_dir, 12345, 12346)
    monkeypatch.setattr(ownership.os, "access", lambda path, mode, *, effective_ids=False: not effective_ids)
    assert "smtpeter: the user 12345 cannot read " in gateway.refused("account", "add", EMAIL)


def test_the_default_file_is_where_the_documentation_says():
    assert str(settings.DEFAULT_FILE) == "/etc/smtpeter/smtpeter.toml"
