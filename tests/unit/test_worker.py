"""What a worker answers where it cannot do what it should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from zope.interface import implementer

from smtpeter.errors import ContentCorrupt, StorageUnavailable
from smtpeter.features.catalog import Catalog, Installed
from smtpeter.features.exchange import Answer, AnswerKind
from smtpeter.features.pipeline import Limits
from smtpeter.interfaces import IPreparingFeature
from smtpeter.model.feature import FailurePolicy, Options
from smtpeter.worker import Worker
from tests.fakes.workers import make_task


@implementer(IPreparingFeature)
class Moody:
    """Knows whether it is wanted only where there are no options."""

    def __init__(self, on_failure: FailurePolicy) -> None:
        self.on_failure = on_failure

    def wants(self, options: Options) -> bool:
        if options:
            raise KeyError("mood")
        return False

    def prepare(self, message: Any, context: Any) -> None:
        raise NotImplementedError


class Watch:
    cut_off = False

    def begin(self, task: int) -> None: ...

    def end(self) -> None: ...

    def __call__(self, feature: str, work: Callable[[], Any]) -> Any:
        return work()


def carry_out(store: Any = None, *policies: FailurePolicy) -> Answer:
    features = [
        Installed(f"f{number}", None, Moody(policy), Path("x.py"))  # type: ignore[arg-type]
        for number, policy in enumerate(policies)
    ]
    setup: Any = SimpleNamespace(limits=Limits())
    watch: Any = Watch()
    return Worker(setup, Catalog(features), store, watch).carry_out(make_task(options={"f0": "true"}))


class Store:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, submission: str, content: Any) -> bytes:
        raise self.error


@pytest.mark.parametrize("error", [ContentCorrupt("it is damaged"), KeyError("s1")])
def test_what_is_damaged_or_gone_is_not_sent_as_it_came(error: Exception) -> None:
    answer = carry_out(Store(error))
    assert answer.kind is AnswerKind.DAMAGED and "damaged" in answer.reason


def test_trouble_of_the_store_is_told() -> None:
    answer = carry_out(Store(StorageUnavailable("no room")))
    assert (answer.kind, answer.reason) == (AnswerKind.STORAGE, "no room")


@pytest.mark.parametrize(
    ("policies", "kind"),
    [
        ((FailurePolicy.SEND,), AnswerKind.PREPARED),
        ((FailurePolicy.SEND, FailurePolicy.DEFER), AnswerKind.DEFER),
        ((FailurePolicy.FAIL, FailurePolicy.SEND), AnswerKind.FAIL),
    ],
)
def test_where_a_feature_does_not_know_whether_it_is_wanted_the_strictest_policy_counts(
    policies: tuple[FailurePolicy, ...], kind: AnswerKind
) -> None:
    answer = carry_out(None, *policies)
    assert answer.kind is kind
    assert "does not know whether it is wanted" in (answer.reason or answer.data["description"])
