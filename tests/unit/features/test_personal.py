"""Each recipient's own copy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from smtpeter.errors import ContentCorrupt, FeatureMissing
from smtpeter.features.personal import Personalizer
from smtpeter.interfaces import ICopies, IPersonalizer
from smtpeter.model.delivery import Job
from smtpeter.model.feature import Addressee, PlacedSlot, Slot
from tests.fakes.delivery import logged
from tests.fakes.features import Enveloper, FakeCatalog, Filler, make_personal_job, value_for
from tests.fakes.jobs import make_job

SLOT = Slot("links", "k-6", 6)
PIECES = [b"Subject: x\r\n\r\n", SLOT, b" and ", Slot("opens", "o-5", 5), b"/", SLOT, b"\r\n"]


def copies_of(job: Job, **features: Any) -> Any:
    return Personalizer(FakeCatalog(**features)).personalize(job, job.content.data or b"")  # type: ignore[arg-type]


def test_the_interfaces_are_provided() -> None:
    assert verifyObject(IPersonalizer, Personalizer(FakeCatalog()))  # type: ignore[arg-type]
    assert verifyObject(ICopies, copies_of(make_job()))


def test_a_plain_job_costs_no_question() -> None:
    catalog = FakeCatalog(verp=Enveloper("verp"), links=Filler())
    assert not Personalizer(catalog).is_personal(make_job())  # type: ignore[arg-type]
    assert catalog.questions == 0


def test_which_jobs_are_personal() -> None:
    personalizer = Personalizer(FakeCatalog(verp=Enveloper("verp"), links=Filler()))  # type: ignore[arg-type]
    assert personalizer.is_personal(make_personal_job(PIECES))
    assert personalizer.is_personal(make_job(options=(("verp", "true"),)))
    assert not personalizer.is_personal(make_job(options=(("verp", "false"), ("other", "true"))))


# --- slots ---


def test_each_recipient_has_his_own_values_and_everything_else_stays() -> None:
    job = make_personal_job(PIECES, 2)
    copies = copies_of(job, links=Filler(), opens=Filler())
    assert [copies.fill(recipient) for recipient in job.recipients] == [
        b"Subject: x\r\n\r\nk-6_1_ and -5_1_/k-6_1_\r\n",
        b"Subject: x\r\n\r\nk-6_2_ and -5_2_/k-6_2_\r\n",
    ]


def test_a_feature_is_asked_once_for_a_recipient_and_only_for_distinct_keys() -> None:
    links, opens = Filler(), Filler()
    job = make_personal_job([*PIECES, *PIECES, Slot("links", "z-4", 4)], 3)
    copies = copies_of(job, links=links, opens=opens)
    for recipient in job.recipients:
        copies.fill(recipient)
    whom = [Addressee("s1", number, f"r{number}@example.net", 7) for number in (1, 2, 3)]
    assert links.asked == [(("k-6", "z-4"), each) for each in whom]
    assert opens.asked == [(("o-5",), each) for each in whom]


def test_content_without_slots_is_not_copied() -> None:
    job = make_job(options=(("verp", "true"),))
    assert copies_of(job, verp=Enveloper("verp")).fill(job.recipients[0]) is job.content.data


@given(
    st.lists(st.one_of(st.binary(max_size=9), st.tuples(st.sampled_from("abc"), st.integers(0, 9)))),
    st.integers(1, 40),
)
def test_filling_changes_slots_only_and_moves_nothing(parts: list[Any], count: int) -> None:
    pieces = [part if isinstance(part, bytes) else Slot(part[0], f"k-{part[1]}", part[1]) for part in parts]
    job = make_personal_job(pieces, count)
    copies = copies_of(job, a=Filler(), b=Filler(), c=Filler())
    for recipient in job.recipients:
        expected = b"".join(
            each if isinstance(each, bytes) else value_for(each.key, recipient.number).encode() for each in pieces
        )
        assert copies.fill(recipient) == expected
        assert len(expected) == job.content.size


@pytest.mark.parametrize(
    "answer",
    [
        ["short"],
        ["toolong"],
        ["has sp"],
        ["a\r\nb.."],
        ["<b>abc"],
        ["äöüäöü"],
        ["１２３４５６"],
        ["aaaaa\n"],
        [b"octets"],
        [None],
        [],
        ["abcdef", "abcdef"],
        ZeroDivisionError("oops"),
    ],
)
def test_a_value_that_does_not_fit_is_never_sent(answer: Any) -> None:
    job = make_personal_job([b"x", SLOT])
    copies = copies_of(job, links=Filler(answer))
    with (
        logged() as events,
        pytest.raises(FeatureMissing, match=r"^The feature links, which this message needs, failed$"),
    ):
        copies.fill(job.recipients[0])
    assert [event["event"] for event in events] == ["feature"]


def test_all_that_a_value_may_be() -> None:
    job = make_personal_job([b"x", SLOT])
    assert copies_of(job, links=Filler(["aZ09-_"])).fill(job.recipients[0]) == b"xaZ09-_"


def test_a_feature_that_fails_for_a_thousand_recipients_is_logged_once() -> None:
    job = make_personal_job([SLOT], 1000)
    copies = copies_of(job, links=Filler(ZeroDivisionError()))
    with logged() as events:
        for recipient in job.recipients:
            with pytest.raises(FeatureMissing):
                copies.fill(recipient)
    assert len(events) == 1


def test_a_feature_may_fail_for_one_recipient_and_not_for_the_next() -> None:
    links = Filler(ZeroDivisionError())
    job = make_personal_job([SLOT], 2)
    copies = copies_of(job, links=links)
    with pytest.raises(FeatureMissing):
        copies.fill(job.recipients[0])
    links.answer = None
    assert copies.fill(job.recipients[1]) == b"k-6_2_"


@pytest.mark.parametrize("features", [{}, {"links": object()}, {"links": Enveloper("links")}])
def test_a_feature_that_is_gone_is_named(features: dict[str, Any]) -> None:
    job = make_personal_job([SLOT])
    with pytest.raises(FeatureMissing, match="The feature links, which this message needs, is not there"):
        copies_of(job, **features).fill(job.recipients[0])


@pytest.mark.parametrize(
    "slots", [[(5, 6)], [(-1, 6)], [(0, 6), (5, 2)], [(4, 2), (0, 2)], [(11, 1)], [(0, -1)]], ids=str
)
def test_slots_that_do_not_lie_within_the_content_are_damage(slots: list[tuple[int, int]]) -> None:
    placed = tuple(PlacedSlot(offset, Slot("links", "k", length)) for offset, length in slots)
    job = make_job(data=b"ten octets", slots=placed)
    with pytest.raises(ContentCorrupt, match="s1"):
        copies_of(job, links=Filler())


# --- reverse-paths ---


def test_without_a_feature_for_it_the_reverse_path_is_the_submitters_own() -> None:
    job = make_personal_job(PIECES, options=(("other", "true"),))
    assert copies_of(job, verp=Enveloper("verp")).reverse_path(job.recipients[0]) == "sender@example.org"


def test_features_choose_the_reverse_path_in_their_order() -> None:
    first, second = Enveloper("a"), Enveloper("b")
    job = make_job(2, options=(("a", "true"), ("b", "true")), reverse_path="")
    copies = copies_of(job, a=first, b=second)
    assert [copies.reverse_path(each) for each in job.recipients] == ["b-1@bounces.example", "b-2@bounces.example"]
    assert first.asked[0] == ("", Addressee("s1", 1, "r1@example.net", 7))
    assert [path for path, _ in second.asked] == ["a-1@bounces.example", "a-2@bounces.example"]


def test_a_feature_may_choose_the_null_path() -> None:
    job = make_job(options=(("a", "true"),))
    assert copies_of(job, a=Enveloper("a", "")).reverse_path(job.recipients[0]) == ""


@pytest.mark.parametrize(
    "path",
    [
        "no address",
        "a@b.example> BODY=8BITMIME",
        "a@b\r\nRCPT TO:<x@y>",
        "<a@b.example>",
        "x" * 65 + "@b",
        ValueError(),
    ],
)
def test_a_reverse_path_that_is_none_is_never_sent(path: Any) -> None:
    job = make_job(options=(("a", "true"),))
    with pytest.raises(FeatureMissing, match="The feature a, which this message needs, failed"):
        copies_of(job, a=Enveloper("a", path)).reverse_path(job.recipients[0])


def test_a_feature_that_cannot_say_whether_it_wants_a_message_keeps_it_from_going() -> None:
    broken = Enveloper("a")
    broken.wants = lambda options: 1 / 0  # type: ignore
    job = make_job(options=(("a", "true"),))
    assert Personalizer(FakeCatalog(a=broken)).is_personal(job)  # type: ignore[arg-type]
    with pytest.raises(FeatureMissing):
        copies_of(job, a=broken).reverse_path(job.recipients[0])
