"""The namespace in which features are discovered; nothing else lives here.

Installed features are modules of this package; in a checkout they are in ``plugins`` beside ``setup.py``.  Other
distributions ship ``smtpeter/plugins/their_name.py`` without an ``__init__.py``.
"""

from __future__ import annotations

from pathlib import Path

from twisted.plugin import pluginPackagePaths

_checkout = Path(__file__).resolve().parents[2]
# Not setup.py alone: careless distributions leave one in site-packages.
if (_checkout / "setup.py").is_file() and (_checkout / "etc" / "smtpeter.toml").is_file():
    __path__.append(str(_checkout / "plugins"))
__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
