"""Return addresses of our own."""

from __future__ import annotations

from typing import Any

import pytest
from smtpeter.plugins.trackbounces import plugin
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from smtpeter.api import Addressee, ConfigError, ReturnPath
from smtpeter.interfaces import IEnvelopeFeature, IFeaturePlugin
from smtpeter.model.ids import make_submission_id

SUBMISSION = make_submission_id(1_700_000_000_123, b"0123456789")


class Services:
    """As much of the program around a feature as this one uses."""

    bounce_domain = "bounces.example.com"

    def key(self, purpose: str, key_id: str | None = None) -> bytes:
        assert purpose == "return path"
        return {"k1": b"1" * 32}[key_id or "k1"]

    def key_id(self) -> str:
        return "k1"


def feature() -> Any:
    return plugin.configure({}, Services())  # type: ignore[arg-type]


def test_the_interfaces_are_provided() -> None:
    assert verifyObject(IFeaturePlugin, plugin) and IPlugin.providedBy(plugin)
    assert verifyObject(IEnvelopeFeature, feature())


def test_both_names_of_the_option() -> None:
    (option,) = plugin.options
    assert (option.name, option.aliases) == ("trackbounces", ("bouncetracking",))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [({}, False), ({"trackbounces": "true"}, True), ({"trackbounces": "false"}, False), ({"other": "true"}, False)],
)
def test_it_is_on_where_it_was_switched_on(options: dict[str, str], wanted: bool) -> None:
    assert feature().wants(options) is wanted


def test_each_recipient_of_each_message_has_a_reverse_path_of_his_own() -> None:
    paths = ReturnPath("k1", lambda key_id: Services().key("return path", key_id))
    for number in (1, 2):
        made = feature().reverse_path("me@example.com", Addressee(SUBMISSION, number, "you@example.net", 1))
        local, _, domain = made.partition("@")
        assert domain == "bounces.example.com"
        assert paths.read(local) == (SUBMISSION, number)


def test_the_null_path_becomes_ours_too_and_no_address_is_told() -> None:
    known = feature().reverse_path("me@example.com", Addressee(SUBMISSION, 1, "you@example.net", 1))
    assert feature().reverse_path("", Addressee(SUBMISSION, 1, "you@example.net", None)) == known
    assert "you" not in known and "me@" not in known


def test_it_has_nothing_to_configure() -> None:
    with pytest.raises(ConfigError, match=r"^features\.trackbounces\.domain: there is no such key$"):
        plugin.configure({"domain": "x"}, Services())  # type: ignore[arg-type]
