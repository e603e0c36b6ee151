"""Rules in TOML files: reading them with every complaint named, and telling whether a reply is what a rule speaks of.

A pattern of a rule is held against text that a stranger chose, in the reactor's thread.  So only patterns are taken
whose work is bounded: see :func:`compile_pattern`.
"""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from smtpeter.errors import ConfigError
from smtpeter.model.reply import TEXT_LIMIT

STAGES = ("route", "connect", "greeting", "hello", "starttls", "auth", "mail", "rcpt", "data", "message", "end")
_MOST_WORK = 4096  # ways in which a pattern may be tried at one place of a text

_CODE = re.compile(r"[245][0-9x]{2}", re.ASCII)
_ENHANCED = re.compile(r"[245*]\.(?:\*|[0-9?]{1,3}\.(?:\*|[0-9?]{1,3}))", re.ASCII)
_TOKEN = re.compile(
    r"(?P<escape>\\[1-9])|(?P<atom>\\.|\[\^?\]?(?:\\.|[^\]\\])*\])|(?P<open>\((?:\?(?::|i:|[=!]|<[=!]|P<\w+>))?)|(?P<close>\))"
    r"|(?P<or>\|)|(?P<repeat>(?:[*+?]|\{[0-9]*(?:,[0-9]*)?\})[?+]?)|(?P<other>.)",
    re.DOTALL,
)


class Condition(NamedTuple):
    """What a reply has to be like.  ``codes``, ``enhanced`` and ``stages`` are glob patterns, of which one has to fit;
    none: whatever it is."""

    codes: tuple[str, ...] = ()
    enhanced: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    text: re.Pattern[str] | None = None

    def may_fit(self, code: int, enhanced: str, stage: str) -> bool:
        """Whether it fits, but for the text."""
        return (
            (not self.codes or _any_fits(str(code), self.codes))
            and (not self.enhanced or _any_fits(enhanced, self.enhanced))
            and (not self.stages or stage in self.stages)
        )


def _any_fits(value: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns)


# --- values ---------------------------------------------------------------------------------------------------------
# Each reader takes a value of TOML, and gives what it means or raises ValueError with a text that follows the value.


def read_text(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("is not a text")
    return value


def read_texts(value: object) -> tuple[str, ...]:
    """One text or a list of them."""
    return tuple(read_text(each) for each in (value if isinstance(value, list) and value else [value]))


def read_truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def read_codes(value: object) -> tuple[str, ...]:
    """Reply codes: 421, "45x", or a list of such."""
    codes = []
    for each in value if isinstance(value, list) and value else [value]:
        text = str(each) if isinstance(each, (int, str)) and not isinstance(each, bool) else ""
        if not _CODE.fullmatch(text):
            raise ValueError('is not a reply code (try 421, "45x" or [421, 451])')
        codes.append(text.replace("x", "?"))
    return tuple(codes)


def read_enhanced(value: object) -> tuple[str, ...]:
    """Enhanced status codes: "4.7.0", "*.1.1", "5.7.*", "5.7.60?", "none", or a list of such."""
    codes = read_texts(value)
    if not all(each == "none" or _ENHANCED.fullmatch(each) for each in codes):
        raise ValueError('is not an enhanced status code (try "4.7.0", "*.1.1", "5.7.*" or "none")')
    return tuple("" if each == "none" else each for each in codes)


def read_stages(value: object) -> tuple[str, ...]:
    """Stages of the dialogue, by the words of :class:`smtpeter.model.delivery.Outcome`."""
    stages = read_texts(value)
    if not set(stages) <= set(STAGES):
        raise ValueError("is not a stage (known: " + ", ".join(STAGES) + ")")
    return stages


def compile_pattern(value: object) -> re.Pattern[str]:
    """A regular expression whose case does not matter and whose work is bounded, whatever text it meets.

    What repeats may not hold what repeats, and all repetitions together must be few: ``.{0,40}``, not ``.*`` twice.

    :raises ValueError: where it is none, or may take too long.
    """
    text = read_text(value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            pattern = re.compile(text, re.IGNORECASE)
    except (re.error, FutureWarning, OverflowError, RecursionError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if _work(text) > _MOST_WORK:
        raise ValueError("may take too long on a long text (write .{0,40} instead of .*, and repeat nothing twice)")
    return pattern


def _work(pattern: str) -> float:
    """In how many ways the repetitions of a pattern may be tried at one place of a text, at most.

    Alternatives are taken to differ, except where they are repeated together.
    """
    outer: list[tuple[float, float, bool]] = []
    most, product, either = 0.0, 1.0, False  # of the alternatives before, of this one, whether there are several
    last = 1.0  # of what a repetition would repeat
    for token in _TOKEN.finditer(pattern):
        kind = token.lastgroup
        if kind == "open":
            outer.append((most, product, either))
            most, product, either = 0.0, 1.0, False
        elif kind == "close":
            inner = max(most, product)
            last = max(inner, 2.0) if either else inner
            most, product, either = outer.pop()
            product *= inner
        elif kind == "or":
            most, product, either = max(most, product), 1.0, True
        elif kind == "repeat":
            times = _times(token[0])
            if last == 1.0 or times <= 2:
                product *= times
            else:
                product *= last ** (times - 2) if times <= 12 else float("inf")
        elif kind == "escape":
            product = float("inf")  # a back-reference: nobody can tell
        else:
            last = 1.0
        if product > 1e9:
            return product
    return max(most, product)


def _times(repeat: str) -> int:
    repeat = repeat.rstrip("?+") or repeat[0]
    if repeat == "?":
        return 2
    if repeat in ("*", "+"):
        return TEXT_LIMIT
    most = repeat.strip("{}").rpartition(",")[2]
    return int(most) + 1 if most else TEXT_LIMIT


# --- tables ---------------------------------------------------------------------------------------------------------

Readers = Mapping[str, Callable[[object], Any]]
CONDITION: Readers = {
    "code": read_codes,
    "enhanced": read_enhanced,
    "stage": read_stages,
    "text": compile_pattern,
}


def condition_of(values: Mapping[str, Any]) -> Condition:
    """The condition among the values of a table that was read with :data:`CONDITION`."""
    return Condition(values.get("code", ()), values.get("enhanced", ()), values.get("stage", ()), values.get("text"))


def load_table(path: Path) -> Mapping[str, Any]:
    """A TOML file as it is.

    :raises ConfigError: where it cannot be read or is no TOML (one line).
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}".replace("\n", " ")) from None


def read_values(table: Mapping[str, object], readers: Readers, where: str, problems: list[str]) -> dict[str, Any]:
    """The values of a table; what is wrong is added to ``problems``, one line each, and left out."""
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in readers:
            near = get_close_matches(name, readers, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(readers)}"
            problems.append(f"{where}: unknown key {shown(name)} ({hint})")
            continue
        try:
            values[name] = readers[name](value)
        except ValueError as error:
            problems.append(f"{where}: {name}: {shown(value)} {error}")
    return values


def read_tables(value: object, where: str, problems: list[str]) -> list[Mapping[str, object]]:
    """A list of tables, ``[[where]]``."""
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return value
    problems.append(f"{where}: {shown(value)} is not a list of tables (try [[{where}]])")
    return []


def shown(value: object) -> str:
    """A value as an error text repeats it: one line, not too long."""
    if isinstance(value, dict):
        return "the table"
    text = json.dumps(value) if isinstance(value, (str, bool, list)) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
