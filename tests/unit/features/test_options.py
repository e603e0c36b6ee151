"""Options of features, by all their names."""

import pytest

from smtpeter.features.options import TEXT_LIMIT, OptionTable, read_value
from smtpeter.model.feature import Option, OptionKind

SWITCH = Option("track_it", "tracks it", aliases=("tracking",))
TEXT = Option("color", "which color", OptionKind.TEXT)


@pytest.mark.parametrize("name", ["track_it", "TRACK_IT", "Track-It", "tracking", "Tracking"])
def test_an_option_is_found_by_any_of_its_names(name):
    assert OptionTable((SWITCH, TEXT)).find(name) is SWITCH


@pytest.mark.parametrize("name", ["trackit", "", "track it", "colour"])
def test_other_names_are_nobodys(name):
    assert OptionTable((SWITCH, TEXT)).find(name) is None


def test_each_option_is_listed_once():
    assert list(OptionTable((SWITCH, TEXT))) == [SWITCH, TEXT]


@pytest.mark.parametrize(
    ("text", "value"),
    [(text, "true") for text in ("true", "TRUE", "1", "yes", "Yes", "on", " on ")]
    + [(text, "false") for text in ("false", "0", "no", "OFF")],
)
def test_a_switch_is_written_in_many_ways(text, value):
    assert read_value(SWITCH, text) == value


@pytest.mark.parametrize("text", ["", "2", "ja", "truefalse", "\u0131"])
def test_a_switch_that_cannot_be_read_tells_what_to_write(text):
    with pytest.raises(ValueError, match="write true or false"):
        read_value(SWITCH, text)


@pytest.mark.parametrize("text", ["", "red", "d\xfcster", " a b ", "x" * TEXT_LIMIT])
def test_a_text_stays_as_it_is(text):
    assert read_value(TEXT, text) == text


@pytest.mark.parametrize("text", ["x" * (TEXT_LIMIT + 1), "a\nb", "a\x00", "\u202eevil"])
def test_a_text_is_one_printable_line(text):
    with pytest.raises(ValueError, match="one line of at most 1000 characters"):
        read_value(TEXT, text)
