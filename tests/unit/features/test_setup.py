"""A worker's set-up comes back as it was, whatever TOML has in it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import MappingProxyType

import pytest

from smtpeter.features.frames import BadFrame
from smtpeter.features.pipeline import Limits
from smtpeter.features.services import FeatureKeys, Surroundings
from smtpeter.features.setup import Setup
from smtpeter.settings import Features

TABLE = tomllib.loads("""
text = "caf\u00e9"
number = 1
fraction = 1.5
infinite = inf
yes = true
moment = 2026-01-02T03:04:05+00:00
local = 2026-01-02T03:04:05.5
day = 2026-01-02
hour = 03:04:05
list = [1, [2026-01-02], {a = "b"}]
["$date"]
x = 1
""")


def make_setup(**changes):
    keys = FeatureKeys("b", {"a": bytes(32), "b": bytes(range(32))})
    setup = Setup(
        123,
        "sqlite:///var/mail.db",
        Path("/var"),
        Surroundings("mail.example.com", "https://t.example.com", "b.example.com"),
        Features(("x",), (Path("/opt/features"),), MappingProxyType({"acme": MappingProxyType(TABLE)})),
        {"acme": keys},
        Limits(depth=8),
    )
    return setup._replace(**changes)


def test_a_set_up_comes_back():
    setup = make_setup()
    assert Setup.decode(setup.encode()) == setup


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"ready"])
def test_what_is_no_set_up_is_refused(payload):
    with pytest.raises(BadFrame):
        Setup.decode(payload)


def test_keys_are_in_no_representation():
    key = bytes(range(32))
    assert key.hex() not in repr(make_setup()) and repr(key) not in repr(make_setup())
