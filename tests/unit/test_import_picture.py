"""Holds the picture of who may import whom, as docs/architecture.md shows it.

The checker reads sources and runs none of them.  It answers complaints, one line each; its own tests are below.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

TOP = {"tap", "service", "ports", "upkeep", "cli", "demo", "worker", "composer", "assembly", "outgoing"}
ADAPTERS = {"auth", "intake", "features", "store", "delivery", "events", "web", "clock", "log", "systemd"}
PURE = {"smtp", "mime", "delivery.dnswire", "delivery.mx", "delivery.networks", "delivery.throttle", "delivery.retry"}
GROUND = {
    "batches", "eager", "model", "interfaces", "errors", "settings", "locations", "ownership",
    "quantities", "seals", "version",
}  # fmt: skip
API = {"api"}
PLUGINS = {"plugins"}
ROOMS = TOP | ADAPTERS | PURE | GROUND | API | PLUGINS

MAY_IMPORT = {
    **dict.fromkeys(TOP, ROOMS),
    **dict.fromkeys(ADAPTERS, PURE | GROUND),
    **dict.fromkeys(PURE | GROUND, GROUND),
    "features": PURE | GROUND | PLUGINS,
    "api": PURE | GROUND,
    "plugins": set(),
}

# Modules that bring I/O, a clock or a reactor with them.
IMPURE = {
    "asyncio", "fcntl", "glob", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random", "resource",
    "secrets", "select", "selectors", "shutil", "signal", "smtplib", "socket", "sqlite3", "ssl", "subprocess", "sys",
    "tempfile", "threading", "time", "twisted", "zope",
}  # fmt: skip
DATABASES = {"sqlite3", "psycopg"}
HEAVY_PARSERS = {"bs4", "css_inline", "cssutils", "html5lib", "inscriptis", "lxml", "mjml", "premailer"}
SQL = re.compile(
    r"\b(?:SELECT\s.+\sFROM\s|INSERT\s+(?:OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|"
    r"(?:CREATE|DROP|ALTER)\s+(?:TABLE|INDEX|TRIGGER|VIEW)\s|PRAGMA\s|BEGIN\s+IMMEDIATE\b)",
    re.DOTALL,
)
WALL_CLOCK = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


class Import(NamedTuple):
    line: int
    module: str
    at_top: bool


def complaints(root: Path) -> list[str]:
    """All that is wrong in a tree with ``smtpeter/`` and ``plugins/``, as ``path:line: what``."""
    return [
        f"{path.relative_to(root)}:{line}: {what}" for path in sources(root) for line, what in sorted(check(root, path))
    ]


def sources(root: Path) -> list[Path]:
    return sorted([*root.glob("smtpeter/**/*.py"), *root.glob("plugins/*.py")])


def check(root: Path, path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text("utf-8"))
    module = module_name(root, path)
    found = list(imports(tree, module, is_package=path.name == "__init__.py"))
    room = room_of(module)
    if module == "smtpeter":
        yield from ((item.line, f"the package itself imports {item.module}") for item in found)
        return
    if room not in ROOMS and module.partition(".")[0] == "smtpeter":
        yield 1, f"{module} has no place in the picture"
        return
    for item in found:
        yield from check_import(module, room, item)
    if room != "store":
        yield from ((line, "SQL outside the store") for line, text in strings(tree) if SQL.search(text))
    if room != "clock":
        yield from ((line, f"{name}() is wall time: ask IClock") for line, name in calls(tree) if name in WALL_CLOCK)
    if room in PURE:
        yield from ((line, "open() in a pure module") for line, name in calls(tree) if name == "open")
    if room == "interfaces":
        yield from ((line, "code in interfaces.py") for line in bodies_with_code(tree))


def check_import(module: str, room: str, item: Import) -> Iterator[tuple[int, str]]:
    top, _, rest = item.module.partition(".")
    if top == "smtpeter":
        target = room_of(item.module)
        if room == "":
            if rest.partition(".")[0] != "api":
                yield item.line, f"a feature imports {item.module}, not smtpeter.api"
        elif target != room and target not in MAY_IMPORT[room]:
            yield item.line, f"{room} imports {item.module}"
    if room in PURE | {"model", "errors", "quantities"} and top in IMPURE:
        yield item.line, f"{room} is pure and imports {item.module}"
    if f"{item.module}.".startswith("twisted.internet.reactor.") and module != "smtpeter.tap":
        yield item.line, "the global reactor outside tap.py"
    if top in DATABASES and room != "store":
        yield item.line, f"{top} outside the store"
    if top in HEAVY_PARSERS and room not in ("", "mime"):
        yield item.line, f"{top} outside plugins/ and mime/"
    if top in HEAVY_PARSERS and item.at_top:
        yield item.line, f"{top} is heavy: import it where it is used"


def module_name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room of a dotted name; empty outside the walls."""
    parts = module.split(".")
    if parts[0] != "smtpeter":
        return ""
    if len(parts) == 1 or parts[1].startswith("__"):
        return "version"
    inner = ".".join(parts[1:3])
    return inner if inner in PURE else parts[1]


def imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[Import]:
    """Every import wherever it stands; of ``from a import b`` both readings that can be a module: a.b."""
    at_top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, id(node) in at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                above = package[: len(package) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from (Import(node.lineno, f"{base}.{alias.name}", id(node) in at_top) for alias in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func) in (
            "__import__",
            "import_module",
            "importlib.import_module",
        ):
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield Import(node.lineno, name.value, False)


def strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string with its line, except docstrings."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every call of a plain or dotted name, by the last two words of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ".".join(dotted(node.func).split(".")[-2:])


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def bodies_with_code(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from (line.lineno for line in node.body if not is_docstring(line))


def is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


# --- the picture, held ----------------------------------------------------------------------------------------------


def test_the_picture_holds() -> None:
    assert complaints(CHECKOUT) == []


def test_nothing_is_overlooked() -> None:
    names = {module_name(CHECKOUT, path) for path in sources(CHECKOUT)}
    assert {"smtpeter", "smtpeter.interfaces", "smtpeter.smtp.server", "smtpeter.mime.dsn", "smtpeter.plugins"} <= names


# --- the checker, checked -------------------------------------------------------------------------------------------


def complaints_about(root: Path, path: str, source: str) -> list[str]:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source, "utf-8")
    return complaints(root)


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("smtpeter/auth/a.py", "from smtpeter.store.opening import x", "auth imports smtpeter.store"),
        ("smtpeter/auth/a.py", "import smtpeter.store", "auth imports smtpeter.store"),
        ("smtpeter/auth/a.py", "from smtpeter import store", "auth imports smtpeter.store"),
        ("smtpeter/auth/a.py", "from ..store import opening", "auth imports smtpeter.store.opening"),
        ("smtpeter/auth/__init__.py", "from .. import store", "auth imports smtpeter.store"),
        ("smtpeter/auth/a.py", "def f():\n    from smtpeter.web import x", ":2: auth imports smtpeter.web"),
        ("smtpeter/auth/a.py", "if TYPE_CHECKING:\n    from smtpeter.web import x", "auth imports smtpeter.web"),
        ("smtpeter/auth/a.py", "importlib.import_module('smtpeter.web')", "auth imports smtpeter.web"),
        ("smtpeter/intake/a.py", "from smtpeter.service import Gateway", "intake imports smtpeter.service"),
        ("smtpeter/intake/a.py", "import smtpeter.cli.main", "intake imports smtpeter.cli.main"),
        ("smtpeter/intake/a.py", "import smtpeter.delivery.agent", "intake imports smtpeter.delivery.agent"),
        ("smtpeter/model/a.py", "from smtpeter.smtp.grammar import x", "model imports smtpeter.smtp"),
        ("smtpeter/smtp/a.py", "from smtpeter.mime import header", "smtp imports smtpeter.mime"),
        ("smtpeter/delivery/retry.py", "from smtpeter.delivery import agent", "delivery.retry imports smtpeter"),
        ("smtpeter/plugins/__init__.py", "from smtpeter.store import x", "plugins imports smtpeter.store"),
        ("smtpeter/__init__.py", "import os", "the package itself imports os"),
        ("smtpeter/helpers.py", "", "smtpeter.helpers has no place in the picture"),
        ("smtpeter/smtp/a.py", "import os.path", "smtp is pure and imports os.path"),
        ("smtpeter/mime/a.py", "from time import time", "mime is pure and imports time.time"),
        ("smtpeter/mime/a.py", "open('x')", "open() in a pure module"),
        ("smtpeter/delivery/throttle.py", "from twisted import web", "delivery.throttle is pure and imports twisted"),
        ("smtpeter/model/a.py", "import socket", "model is pure and imports socket"),
        ("smtpeter/service.py", "from twisted.internet import reactor", "the global reactor"),
        ("smtpeter/auth/a.py", "import twisted.internet.reactor", "the global reactor"),
        ("smtpeter/auth/a.py", "from twisted.internet.reactor import callLater", "the global reactor"),
        ("smtpeter/web/a.py", "import sqlite3", "sqlite3 outside the store"),
        ("smtpeter/cli/a.py", "from psycopg import rows", "psycopg outside the store"),
        ("smtpeter/web/a.py", "X = 'SELECT id\\nFROM recipient'", "SQL outside the store"),
        ("smtpeter/web/a.py", "X = f'UPDATE {table} SET x = 1'\nY = 'DELETE FROM t'", ":2: SQL outside the store"),
        ("smtpeter/web/a.py", "import time\ntime.time()", ":2: time.time() is wall time"),
        ("smtpeter/web/a.py", "import datetime\ndatetime.datetime.now()", ":2: datetime.now() is wall time"),
        ("smtpeter/interfaces.py", "class I(Interface):\n    def f():\n        return 1", ":3: code in interfaces.py"),
        ("smtpeter/web/a.py", "def f():\n    import lxml.html", "lxml outside plugins/ and mime/"),
        ("plugins/a.py", "import premailer", "premailer is heavy"),
        ("plugins/a.py", "from smtpeter.interfaces import IClock", "a feature imports smtpeter.interfaces.IClock"),
        ("plugins/a.py", "import smtpeter", "a feature imports smtpeter, not"),
    ],
)  # fmt: skip
def test_a_breach_is_found(tmp_path: Path, path: str, source: str, complaint: str) -> None:
    found = complaints_about(tmp_path, path, source)
    assert len(found) == 1
    assert found[0].startswith(path)
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("smtpeter/service.py", "import smtpeter.store.opening\nfrom smtpeter.web import site"),
        ("smtpeter/tap.py", "def makeService(o):\n    from twisted.internet import reactor"),
        ("smtpeter/auth/a.py", "from smtpeter import __version__\nfrom smtpeter.auth import b\nfrom . import c"),
        ("smtpeter/delivery/agent.py", "from smtpeter.delivery.retry import x\nfrom smtpeter.smtp.framing import y"),
        ("smtpeter/features/catalog.py", "from smtpeter import plugins\nimport smtpeter.plugins"),
        ("smtpeter/store/sqlite/a.py", "import sqlite3\nX = 'SELECT 1 FROM x '"),
        ("smtpeter/web/a.py", '"""SELECT x FROM y where prose speaks."""\nX = "Select a row from the table"'),
        ("smtpeter/web/a.py", "import time\ntime.monotonic()\nself._clock.time()"),
        ("smtpeter/clock.py", "import time\ntime.time()"),
        ("smtpeter/interfaces.py", 'class I(Interface):\n    def f():\n        """What it is for."""'),
        ("smtpeter/mime/a.py", "import re\ndef f():\n    from lxml import html"),
        ("plugins/a.py", "from smtpeter.api import IFeaturePlugin\nimport re\ndef f():\n    import premailer"),
        ("plugins/a.py", "from smtpeter import api"),
    ],
)
def test_what_is_allowed_is_not_complained_about(tmp_path: Path, path: str, source: str) -> None:
    assert complaints_about(tmp_path, path, source) == []
