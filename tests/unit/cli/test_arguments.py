import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.cli.arguments import address, domain_key, moment, named
from smtpeter.cli.printing import visible
from smtpeter.errors import NotPossible
from smtpeter.model.ids import make_submission_id

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-11-14", 1699920000.0),
        ("2023-11-14 22:13:20", NOW),
        ("2023-11-14T22:13:20Z", NOW),
        ("90s", NOW - 90),
        ("1d12h", NOW - 129600),
    ],
)
def test_moments(text, seconds):
    assert moment(text, NOW) == seconds


@pytest.mark.parametrize(
    "text", ["", "2", "2.5", "tomorrow", "2023-11-31", "2023-11-14 25:00:00", "-2h", "2023-11-14 22:13"]
)
def test_what_is_no_moment(text):
    with pytest.raises(ValueError):
        moment(text, NOW)


@given(st.text())
def test_a_moment_is_read_or_refused(text):
    try:
        assert isinstance(moment(text, NOW), float)
    except ValueError:
        pass


@given(st.text(alphabet='ab@.<>: "\\,[]é\0\n') | st.text())
def test_attack_nothing_but_an_address_passes_as_one(text):
    try:
        value = address(text)
    except click.BadParameter:
        return
    assert value == text
    assert text.rpartition("@")[0] and text.rpartition("@")[2]
    assert text.isprintable()


def test_domains_are_the_keys_of_the_queue():
    assert domain_key("Bücher.Example") == "xn--bcher-kva.example"
    assert domain_key("EXAMPLE.com") == "example.com"
    for wrong in ("", "a b", "a@b", "a>x", "-"):
        with pytest.raises(click.BadParameter):
            domain_key(wrong)


def test_ids_narrow_a_filter():
    id = make_submission_id(5, bytes(10))
    assert (named(id).submission, named(id).number) == (id, None)
    assert (named(f"{id}-7").submission, named(f"{id}-7").number) == (id, 7)
    with pytest.raises(NotPossible):
        named(f"{id}-0")


@given(st.text())
def test_attack_visible_text_has_no_controls(text):
    shown = visible(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()
