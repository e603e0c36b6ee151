"""What a message asks for by its X-SMTPeter-* fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.errors import Refusal
from smtpeter.features.catalog import Catalog
from smtpeter.features.options import OptionTable
from smtpeter.intake.options import LONGEST_WAIT, NOTHING_ASKED, read_asked
from smtpeter.model.feature import Option, OptionKind
from smtpeter.model.tags import TAGS_LIMIT

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20
CATALOG = Catalog(
    options=OptionTable(
        (
            Option("trackclicks", "tracks clicks", aliases=("clicktracking",)),
            Option("footer_text", "a footer", OptionKind.TEXT),
        )
    )
)


def read_controls(controls, now, features=None):
    return read_asked(controls, {}, now, features)


def asked(*controls, request=None):
    return dict(read_asked(controls, request or {}, NOW, CATALOG).features)


@pytest.mark.parametrize("features", [None, CATALOG])
def test_unknown_fields_are_ignored_whatever_they_hold(features):
    assert read_controls([("inlinecss", b"maybe"), ("whatever", b"\xff")], NOW, features) == NOTHING_ASKED


# --- options of features ---


@pytest.mark.parametrize("name", ["trackclicks", "clicktracking"])
@pytest.mark.parametrize(("value", "read"), [(b"yes", "true"), (b"OFF", "false"), (b"=?utf-8?q?true?=", "true")])
def test_a_switch_by_any_of_its_names(name, value, read):
    assert asked((name, value)) == {"trackclicks": read}


@pytest.mark.parametrize("name", ["footer_text", "footer-text"])
def test_a_text(name):
    assert asked((name, b"=?utf-8?q?d=C3=BCster?= und kalt")) == {"footer_text": "d\xfcster und kalt"}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("clicktracking", b"maybe", "X-SMTPeter-clicktracking: write true or false"),
        ("trackclicks", b"", "X-SMTPeter-trackclicks: write true or false"),
        ("footer-text", b"x" * 1001, "X-SMTPeter-footer-text: write one line of at most 1000 characters"),
        ("images", b"hosted", "X-SMTPeter-images: only default is possible here"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_with_the_fields_name(name, value, text):
    with pytest.raises(Refusal) as raised:
        read_controls([(name, value)], NOW, CATALOG)
    assert raised.value.reply == (554, "5.6.0", text)


def test_of_several_fields_for_one_option_the_last_counts_by_whatever_name():
    assert asked(("trackclicks", b"no"), ("clicktracking", b"yes"), ("trackclicks", b"no")) == {"trackclicks": "false"}
    assert asked(("trackclicks", b"junk"), ("clicktracking", b"yes")) == {"trackclicks": "true"}


# --- what the request asks for ---


@pytest.mark.parametrize("name", ["trackclicks", "TrackClicks", "clicktracking"])
def test_a_request_asks_by_any_name_and_the_message_stands_over_it(name):
    assert asked(request={name: " Yes "}) == {"trackclicks": "true"}
    assert asked(("clicktracking", b"no"), request={name: "yes"}) == {"trackclicks": "false"}
    assert asked(("footer_text", b"x"), request={name: "yes"}) == {"trackclicks": "true", "footer_text": "x"}


def test_the_last_of_several_names_counts_in_a_request_too():
    assert asked(request={"trackclicks": "junk", "clicktracking": "no"}) == {"trackclicks": "false"}


def test_what_a_message_overrides_is_not_even_read():
    assert asked(("trackclicks", b"no"), request={"trackclicks": "junk"}) == {"trackclicks": "false"}


def test_the_options_of_the_core_in_a_request():
    request = {"Tags": "a, b", "sendAt": "2023-12-01 00:00:00", "maxDeliverTime": " 2023-12-01 00:00:01 "}
    read = read_asked((), request | {"images": "Default", "subject": "hi"}, NOW, CATALOG)
    assert (read.tags, read.due, read.expires) == (("a", "b"), 1_701_388_800.0, 1_701_388_801.0)
    assert read_asked([("tags", b"c")], request, NOW, CATALOG).tags == ("c",)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"ClickTracking": "maybe"}, "ClickTracking: write true or false"),
        ({"footer-text": "two\nlines"}, "footer-text: write one line of at most 1000 characters"),
        ({"footer_text": "=?utf-8?q?a?=" + "x" * 1000}, "footer_text: write one line of at most 1000 characters"),
        ({"Tags": "a\r\nb"}, "Tags: separate tags by commas; a tag has no white space and no semicolon"),
        ({"tags": ",".join(map(str, range(101)))}, "tags: at most 100 tags"),
        ({"images": "hosted"}, "images: only default is possible here"),
        ({"sendAt": "soon"}, "sendAt: write YYYY-MM-DD hh:mm:ss, in UTC"),
        ({"maxdelivertime": "2000-01-01 00:00:00"}, "maxdelivertime: this time is over"),
    ],
)
def test_what_cannot_be_read_is_named_as_the_request_wrote_it(request_, text):
    with pytest.raises(Refusal) as raised:
        read_asked((), request_, NOW, CATALOG)
    assert raised.value.reply == (554, "5.6.0", text)


def test_each_of_two_that_contradict_each_other_is_named_as_it_was_written():
    request = {"sendAt": "2023-12-01 00:00:00"}
    with pytest.raises(Refusal, match=r"X-SMTPeter-MaxDeliverTime: this time is not after sendAt$"):
        read_asked([("maxdelivertime", b"2023-11-30 00:00:00")], request, NOW, CATALOG)


def test_an_encoded_word_is_text_in_a_request():
    assert asked(request={"footer_text": "=?utf-8?q?a?="}) == {"footer_text": "=?utf-8?q?a?="}


# --- the idempotency key ---


@pytest.mark.parametrize("key", ["k", "a b", "=?utf-8?q?a?=", "x" * 255, "~!\\"])
def test_a_key_is_taken_as_it_is(key):
    assert read_controls([("idempotency-key", key.encode())], NOW).key == key


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"caf\xc3\xa9", b"a\tb", b"a\x00b", b"a\x7f"])
def test_a_key_that_cannot_be_is_refused_with_the_fields_name(key):
    with pytest.raises(Refusal) as raised:
        read_controls([("idempotency-key", key)], NOW)
    text = "X-SMTPeter-Idempotency-Key: write 1 to 255 printable ASCII characters"
    assert raised.value.reply == (554, "5.6.0", text)


def test_a_field_of_a_request_is_no_key():
    assert read_asked((), {"idempotency_key": "x", "Idempotency-Key": "\n"}, NOW, None) == NOTHING_ASKED


# --- tags ---


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (b"one", ("one",)),
        (b" one , two ,,one,", ("one", "two")),
        (b"", ()),
        (b"=?utf-8?q?h=C3=A9?=", ("h\xe9",)),
        (b"x" * 200, ("x" * 200,)),
    ],
)
def test_tags_are_separated_by_commas_and_told_once(value, tags):
    assert read_controls([("tags", value)], NOW).tags == tags


@pytest.mark.parametrize("value", [b"a b", b"a;b", b"x" * 201, b"a\x07b", ",".join(map(str, range(101))).encode()])
def test_tags_that_cannot_be_are_refused_with_the_fields_name(value):
    with pytest.raises(Refusal, match=r"^554 5\.6\.0 X-SMTPeter-Tags: "):
        read_controls([("tags", value)], NOW)


def test_as_many_tags_as_allowed_are_taken():
    value = ",".join(map(str, range(TAGS_LIMIT))).encode()
    assert len(read_controls([("tags", value)], NOW).tags) == TAGS_LIMIT


@pytest.mark.parametrize(
    ("field", "request_", "tags"),
    [
        (None, {}, ("a", "b")),
        (None, {"Tags": "c"}, ("c",)),
        (None, {"tags": ""}, ()),
        (b"d, e", {"tags": "c"}, ("d", "e")),
        (b"d", {}, ("d",)),
        (b"", {}, ()),
    ],
)
def test_a_logins_tags_are_replaced_by_a_requests_and_those_by_a_messages(field, request_, tags):
    controls = [] if field is None else [("tags", field)]
    assert read_asked(controls, request_, NOW, CATALOG, (("trackclicks", "true"), ("tags", "a,b"))).tags == tags


def test_of_a_logins_defaults_only_tags_are_asked_for_here():
    defaults = (("trackclicks", "true"), ("images", "default"), ("gone", "x"), ("maxdelivertime", "x"))
    assert read_asked([], {}, NOW, CATALOG, defaults) == NOTHING_ASKED


# --- when delivery begins and ends ---


def test_the_last_delivery_time_is_in_utc():
    assert read_controls([("maxdelivertime", b"2023-11-14 22:13:21")], NOW).expires == NOW + 1


@pytest.mark.parametrize(
    "value",
    [
        b"2023-11-14 22:13:20",  # now is over
        b"2023-11-14",
        b"2023-13-14 22:13:21",
        b"2023-02-29 00:00:00",
        b"0000-01-01 00:00:00",
        b"2030-01-01T00:00:00",
        b"2030-01-01 00:00:00Z",
        "２030-01-01 00:00:00".encode(),
        b"",
        b"tomorrow",
    ],
)
def test_a_time_that_is_over_or_cannot_be_read_is_refused(value):
    with pytest.raises(Refusal, match=r"^554 5\.6\.0 X-SMTPeter-MaxDeliverTime: "):
        read_controls([("maxdelivertime", value)], NOW)


@pytest.mark.parametrize("name", ["send_at", "send-at", "sendat"])
def test_the_first_delivery_time_is_in_utc(name):
    assert read_controls([(name, b"2023-11-14 22:13:21")], NOW).due == NOW + 1


@pytest.mark.parametrize("value", [b"2023-11-14 22:13:20", b"1999-01-01 00:00:00"])
def test_a_first_delivery_time_that_is_over_means_now(value):
    assert read_controls([("send_at", value)], NOW) == NOTHING_ASKED


def test_how_far_ahead_a_message_may_be_submitted():
    assert read_controls([("send_at", b"2024-11-14 22:13:20")], NOW).due == NOW + LONGEST_WAIT
    with pytest.raises(Refusal, match=r"^554 5\.6\.0 X-SMTPeter-Send-At: .* 366 days"):
        read_controls([("send_at", b"2024-11-14 22:13:21")], NOW)


@pytest.mark.parametrize("value", [b"", b"soon", b"2024-01-01", b"2024-02-30 00:00:00", b"2024-01-01 00:00:00 UTC"])
def test_a_first_delivery_time_that_cannot_be_read_is_refused(value):
    with pytest.raises(Refusal, match=r"^554 5\.6\.0 X-SMTPeter-Send-At: write YYYY-MM-DD hh:mm:ss, in UTC"):
        read_controls([("sendat", value)], NOW)


@pytest.mark.parametrize(("last", "refused"), [(b"2023-12-01 00:00:00", True), (b"2023-12-01 00:00:01", False)])
def test_delivery_cannot_end_before_it_begins(last, refused):
    controls = [("maxdelivertime", last), ("send_at", b"2023-12-01 00:00:00")]
    if refused:
        with pytest.raises(Refusal, match=r"^554 5\.6\.0 X-SMTPeter-MaxDeliverTime: .*Send-At"):
            read_controls(controls, NOW)
    else:
        read = read_controls(controls, NOW)
        assert read.expires == read.due + 1


NAMES = ["tags", "maxdelivertime", "send_at", "images", "trackclicks", "footer_text"]


@given(st.sampled_from(NAMES), st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused(name, value):
    try:
        options = read_controls([(name, value)], NOW, CATALOG)
    except Refusal as refusal:
        assert refusal.reply.code == 554
        assert refusal.reply.encode().count(b"\r\n") == 1
    else:
        assert options.expires is None or options.expires > NOW
        assert options.due is None or options.due > NOW
        assert all(text.isprintable() for text in options.features.values())
