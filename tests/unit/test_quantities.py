import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.quantities import FreeSpace, parse_duration, parse_free_space, parse_size


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0s", 0), ("90s", 90), ("1m", 60), ("1h30m", 5400), ("1h 30m", 5400), ("2d", 172800), ("1w", 604800), (7, 7)],
)
def test_durations(value, seconds):
    assert parse_duration(value) == seconds


@pytest.mark.parametrize("value", ["", "5", "m", "-1m", "1M", "5 min", "1m\n", "٣m", "9999999d", True, None, [], 1e300])
def test_not_durations(value):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        (0, 0),
        ("512", 512),
        ("500B", 500),
        ("50MB", 50_000_000),
        ("50 mb", 50_000_000),
        ("1KiB", 1024),
        ("1.5GiB", 3 * 2**29),
    ],
)
def test_sizes(value, octets):
    assert parse_size(value) == octets


@pytest.mark.parametrize("value", ["", "MB", "-1MB", "5 MBit", "5M", "1e3", "1_000", 5.0, False, None, "99999999999TB"])
def test_not_sizes(value):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(value)


def test_free_space_is_a_share_or_a_size():
    assert parse_free_space("5%") == FreeSpace(fraction=0.05)
    assert parse_free_space("0%").of(10**12) == 0
    assert parse_free_space("10GB").of(10**12) == 10**10
    assert FreeSpace(fraction=0.05).of(101) == 6


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    for parse in (parse_duration, parse_size, parse_free_space):
        try:
            parse(text)
        except ValueError as error:
            assert "\n" not in str(error)
