"""Where features are: in the modules of ``smtpeter.plugins``, and in the directories that ``[features] paths`` names.

The modules are imported here and not by ``twisted.plugin``, which passes over a broken one in silence and writes a
cache beside it.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from smtpeter import plugins
from smtpeter.errors import ConfigError
from smtpeter.interfaces import IFeaturePlugin
from smtpeter.ownership import user_name


class CatalogError(ConfigError):
    """Why the features cannot be used: ``problems`` has one line for each, with the file or the key concerned."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Discovered(NamedTuple):
    """A module-level object that says of itself that it is a feature, and the file in which it is."""

    plugin: Any
    variable: str
    origin: Path


def discover(paths: Sequence[Path]) -> tuple[list[Discovered], list[str]]:
    """All features, in no order that means anything, and remarks about modules that have none.

    :raises CatalogError: where a module cannot be imported, or a directory cannot be trusted.
    """
    problems = [problem for path in paths for problem in _distrust(path)]
    if problems:
        raise CatalogError(problems)
    importlib.invalidate_caches()
    found: dict[int, Discovered] = {}
    remarks: list[str] = []
    for spec in _specs([*plugins.__path__, *map(str, paths)], problems):
        origin = Path(spec.origin or "")
        known = len(found)
        try:
            module = _load(spec)
            for variable, value in list(vars(module).items()):
                if IFeaturePlugin.providedBy(value):
                    found.setdefault(id(value), Discovered(value, variable, origin))
        except (Exception, SystemExit) as error:
            problems.append(f"{origin}: cannot be imported: {_told(error, origin)}")
            continue
        if len(found) == known:
            remarks += _remarks(module, origin)
    if problems:
        raise CatalogError(problems)
    return list(found.values()), remarks


def one_line(error: BaseException) -> str:
    """What an exception of a feature says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _distrust(path: Path) -> Iterator[str]:
    """Why what is in a directory may not be run: others could have put it there."""
    if not path.is_dir():
        yield f"features.paths: {path} is not a directory"
    elif not os.access(path, os.R_OK | os.X_OK, effective_ids=True):
        yield f"features.paths: {path} cannot be read by this user"
    else:
        trusted = (0, os.geteuid())
        for each in (path, *sorted(path.rglob("*"))):
            if not each.exists():
                continue
            status = each.stat()
            if status.st_mode & 0o022:
                yield f"features.paths: {each} can be changed by group or others: chmod go-w {each}"
            if status.st_uid not in trusted:
                yield f"features.paths: {each} can be changed by {user_name(status.st_uid)}: chown root {each}"
            if each != path and each.is_symlink() and each.is_dir():
                yield f"features.paths: {each} leads to another directory, which is not looked into: put a copy there"


def _specs(directories: Sequence[str], problems: list[str]) -> Iterator[ModuleSpec]:
    """How each module of these directories would be imported; names that are there twice are ``problems``."""
    names: dict[str, str | None] = {}
    once = {os.path.realpath(each): each for each in reversed(directories)}
    for directory in reversed(once.values()):
        for finder, name, _ in pkgutil.iter_modules([directory]):
            spec = finder.find_spec(f"{plugins.__name__}.{name}", None)
            if spec is None:
                continue
            if name in names:
                problems.append(f"{spec.origin}: there is a module with this name in {names[name]} already")
            else:
                names[name] = spec.origin
                yield spec


def _load(spec: ModuleSpec) -> ModuleType:
    """Import a module, unless that was done before."""
    loaded = sys.modules.get(spec.name)
    known = getattr(getattr(loaded, "__spec__", None), "origin", None)
    if loaded is not None and known and os.path.realpath(known) == os.path.realpath(spec.origin or ""):
        return loaded
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _told(error: BaseException, origin: Path) -> str:
    """An exception on one line, with the line of the module that it came from."""
    if isinstance(error, SyntaxError):
        return one_line(error)  # it tells the line by itself
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(origin)]
    return f"line {lines[-1]}: {one_line(error)}" if lines else one_line(error)


def _remarks(module: ModuleType, origin: Path) -> Iterator[str]:
    """What was forgotten where a module looks like a feature and has none."""
    for name, value in vars(module).items():
        if isinstance(value, type) and value.__module__ == module.__name__ and IFeaturePlugin.implementedBy(value):
            yield f"{origin}: {name} is a class; a feature is an object, such as: plugin = {name}()"
