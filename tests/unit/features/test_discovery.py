"""Where features are found, and what is not run."""

import os

import pytest

from smtpeter import plugins
from smtpeter.features.discovery import CatalogError, discover


def found(paths=()):
    return {each.plugin.name: each.origin for each in discover(paths)[0]}


def refused(paths=()):
    """What is wrong, one line each."""
    with pytest.raises(CatalogError) as raised:
        discover(paths)
    assert all("\n" not in problem for problem in raised.value.problems)
    return list(raised.value.problems)


@pytest.fixture
def more(tmp_path):
    directory = tmp_path / "more"
    directory.mkdir(mode=0o755)
    return directory


def test_objects_are_found_in_every_module(modules, more):
    a, b = modules.write("a"), modules.write("b", directory=more)
    modules.write_source("nothing", "ANSWER = 42\n")
    assert found([more]) == {"a": a, "b": b}


def test_one_that_was_imported_by_another_module_is_found_once(modules):
    modules.write("b")
    modules.write_source("a", "from smtpeter.plugins.b import plugin as again\nalso = again\n")
    assert list(found()) == ["b"]


def test_a_module_is_imported_once(modules):
    modules.write("a")
    (first,), _ = discover(())
    (second,), _ = discover(())
    assert first.plugin is second.plugin


def test_a_directory_that_is_named_twice_is_searched_once(modules, more, monkeypatch):
    modules.write("a")
    link = more / "link"
    link.symlink_to(modules.directory)
    assert list(found([modules.directory, link])) == ["a"]


def test_a_class_in_place_of_an_object_is_remarked(modules):
    path = modules.write("a", ("plugin = Plugin()\n", ""))
    assert discover(()) == ([], [f"{path}: Plugin is a class; a feature is an object, such as: plugin = Plugin()"])


# --- modules that cannot be imported ---


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import nowhere_to_be_found\n", "line 1: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("a = 1\n\n\nb = a / 0\n", "line 4: ZeroDivisionError: division by zero"),
        ("def f():\n  raise ValueError('two\\nlines')\nf()\n", "line 2: ValueError: two lines"),
        ("def f(:\n", "SyntaxError: "),
        ("raise SystemExit(0)\n", "line 1: SystemExit: 0"),
        ("raise KeyError\n", "line 1: KeyError"),
    ],
)
def test_a_broken_module_is_told_with_its_file_and_line(modules, source, why):
    modules.write("sound")
    path = modules.write_source("broken", source)
    (problem,) = refused()
    assert problem.startswith(f"{path}: cannot be imported: {why}")


def test_all_broken_modules_are_told_at_once(modules):
    for name in ("a", "b"):
        modules.write_source(name, "raise ValueError(__name__)\n")
    assert len(refused()) == 2
    assert len(refused()) == 2, "a module that failed must not count as imported"


def test_attack_a_module_that_is_there_twice_is_not_run_in_place_of_the_other(modules, more):
    first = modules.write("a")
    second = modules.write_source("a", "raise AssertionError\n", more)
    assert refused([more]) == [f"{second}: there is a module with this name in {first} already"]


# --- directories that cannot be trusted ---


@pytest.mark.parametrize("what", [".", "a.py", "__pycache__", "__pycache__/a.pyc", "package", "package/__init__.py"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_attack_what_others_can_change_is_not_run(modules, more, what, mode):
    modules.write_source("a", "raise AssertionError\n", more)
    for directory in ("__pycache__", "package"):
        (more / directory).mkdir(mode=0o755)
    for file in ("__pycache__/a.pyc", "package/__init__.py"):
        (more / file).write_bytes(b"")
        (more / file).chmod(0o644)
    path = more / what
    path.chmod(path.stat().st_mode | mode)
    path = more if what == "." else path
    assert refused([more]) == [f"features.paths: {path} can be changed by group or others: chmod go-w {path}"]


def test_attack_a_link_to_what_others_can_change_is_not_followed(modules, more, tmp_path):
    (tmp_path / "theirs.py").write_text("raise AssertionError\n")
    (tmp_path / "theirs.py").chmod(0o666)
    (more / "a.py").symlink_to(tmp_path / "theirs.py")
    (problem,) = refused([more])
    assert str(more / "a.py") in problem


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", [".", "a.py"])
def test_attack_what_another_user_owns_is_not_run(modules, more, what):
    modules.write_source("a", "raise AssertionError\n", more)
    path = more if what == "." else more / what
    os.chown(path, 54321, -1)
    assert refused([more]) == [f"features.paths: {path} can be changed by 54321: chown root {path}"]


def test_attack_a_link_to_another_directory_is_not_followed(modules, more, tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o755)
    (tmp_path / "theirs" / "__init__.py").write_text("raise AssertionError\n")
    (tmp_path / "theirs" / "__init__.py").chmod(0o666)
    (more / "a").symlink_to(tmp_path / "theirs")
    (problem,) = refused([more])
    assert str(more / "a") in problem


def test_a_directory_has_to_be_one(modules, more):
    (more / "file").write_text("")
    assert refused([more / "file", more / "nothing"]) == [
        f"features.paths: {more / 'file'} is not a directory",
        f"features.paths: {more / 'nothing'} is not a directory",
    ]


def test_features_of_the_checkout_are_searched_and_the_current_directory_is_not():
    assert [path for path in plugins.__path__ if path.endswith("/smtpeter/plugins")]
    assert plugins.__path__[1].endswith("/plugins")
