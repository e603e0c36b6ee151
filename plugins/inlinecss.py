"""inlinecss: moves the style sheets of HTML into its ``style`` attributes, for readers that know nothing else.

What moves, and what stays, is told in ``smtpeter.mime.inlining``.  Which selector matches which element is found out
by premailer, or by css-inline, which is much faster.  Neither sees anything of the message but tags and selectors, so
there is nothing that could have them fetch or read something; they are told not to, all the same.

``[features.inlinecss]`` may have ``engine``, ``"premailer"`` (the default) or ``"css-inline"``, and ``cache``, the room
for results in each worker process, a size.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from sys import getsizeof
from typing import Any, Generic, TypeVar

from zope.interface import implementer

from smtpeter.api import (
    Bounds,
    ConfigError,
    FailurePolicy,
    IEditableMessage,
    IFeaturePlugin,
    IFeatureServices,
    Inlined,
    InliningEngine,
    IPrepareContext,
    IPreparingFeature,
    Option,
    Options,
    Stencil,
    TooComplex,
    apply_stencil,
    cut_html,
    inline_styles,
    make_stencil,
    parse_size,
    switched_on,
)

T = TypeVar("T")

NAME = "inlinecss"
_CACHE = 32_000_000  # octets, in each worker process
_SEEN = "seen"
_STYLED = re.compile(r'x-n="(\d+)"(?:[^>"]|"[^"]*")*? style="([^"]*)"')


def premailer() -> InliningEngine:
    """premailer, without ways to the outside."""
    import cssutils
    from lxml import etree
    from premailer import Premailer

    # It follows every @import, whatever premailer was told, and complains about the style sheets of other people.
    cssutils.util._defaultFetcher = lambda url: (None, b"")
    cssutils.log.setLevel(logging.CRITICAL + 1)

    def match(html: str, css: str) -> Mapping[int, str]:
        tree = etree.fromstring(html, etree.HTMLParser(no_network=True))
        Premailer(
            tree,
            css_text=[css],
            allow_network=False,
            allow_loading_external_files=False,
            align_floating_images=False,
            cache_css_parsing=False,
            disable_leftover_css=True,
            disable_validation=True,
            exclude_pseudoclasses=False,
            include_star_selectors=True,
        ).transform()
        return {int(element.get("x-n")): element.get("style", "") for element in tree.iter() if element.get("x-n")}

    return match


def css_inline() -> InliningEngine:
    """css-inline, without ways to the outside."""
    from css_inline import CSSInliner

    def match(html: str, css: str) -> Mapping[int, str]:
        inliner = CSSInliner(load_remote_stylesheets=False, extra_css=css)
        return {int(number): style for number, style in _STYLED.findall(inliner.inline(html))}

    return match


_BOUNDS = Bounds(characters=2_000_000, marks=20_000, depth=100, selectors=10_000, work=10_000_000, growth=1_000_000)
_ENGINES: dict[str, tuple[Callable[[], InliningEngine], Bounds]] = {
    # A selector alone costs it half a millisecond.
    "premailer": (premailer, _BOUNDS._replace(selectors=600, work=2_000_000)),
    "css-inline": (css_inline, _BOUNDS),
}


class Cache(Generic[T]):
    """What was last found out, by texts, as long as it does not take more than ``room`` octets together."""

    def __init__(self, room: int) -> None:
        self.octets = 0
        self._room = room
        self._results: OrderedDict[str, tuple[T, int]] = OrderedDict()

    def get(self, text: str) -> T | None:
        """What is known for a text."""
        if (kept := self._results.get(text)) is None:
            return None
        self._results.move_to_end(text)
        return kept[0]

    def put(self, text: str, result: T, octets: int) -> None:
        """Remember a result of this size, and forget the oldest where there is no room."""
        octets += getsizeof(text) + 500
        if octets > self._room:
            return
        self.octets -= self._results.pop(text, (None, 0))[1]
        self._results[text] = result, octets
        self.octets += octets
        while self.octets > self._room:
            self.octets -= self._results.popitem(last=False)[1][1]


@implementer(IPreparingFeature)
class InlineCss:
    """Inlines the style sheets of each HTML leaf."""

    on_failure = FailurePolicy.SEND

    def __init__(self, engine: str, room: int) -> None:
        self._load, self._bounds = _ENGINES[engine]
        self._engine: InliningEngine | None = None
        self._results: Cache[Inlined] = Cache(room // 2)
        self._stencils: Cache[tuple[Stencil, tuple[str, ...]] | str] = Cache(room // 2)

    def wants(self, options: Options) -> bool:
        """See the interface."""
        return switched_on(options, NAME)

    def prepare(self, message: IEditableMessage, context: IPrepareContext) -> None:
        """See the interface."""
        if message.closed:
            context.note(f"style sheets not inlined: {message.closed}")
        for leaf in message.html:
            try:
                text = leaf.text()
            except UnicodeError:
                context.note(f"style sheets not inlined: the text is not {leaf.encoding}")
                continue
            result = self.inlined(text)
            for note in result.notes:
                context.note(note)
            if result.text != text:
                leaf.set_text(result.text)

    def inlined(self, text: str) -> Inlined:
        """A text with its style sheets inlined.  All messages with the same text have one result."""
        result = self._results.get(text)
        if result is None:
            result = self._made_like_others(text)._replace(edits=())
            self._results.put(text, result, getsizeof(result.text))
        return result

    def _made_like_others(self, text: str) -> Inlined:
        """As it was found out for another text with the same tags and sheets, if there was one.

        What that takes is made for the second of them: most letters have tags that do not come again.
        """
        pieces = cut_html(text)
        if pieces is None:
            return self._made(text)
        known = self._stencils.get(pieces.key)
        if isinstance(known, tuple):
            return Inlined(apply_stencil(known[0], pieces), known[1])
        result = self._made(text)
        if known is None:
            self._stencils.put(pieces.key, _SEEN, 0)
        elif (stencil := make_stencil(pieces, result.edits)) is not None:
            self._stencils.put(pieces.key, (stencil, result.notes), 2 * stencil.size)
        return result

    def _made(self, text: str) -> Inlined:
        if self._engine is None:
            self._engine = self._load()
        try:
            return inline_styles(text, self._engine, self._bounds)
        except (TooComplex, RecursionError) as error:
            return Inlined(text, (f"style sheets not inlined, too complex: {error}",))


@implementer(IFeaturePlugin)
class InlineCssPlugin:
    """How it is found."""

    name = NAME
    options = (Option(NAME, "style sheets of HTML are moved into style attributes", aliases=("inlinizecss",)),)
    after = ()
    before = ("preventscam", "trackclicks", "trackopens")

    def configure(self, section: Mapping[str, Any], services: IFeatureServices) -> InlineCss:
        """See the interface."""
        for key in section:
            if key not in ("engine", "cache"):
                raise ConfigError(f"features.{NAME}.{key}: there is no such key")
        engine = section.get("engine", "premailer")
        if not isinstance(engine, str) or engine not in _ENGINES:
            raise ConfigError(f"features.{NAME}.engine: has to be one of {', '.join(_ENGINES)}")
        if engine == "css-inline" and find_spec("css_inline") is None:
            raise ConfigError(f"features.{NAME}.engine: css-inline is not installed: pip install 'smtpeter[fast]'")
        try:
            room = parse_size(section.get("cache", _CACHE))
        except ValueError as error:
            raise ConfigError(f"features.{NAME}.cache: {error}") from None
        return InlineCss(engine, room)


plugin = InlineCssPlugin()
