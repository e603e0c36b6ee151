"""The namespace in which features are discovered; nothing else lives here.

Installed features are modules of this package; in a checkout they are in ``plugins`` beside ``setup.py``.  Other
distributions ship ``smtpeter/plugins/their_name.py`` without an ``__init__.py``.  The directory that happens to be the
current one is not searched, though Python may look for modules in it: whoever may write there is not trusted for that.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.plugin import pluginPackagePaths

_checkout = Path(__file__).resolve().parents[2]
# Not setup.py alone: careless distributions leave one in site-packages.
if (_checkout / "setup.py").is_file() and (_checkout / "etc" / "smtpeter.toml").is_file():
    __path__.append(str(_checkout / "plugins"))
try:
    _here = os.path.realpath("smtpeter/plugins")
except FileNotFoundError:  # somebody removed the current directory
    _here = ""
__path__.extend(path for path in pluginPackagePaths(__name__) if os.path.realpath(path) != _here)
__all__: list[str] = []
