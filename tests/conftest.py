"""What every test may count on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from hypothesis import settings

# The time that one example takes says nothing on a machine that does other work too.
settings.register_profile("smtpeter", deadline=None)
settings.load_profile("smtpeter")


@pytest.fixture(scope="session")
def find_tool() -> Callable[[str], str]:
    """Where a program is that a test cannot do without.

    The test is skipped where the program is missing, but fails under SMTPETER_REQUIRE_TOOLS=1.
    """

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None and os.environ.get("SMTPETER_REQUIRE_TOOLS") == "1":
            pytest.fail(f"{name} is not installed, and SMTPETER_REQUIRE_TOOLS wants it", pytrace=False)
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find
