"""An installed smtpeter, looked at from a directory that has nothing to do with it.

Three ways to install, each in a virtual environment of its own.  The libraries come from the environment that runs the
tests, by a path file: a directory that is reached that way has its own path files ignored, so that an editable install
of this checkout stays invisible.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "build", "dist", "*.egg-info"
)
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation")
WAYS = ("plain", "wheel", "editable")
PROBE = "import smtpeter.plugins.probe as probe; print(probe.__file__, probe.ANSWER)"
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"


class Installation(NamedTuple):
    way: str
    tree: Path
    root: Path
    elsewhere: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(command, cwd=self.elsewhere, env=environment, capture_output=True, text=True, timeout=60)

    def python(self, code: str, *arguments: str) -> str:
        """What Python code prints; isolated, so that the current directory is not looked into."""
        result = self.run(str(self.root / "bin" / "python"), "-I", "-c", code, *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout + result.stderr


def pip(python: Path, *arguments: str) -> None:
    """Runs this environment's pip for another Python, offline and with what is there."""
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "-q",
            "--disable-pip-version-check",
            "--python",
            str(python),
            *arguments,
            *OFFLINE,
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def make_environment(root: Path) -> Path:
    venv.create(root, symlinks=True)
    python = root / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (root / "lib" / version / "site-packages" / "tests-libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def copy_tree(target: Path) -> Path:
    """The checkout with one feature more."""
    shutil.copytree(CHECKOUT, target, ignore=NOT_COPIED)
    (target / "plugins" / "probe.py").write_text("ANSWER = 42\n")
    return target


@pytest.fixture(scope="module", params=WAYS)
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    way = str(request.param)
    base = tmp_path_factory.mktemp(way)
    tree = copy_tree(base / "tree")
    elsewhere = base / "elsewhere"
    elsewhere.mkdir()
    python = make_environment(base / "venv")
    if way == "editable":
        pip(python, "install", "-e", str(tree))
    elif way == "wheel":
        pip(python, "wheel", "-w", str(base / "wheels"), str(tree))
        pip(python, "install", *map(str, (base / "wheels").glob("*.whl")))
    else:
        pip(python, "install", str(tree))
    if way != "editable":
        shutil.rmtree(tree)
    return Installation(way, tree, base / "venv", elsewhere)


def test_twistd_knows_the_subcommand(installation: Installation) -> None:
    shown = installation.python(TWISTD, "--help")
    assert any(line.split()[:1] == ["smtpeter"] for line in shown.splitlines()), shown


def test_twistd_makes_the_options(installation: Installation) -> None:
    shown = installation.python(TWISTD, "smtpeter", "--help")
    assert "--demo" in shown
    assert "--config" in shown


def test_command_tells_its_version(installation: Installation) -> None:
    from smtpeter import __version__

    result = installation.run(str(installation.root / "bin" / "smtpeter"), "--version")
    assert result.returncode == 0, result.stderr
    assert __version__ in result.stdout


def test_schema_is_there(installation: Installation) -> None:
    code = (
        "import importlib.resources as r; "
        "print(r.files('smtpeter.store').joinpath('schema', '0001.sql').read_text('utf-8'))"
    )
    assert installation.python(code).strip() == (CHECKOUT / "smtpeter/store/schema/0001.sql").read_text("utf-8").strip()


def test_data_is_there(installation: Installation) -> None:
    code = (
        "from smtpeter.delivery import classify, shaping; classify.load(); "
        "print(shaping.load().site(['aspmx.l.google.com']))"
    )
    assert installation.python(code).strip() == "google"


def test_features_of_plugins_are_discovered(installation: Installation) -> None:
    shown = installation.python(PROBE)
    where, answer = shown.split()
    assert answer == "42"
    inside = installation.tree / "plugins" if installation.way == "editable" else installation.root
    assert Path(where).is_relative_to(inside)


def test_our_own_features_are_found_with_where_they_came_from(installation: Installation) -> None:
    result = installation.run(
        str(installation.root / "bin" / "smtpeter"),
        "--demo-dir",
        str(installation.elsewhere / "demo"),
        "features",
        "--json",
    )
    assert result.returncode == 0, result.stderr
    inside = installation.tree / "plugins" if installation.way == "editable" else installation.root
    found = {each["name"]: each for each in json.loads(result.stdout)}
    assert set(found) == {path.stem for path in (CHECKOUT / "plugins").glob("*.py")}
    for each in found.values():
        assert Path(each["origin"]).is_relative_to(inside)
        assert (each["distribution"], each["enabled"]) == ("smtpeter", True)


def test_current_directory_is_not_searched(installation: Installation) -> None:
    for directory in ("plugins", "smtpeter/plugins"):
        (installation.elsewhere / directory).mkdir(parents=True, exist_ok=True)
        (installation.elsewhere / directory / "stray.py").write_text("")
    code = "import importlib.util as u; print(u.find_spec('smtpeter.plugins.stray'))"
    assert installation.python(code).strip() == "None"


def test_third_party_feature_is_discovered(installation: Installation) -> None:
    """Another distribution ships smtpeter/plugins/acme.py, into the same directory or into one beside it."""
    other = installation.elsewhere / "acme" / "smtpeter" / "plugins"
    other.mkdir(parents=True)
    (other / "acme.py").write_text("ANSWER = 7\n")
    code = "import sys; sys.path.append(sys.argv[1]); from smtpeter.plugins import acme; print(acme.ANSWER)"
    assert installation.python(code, str(other.parents[1])).strip() == "7"


def test_stale_plugin_cache_does_no_harm(installation: Installation) -> None:
    """A cache of an older installation knows nothing of our plugin, or is no cache at all."""
    where = installation.python("import twisted.plugins.smtpeter_plugin as p; print(p.__file__)").strip()
    cache = Path(where).with_name("dropin.cache")
    empty_pickle = b"\x80\x04}."
    for content in (empty_pickle, b"rubbish"):
        cache.write_bytes(content)
        os.utime(cache, (4e9, 4e9))
        assert "smtpeter" in installation.python(TWISTD, "--help").split()


# --- what is in the box ---------------------------------------------------------------------------------------------


def build_wheel(tree: Path, target: Path) -> set[str]:
    pip(Path(sys.executable), "wheel", "-w", str(target), str(tree))
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_what_it_should_and_nothing_else(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    (tree / "twisted" / "plugins" / "dropin.cache").write_bytes(b"")
    (tree / "plugins" / "dropin.cache").write_bytes(b"")
    names = build_wheel(tree, tmp_path / "wheels")
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"smtpeter", "twisted"}
    assert {name for name in names if name.startswith("twisted/")} == {"twisted/plugins/smtpeter_plugin.py"}
    assert {"smtpeter/plugins/probe.py", "smtpeter/plugins/__init__.py", "smtpeter/store/schema/0001.sql"} <= names
    assert {"smtpeter/data/shaping.toml", "smtpeter/data/classification.toml"} <= names
    assert not any(name.endswith("dropin.cache") for name in names)
    assert any(name.endswith("LICENSE") for name in names)


def test_features_that_are_gone_do_not_stay_in_the_wheel(tmp_path: Path) -> None:
    """Built twice in one tree, as after an update of a checkout: a renamed feature must not be there twice."""
    tree = copy_tree(tmp_path / "tree")
    assert "smtpeter/plugins/probe.py" in build_wheel(tree, tmp_path / "first")
    (tree / "plugins" / "probe.py").rename(tree / "plugins" / "renamed.py")
    names = build_wheel(tree, tmp_path / "second")
    assert "smtpeter/plugins/renamed.py" in names
    assert "smtpeter/plugins/probe.py" not in names
