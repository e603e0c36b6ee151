"""inlinecss: moves the style sheets of HTML into its ``style`` attributes, for readers that know nothing else.

What moves, and what stays, is told in ``smtpeter.mime.inlining``.  Which selector matches which element is found out by
premailer, or by css-inline, which is much faster.  Neither sees anything of the message but tags and selectors, so there
is nothing in it that could have them fetch or read something; they are told not to, all the same.

``[features.inlinecss]`` may have ``engine``, ``"premailer"`` (the default) or ``"css-inline"``, and ``cache``, the size of
the cache of results in each worker process, in octets.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from zope.interface import implementer

from smtpeter.api import (
    Bounds,
    ConfigError,
    FailurePolicy,
    IEditableMessage,
    IFeaturePlugin,
    IFeatureServices,
    Inlined,
    IPrepareContext,
    IPreparingFeature,
    Option,
    Options,
    TooComplex,
    inline_styles,
    switched_on,
)
