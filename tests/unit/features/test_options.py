"""Options of features, by all their names."""

import pytest

from smtpeter.features.options import TEXT_LIMIT, OptionTable, find_default, read_default, read_value
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


# --- defaults of logins and tokens ---


def default(name, text):
    option = find_default(OptionTable((SWITCH, TEXT)), name)
    return option.name, read_default(option, text)


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("tracking", "Yes", ("track_it", "true")),
        ("COLOR", " red ", ("color", " red ")),
        ("Tags", " a , b,,a", ("tags", "a,b")),
        ("images", " Default ", ("images", "default")),
    ],
)
def test_a_default_is_kept_as_it_counts(name, text, kept):
    assert default(name, text) == kept


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("track-it", "maybe", "write true or false"),
        ("tags", "a b", "separate tags by commas"),
        ("tags", " , ", "write at least one tag"),
        ("images", "hosted", "only default is possible here"),
        ("MaxDeliverTime", "2030-01-01 00:00:00", "a point in time cannot be a default"),
        ("sendAt", "2030-01-01 00:00:00", "a point in time cannot be a default"),
        ("idempotency-key", "k", "a key cannot be a default"),
    ],
)
def test_what_cannot_be_a_default_tells_why(name, text, told):
    with pytest.raises(ValueError, match=told):
        default(name, text)


def test_what_nobody_knows_is_no_default():
    assert find_default(OptionTable((SWITCH,)), "colour") is None
