"""Bodies: what they are written in, strict JSON, and names of fields."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, Field

from smtpeter.web.rest.bodies import (
    DEPTH,
    SMALL,
    _written_type,
    digest_of,
    fold,
    read_body,
    read_json,
    read_tree,
    read_type,
)
from smtpeter.web.rest.values import ApiError, Request

BACKSLASH = "\\"


class Inner(BaseModel):
    notify: str = ""
    ret: str = ""


class Outer(BaseModel):
    recipients: list[str] = Field([], validation_alias=AliasChoices("recipients", "recipient"))
    replyto: str = ""
    dsn: Inner | None = None
    attachments: list[Inner] = []
    extra: dict[str, str] = {}


def refusal(function, *arguments):
    with pytest.raises(ApiError) as caught:
        function(*arguments)
    return caught.value.status, caught.value.text


def make_request(body=b"{}", content_type=b"application/json", **changes):
    fields = ((b"content-type", content_type),) if content_type else ()
    return Request(b"POST", b"/v1/send", fields, "192.0.2.1", True, "192.0.2.1", body, **changes)


# --- what a body is written in ---


@pytest.mark.parametrize(
    "value",
    [
        b"application/json",
        b"application/json; charset=utf-8",
        b"Application/JSON;charset=UTF-8",
        b'application/json; charset="utf-8"',
        b"application/json;",
        b"application/json ; x=y; charset=us-ascii",
    ],
)
def test_json_with_and_without_parameters(value):
    assert read_tree(value, b'{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    "value",
    [
        b"text/plain",
        b"application/xml",
        b"application/jsonx",
        b"application",
        b"/",
        b"application/json, text/html",
        b"application/json; charset",
        b"application/json\xff",
        b"application/json; charset=latin1",
        b"text/json",
    ],
)
def test_other_types_are_415(value):
    assert refusal(read_tree, value, b'{"a": 1}')[0] == 415


@pytest.mark.parametrize("body", [b'{"a": 1}', b' \r\n{"a": 1}', b'\xef\xbb\xbf{"a": 1}'])
def test_without_a_type_what_begins_as_json_is_json(body):
    assert read_tree(b"", body) == {"a": 1}


@pytest.mark.parametrize("body", [b"", b"a=1", b"[1]"])
def test_without_a_type_anything_else_is_415(body):
    assert refusal(read_tree, b"", body)[0] == 415


def test_json_that_curl_sends_as_a_form_is_told_so():
    status, text = refusal(read_tree, b"application/x-www-form-urlencoded", b'{"recipients": "a@example.org"}')
    assert status == 400 and "application/json" in text


def test_a_long_content_type_takes_no_time():
    for value in (
        b"a/" + b"b" * 100_000,
        b"a/b" + b";x=y" * 50_000,
        b"a/b;" + b" " * 100_000 + b"\\",
        b'a/b;c="' * 20_000,
    ):
        with pytest.raises(ApiError):
            read_type(value)


# --- JSON ---


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "JSON"),
        (b"{", "line 1"),
        (b'{"a": 1}}', "Extra data"),
        (b"{'a': 1}", "line 1"),
        (b'{"a": 1,}', "line 1"),
        (b'{"a": "\n"}', "control character"),
        (b'{"a": \xff}', "UTF-8"),
        (b'{"a": "\xc3"}', "UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "UTF-8"),
        (b'{"a": "\xc0\x80"}', "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b"[]", "no object"),
        (b'"a"', "no object"),
        (b"null", "no object"),
        (b"1", "no object"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e400}', "number"),
        (b'{"a": -1e999}', "number"),
        (b'{"a": ' + b"1" * 31 + b"}", "30 digits"),
        (b'{"a": 0.' + b"1" * 31 + b"}", "30 digits"),
        (b'{"a": 1, "a": 2}', "a: given twice"),
        (b'{"b": [{"subject": 1, "x": 1, "subject": 2}]}', "subject: given twice"),
        (b'{"a": 1, "\\u0061": 2}', "a: given twice"),
    ],
)
def test_what_is_no_good_json_is_400_and_told(body, word):
    status, text = refusal(read_json, body)
    assert status == 400 and word in text


@pytest.mark.parametrize("number", ["0", "-1", "1" * 30, "0.5", "1e30", "1" * 20 + ".5"])
def test_numbers_of_a_sensible_length_are_read(number):
    assert read_json(b'{"a": %s}' % number.encode()) == {"a": float(number) if set(".e") & set(number) else int(number)}


def nested(levels, opening, closing):
    return b'{"subject": ' + opening * (levels - 1) + b"1" + closing * (levels - 1) + b"}"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_depth(opening, closing):
    width = opening.count(b"[") + opening.count(b"{")
    fits = nested((DEPTH - 1) // width + 1, opening, closing)
    assert read_json(fits)["subject"]
    status, text = refusal(read_json, nested(DEPTH // width + 2, opening, closing))
    assert status == 400 and "32 levels" in text and "subject" in text


@pytest.mark.parametrize(
    "body", [b"[" * 400_000, b'{"a":' * 100_000, nested(100_000, b"[", b"]"), nested(5000, b'{"a":', b"}")]
)
def test_bottomless_json_is_no_recursion_error(body):
    status, text = refusal(read_json, body)
    assert status == 400 and "32 levels" in text


def test_json_may_be_deep_in_the_stack_already():
    def down(levels):
        return down(levels - 1) if levels else refusal(read_json, nested(2000, b"[", b"]"))

    assert down(sys.getrecursionlimit() // 2)[0] == 400


def test_brackets_in_texts_are_no_depth():
    body = json.dumps({"html": "[{" * 1000, "a": [1] * 100}).encode()
    assert read_json(body)["html"] == "[{" * 1000


@pytest.mark.parametrize(
    "text",
    [
        "ud800",
        "udfff",
        "uD83D",
        "udc00" + BACKSLASH + "ud800",
        "ud83dx" + BACKSLASH + "ude00",
        "uD83D" + BACKSLASH + "n",
    ],
)
@pytest.mark.parametrize(
    "form", ['{"subject": "x%s"}', '{"subject": {"a": ["%s"]}}', '{"subject": {"%s": 1}}', '{"%s": 1}']
)
def test_halves_of_characters_are_refused(text, form):
    status, told = refusal(read_json, (form % (BACKSLASH + text)).encode())
    assert status == 400 and "surrogate" in told
    assert "subject" in told or form.startswith('{"%s')
    told.encode("utf-8")


def test_whole_characters_in_two_halves_are_read_as_php_writes_them():
    assert read_json(b'{"subject": "\\ud83d\\ude00 \\u00e9"}') == {"subject": "\U0001f600 \u00e9"}


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**29), 10**29)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), values, max_size=5), st.booleans())
def test_good_json_is_read_as_python_reads_it(tree, escaped):
    body = json.dumps(tree, ensure_ascii=escaped).encode()
    assert read_json(body) == json.loads(body)


@given(st.binary(max_size=60) | st.text('{}[]":,\\u d8019ntrfe-+.N', max_size=60).map(str.encode))
def test_whatever_comes_is_read_or_refused(body):
    try:
        assert isinstance(read_json(body), dict)
    except ApiError as error:
        assert error.status == 400 and error.text.isprintable()


def test_names_in_errors_are_cut_and_clean():
    for name in ("x" * 1000, "a\\u0000b", "\\u202e", ""):
        status, text = refusal(read_json, f'{{"{name}": 1, "{name}": 2}}'.encode())
        assert status == 400 and len(text) < 200 and text.isprintable()


# --- names ---


def test_names_are_compared_without_case_where_they_are_fixed():
    tree = {
        "RECIPIENT": ["a"],
        "replyTo": "b",
        "Dsn": {"Notify": "x", "RET": "y"},
        "attachments": [{"RET": "z"}, 1],
        "extra": {"X-A": "1", "x-a": "2"},
        "Other": 1,
        "other": 2,
    }
    known, rest = fold(tree, Outer)
    assert known == {
        "recipients": ["a"],
        "replyto": "b",
        "dsn": {"notify": "x", "ret": "y"},
        "attachments": [{"ret": "z"}, 1],
        "extra": {"X-A": "1", "x-a": "2"},
    }
    assert rest == {"Other": 1, "other": 2}


@pytest.mark.parametrize(
    ("tree", "field"),
    [
        ({"recipient": "a", "recipients": "b"}, "recipients"),
        ({"replyTo": "a", "replyto": "b"}, "replyto"),
        ({"dsn": {"ret": "a", "RET": "b"}}, "dsn.ret"),
        ({"attachments": [{}, {"ret": "a", "Ret": "b"}]}, "attachments.1.ret"),
    ],
)
def test_two_names_of_one_field_are_a_contradiction(tree, field):
    status, text = refusal(fold, tree, Outer)
    assert status == 400 and text.startswith(f"{field}: given twice")


def test_null_and_empty_objects_are_as_nothing():
    tree = {"recipient": None, "recipients": ["a"], "dsn": [], "replyto": None, "attachments": [{"ret": None}]}
    assert fold(tree, Outer)[0] == {"recipients": ["a"], "attachments": [{}]}
    assert fold({"dsn": ""}, Outer)[0] == {}


def test_a_letter_that_only_looks_like_one_makes_another_name():
    assert fold({"recip\u0131ents": 1, "\u212a": 1}, Outer)[0] == {}


# --- small bodies ---


def test_a_body_becomes_a_model():
    body = read_body(make_request(b'{"Recipient": ["a"], "dsn": {"NOTIFY": "x"}, "unknown": 1}'), Outer)
    assert body == Outer(recipients=["a"], dsn=Inner(notify="x"))


def test_what_does_not_fit_names_the_field_and_repeats_nothing():
    status, text = refusal(read_body, make_request(b'{"dsn": {"notify": ["secret"]}}'), Outer)
    assert status == 400 and text.startswith("dsn.notify: ") and "secret" not in text


def test_a_body_that_tells_little_is_small():
    assert refusal(read_body, make_request(b'{"a": "%s"}' % (b"x" * SMALL)), Outer)[0] == 413
    assert refusal(read_body, make_request(b"", file=Path("x")), Outer)[0] == 413


# --- digests ---


def test_requests_are_told_apart():
    digests = {
        digest_of(b"application/json", b'{"a": 1}'),
        digest_of(b"application/json", b'{"a": 2}'),
        digest_of(b"application/x-www-form-urlencoded", b'{"a": 1}'),
    }
    assert len(digests) == 3
    assert digest_of(b"application/json", b"{}") == digest_of(b"Application/json; charset=utf-8", b"{}")
    assert digest_of(b"", b"{}") == digest_of(b"application/json", b"{}")


def test_a_form_that_is_sent_again_has_another_boundary():
    def form(boundary, value):
        body = b'--%s\r\nContent-Disposition: form-data; name="a"\r\n\r\n%s\r\n--%s--\r\n' % (boundary, value, boundary)
        return digest_of(b"multipart/form-data; boundary=" + boundary, body)

    assert form(b"one", b"1") == form(b"another", b"1") != form(b"one", b"2")


# --- content types ---


def test_types_with_boundaries_are_not_remembered():
    _written_type.cache_clear()
    for number in range(300):
        assert read_type(b"multipart/form-data; boundary=%d" % number).parameters == {"boundary": str(number)}
        assert read_type(b"Multipart/Form-Data; boundary=%d" % number).name == "multipart/form-data"
    assert _written_type.cache_info().currsize == 0
    for number in range(300):
        read_type(b"application/json; a=%d" % number)
    assert _written_type.cache_info().currsize <= 100
