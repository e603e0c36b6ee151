"""``smtpeter features``, and what other commands say of features that are wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

OPTION = ('Option("NAME", "what it does")', 'Option("NAME", "what it does", aliases=("old",))')


def test_they_are_listed_in_running_order_with_all_that_is_known(gateway, modules):
    a = modules.write("a", ("after = ()", "after = ('b', 'elsewhere')"), OPTION)
    b = modules.write("b", ("before = ()", "before = ('c',)"))
    c = modules.write("c")
    gateway.configure('[features]\ndisabled = ["c"]\n')
    first, second, third = gateway.json("features")
    assert [each["name"] for each in (first, second, third)] == ["b", "a", "c"]
    assert second == {
        "name": "a",
        "options": [{"name": "a", "aliases": ["old"], "kind": "switch", "help": "what it does"}],
        "after": ["b", "elsewhere"],
        "before": [],
        "origin": str(a),
        "distribution": None,
        "enabled": True,
    }
    assert (first["origin"], first["before"], first["enabled"]) == (str(b), ["c"], True)
    assert (third["origin"], third["enabled"]) == (str(c), False)
    shown = gateway.run("features").stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["NAME", "b", "a", "c"]
    assert "a (old)" in shown[2]
    assert "c (disabled)" in shown[3]
    assert str(c) in shown[3]


def test_none_is_installed(gateway, modules):
    assert gateway.json("features") == []
    assert gateway.run("features").stdout == "(none)\n"


def test_neither_keys_nor_store_are_needed_or_made(gateway, modules):
    modules.write("a", ("return Feature(section, services)", "raise AssertionError"))
    assert [each["name"] for each in gateway.json("features")] == ["a"]
    assert not gateway.data_dir.exists()


def test_a_class_in_place_of_an_object_is_remarked(gateway, modules):
    path = modules.write("a", ("plugin = Plugin()\n", ""))
    assert gateway.run("features").stderr.startswith(f"warning: {path}: Plugin is a class")
    assert f"{path}: Plugin is a class" in gateway.run("check").stdout


@pytest.mark.parametrize("command", [("features",), ("login", "add", "--account", "a@example.com", "--enable", "x")])
def test_what_is_wrong_is_one_line_and_1(gateway, modules, command):
    paths = [modules.write_source(name, "1 / 0\n") for name in ("a", "b")]
    refused = gateway.refused(*command)
    assert all(f"{path}: cannot be imported: line 1: ZeroDivisionError" in refused for path in paths)


def test_commands_that_need_no_features_do_not_touch_them(gateway, modules):
    modules.write_source("a", "1 / 0\n")
    gateway.json("account", "add", "ann@example.com")
    gateway.json("login", "add", "--account", "ann@example.com")
    gateway.json("queue", "list")


def test_check_tells_everything_that_is_wrong_with_them(gateway, modules):
    path = modules.write("a", ("return Feature(section, services)", "raise ConfigError('level: is no number')"))
    modules.write("b", ("return Feature(section, services)", "raise KeyError"))
    gateway.configure('[features.a]\nlevel = "x"\n')
    lines = gateway.run("check").stdout.splitlines()
    assert "error: features.a: level: is no number" in lines
    assert f"error: {path.with_name('b.py')}: feature b cannot be configured: KeyError" in lines
    path.unlink()
    assert any(
        line.startswith("error: features.a: there is no such feature")
        for line in gateway.run("check").stdout.splitlines()
    )


def test_check_is_content_with_sound_ones(gateway, modules):
    modules.write("a")
    assert not [line for line in gateway.run("check").stdout.splitlines() if "feature" in line]
    assert not gateway.data_dir.exists()


def test_attack_features_in_the_current_directory_are_not_run(gateway, tmp_path):
    """``python -m`` puts the current directory first on the path on which features are looked for."""
    planted = tmp_path / "cwd" / "smtpeter" / "plugins"
    planted.mkdir(parents=True)
    (planted / "evil.py").write_text("raise AssertionError('this was run')\n")
    code = "import runpy, sys; sys.path.insert(0, ''); from smtpeter.cli.main import main; main()"
    for search in ([], ["-P"]):
        result = subprocess.run(
            [sys.executable, *search, "-c", code, "--config", gateway.config, "features"],
            cwd=tmp_path / "cwd",
            env={**os.environ, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        assert "evil" not in result.stdout
