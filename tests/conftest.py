"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# The time that one example takes says nothing on a machine that does other work too.
settings.register_profile("smtpeter", deadline=None)
settings.load_profile("smtpeter")
