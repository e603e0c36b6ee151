"""Signatures of features on messages that go out."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import capturedLogs
from zope.interface import implementer
from zope.interface.verify import verifyObject

from smtpeter.errors import FeatureMissing
from smtpeter.features.catalog import Catalog, Installed
from smtpeter.features.signing import Signer
from smtpeter.interfaces import ISigner, ISigningFeature
from smtpeter.model.feature import Options

CONTENT = b"Subject: x\r\n\r\nhello\r\n"


@implementer(ISigningFeature)
class Mark:
    """Puts a field on top of mail of account 7 that has its option, where it has one."""

    def __init__(self, name: str, option: str = "", answer: Any = None, quick: bool = True) -> None:
        self.name, self.option, self.answer, self.quick = name, option, answer, quick
        self.seen: list[bytes] = []

    def wants(self, options: Options) -> bool:
        return not self.option or options.get(self.option) == "true"

    def signs(self, account: int | None) -> bool:
        return account == 7

    def is_quick(self, account: int | None) -> bool:
        return self.quick

    def sign(self, content: bytes, account: int | None) -> bytes:
        self.seen.append(content)
        if isinstance(self.answer, Exception):
            raise self.answer
        return f"{self.name}: signed\r\n".encode() if self.answer is None else self.answer


def signer(*features: Any) -> Signer:
    return Signer(Catalog([Installed(each.name, None, each, None) for each in features]))  # type: ignore[arg-type]


def test_the_interface_is_provided() -> None:
    assert verifyObject(ISigner, signer())
    assert verifyObject(ISigningFeature, Mark("a"))


def test_without_such_features_nothing_is_signed() -> None:
    assert not signer().wants(7, {})
    assert signer().sign("s1", 7, {}, CONTENT) == b""


def test_each_signs_what_those_before_it_signed() -> None:
    first, second = Mark("A"), Mark("B")
    both = signer(first, second)
    assert both.wants(7, {})
    assert both.sign("s1", 7, {}, CONTENT) == b"B: signed\r\nA: signed\r\n"
    assert (first.seen, second.seen) == ([CONTENT], [b"A: signed\r\n" + CONTENT])


def test_only_who_wants_the_message_and_signs_for_the_account_is_asked() -> None:
    asked, other = Mark("A", "sign"), Mark("B")
    some = signer(asked, other)
    assert not some.wants(8, {"sign": "true"})
    assert not signer(asked).wants(7, {})
    assert some.sign("s1", 8, {"sign": "true"}, CONTENT) == b""
    assert some.sign("s1", 7, {}, CONTENT) == b"B: signed\r\n"
    assert asked.seen == []


def test_it_is_quick_where_all_are_that_sign() -> None:
    slow = Mark("A", "sign", quick=False)
    both = signer(slow, Mark("B"))
    assert both.is_quick(7, {})
    assert not both.is_quick(7, {"sign": "true"})
    assert both.is_quick(8, {"sign": "true"})


@pytest.mark.parametrize("answer", [ValueError("a key"), b"no end", "text", None.__class__])
def test_a_feature_that_fails_is_named_and_nothing_goes_unsigned(answer: Any) -> None:
    with capturedLogs() as logs, pytest.raises(FeatureMissing, match="The feature A, "):
        signer(Mark("A", answer=answer)).sign("s1", 7, {}, CONTENT)
    (event,) = logs
    assert (event["feature"], event["submission"]) == ("A", "s1")


def test_a_feature_that_does_not_know_fails_when_it_has_to_sign() -> None:
    class Broken(Mark):
        def signs(self, account: int | None) -> bool:
            raise RuntimeError("a bug")

    broken = signer(Broken("A"))
    assert broken.wants(7, {})
    assert not broken.is_quick(7, {})
    with capturedLogs(), pytest.raises(FeatureMissing):
        broken.sign("s1", 7, {}, CONTENT)
