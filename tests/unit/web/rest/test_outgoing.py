"""What is made of a request to send: fields under all their names, in JSON and in forms, and what is refused."""

from __future__ import annotations

import base64
import email
import email.policy
import json
import time
from urllib.parse import urlencode

import pytest

from smtpeter.features.catalog import Catalog
from smtpeter.features.options import OptionTable
from smtpeter.model.feature import Option, OptionKind
from smtpeter.web.rest.bodies import read_tree
from smtpeter.web.rest.fields import ATTACHMENTS, SendRequest, body_schema
from smtpeter.web.rest.forms import File
from smtpeter.web.rest.outgoing import make_outgoing, make_rules
from smtpeter.web.rest.values import ApiError

ENTROPY = "0123456789abcdef"
CATALOG = Catalog(
    options=OptionTable(
        [
            Option("inlinecss", "Moves style sheets", aliases=("inlinizecss",)),
            Option("trackclicks", "Follows links", aliases=("clicktracking",)),
            Option("trackbounces", "Follows bounces", aliases=("bouncetracking",)),
            Option("footer_text", "What stands below", OptionKind.TEXT),
        ]
    )
)
RULES = make_rules(CATALOG, 5)
FORM = b"application/x-www-form-urlencoded"
MIME = "From: jane@example.org\r\nSubject: Hello\r\n\r\nHello!\r\n"
LETTER = {"recipients": ["joe@example.com"], "from": "jane@example.org", "subject": "Hello", "text": "Hello Joe!"}


def read(content_type, body):
    return make_outgoing(read_tree(content_type, body), RULES, ENTROPY)


def make(tree):
    return read(b"application/json", json.dumps(tree).encode())


def form(text):
    return read(FORM, text.encode())


def octets(outgoing):
    return b"".join(outgoing.pieces)


def message(outgoing):
    return email.message_from_bytes(octets(outgoing), policy=email.policy.default)


def recipients(outgoing):
    return [each.address for each in outgoing.envelope.recipients]


def refusal(tree):
    with pytest.raises(ApiError) as caught:
        make(tree)
    assert caught.value.status == 400 and caught.value.text.isprintable()
    return caught.value.text


def multipart(*parts):
    body = b"".join(b"--B\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % part for part in parts) + b"--B--\r\n"
    return read(b"multipart/form-data; boundary=B", body)


# --- requests as existing clients send them ---


def test_the_shortest_request():
    outgoing = make({"recipient": "joe@example.com", "mime": MIME})
    assert recipients(outgoing) == ["joe@example.com"]
    assert outgoing.envelope.reverse_path == "" and outgoing.options == {}
    assert octets(outgoing) == MIME.encode()


def test_older_names_in_other_letters():
    outgoing = read(
        b"application/json",
        b'{"Envelope":"me@example.org","Recipient":"joe@example.com","Body":"Subject: x\\n\\ny","InlinizeCSS":true,'
        b'"clicktracking":"1","BounceTracking":0,"Tags":["a","b"],"MaxDeliverTime":"2030-01-01 00:00:00"}',
    )
    assert outgoing.envelope.reverse_path == "me@example.org"
    assert octets(outgoing) == b"Subject: x\r\n\r\ny\r\n"
    assert outgoing.options == {
        "InlinizeCSS": "true",
        "clicktracking": "1",
        "BounceTracking": "0",
        "Tags": "a,b",
        "MaxDeliverTime": "2030-01-01 00:00:00",
    }


def test_a_composed_message_as_php_writes_it():
    outgoing = read(
        b"application/json; charset=UTF-8",
        b'{"recipients":["joe@example.com"],"from":"J\\u00e9r\\u00f4me <j@example.org>","to":["Joe <joe@example.com>"],'
        b'"cc":"","replyTo":"answers@example.org","subject":"Caf\\u00e9 \\ud83d\\ude00","html":"<p>Caf\\u00e9<\\/p>",'
        b'"text":"","extra":[],"dsn":[],"attachments":[],"unsubscribe":null}',
    )
    found = message(outgoing)
    assert found["subject"] == "Caf\u00e9 \U0001f600" and found["reply-to"] == "answers@example.org"
    assert found["from"].addresses[0].display_name == "J\u00e9r\u00f4me" and found["cc"] is None
    assert found.get_content_type() == "text/html" and found.get_content().strip() == "<p>Caf\u00e9</p>"


def test_a_form_as_php_builds_it():
    outgoing = form(
        "recipients%5B0%5D=joe%40example.com&recipients%5B1%5D=jim%40example.com&from=Jane+%3Cjane%40example.org%3E"
        "&to%5B%5D=joe%40example.com&subject=Hello+you&text=Hi%0D%0Athere&trackclicks=1&inlinecss=&tags%5B%5D=a&tags%5B%5D=b"
        "&dsn%5Bnotify%5D=FAILURE%2CDELAY&dsn%5Bret%5D=HDRS&dsn%5Benvid%5D=order+17&extra%5BX-Order%5D=17"
        "&unsubscribe%5Burl%5D=https%3A%2F%2Fexample.org%2Fleave&unsubscribe%5Boneclick%5D=1"
        "&attachments%5B0%5D%5Bname%5D=a.txt&attachments%5B0%5D%5Bdata%5D=aGVsbG8%3D&attachments%5B0%5D%5Btype%5D=text%2Fplain"
    )
    assert recipients(outgoing) == ["joe@example.com", "jim@example.com"]
    assert {each.notify for each in outgoing.envelope.recipients} == {"FAILURE,DELAY"}
    assert (outgoing.envelope.ret, outgoing.envelope.envid) == ("HDRS", "order+2017")
    assert outgoing.options == {"trackclicks": "1", "tags": "a,b"}
    found = message(outgoing)
    assert found["x-order"] == "17" and found["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    assert [part.get_content() for part in found.iter_attachments()] == ["hello"]


def test_a_form_with_repeated_names():
    outgoing = form("recipients=a@example.com&recipients=b@example.com&mime=Subject:%20x%0A%0Ay")
    assert recipients(outgoing) == ["a@example.com", "b@example.com"]


def test_a_form_of_curl_with_files():
    outgoing = multipart(
        (b'name="recipient"', b"joe@example.com"),
        (b'name="from"', b"jane@example.org"),
        (b'name="text"', b"see the file"),
        (b'name="attachments[]"; filename="a.bin"', b"\0\xff\r\n"),
        (b'name="attachments[1][data]"; filename="b.bin"', b"two"),
        (b'name="attachments[1][name]"', b"other.txt"),
    )
    first, second = message(outgoing).iter_attachments()
    assert (first.get_filename(), first.get_content()) == ("a.bin", b"\0\xff\r\n")
    assert (second.get_filename(), second.get_payload(decode=True)) == ("other.txt", b"two")


def test_a_whole_message_as_a_file_keeps_its_octets():
    raw = b"Subject: caf\xe9\r\n\r\n\xe9\r\n"
    assert octets(multipart((b'name="recipient"', b"joe@example.com"), (b'name="mime"; filename="m.eml"', raw))) == raw


def test_a_file_where_none_belongs_is_refused():
    with pytest.raises(ApiError) as caught:
        multipart((b'name="recipient"', b"joe@example.com"), (b'name="subject"; filename="x"', b"y"))
    assert caught.value.text.startswith("subject: ")


# --- recipients ---


@pytest.mark.parametrize(
    "given",
    [
        {"recipients": ["a@example.com", "b@example.com"]},
        {"recipients": "a@example.com, b@example.com"},
        {"recipients": ["a@example.com,b@example.com"]},
        {"recipients": {"a@example.com": {"name": "A"}, "b@example.com": None}},
        {"recipient": "a@example.com,b@example.com"},
        {"RECIPIENTS": ["a@example.com", "b@EXAMPLE.com", "b@example.com"]},
    ],
)
def test_all_forms_of_recipients(given):
    assert [each.lower() for each in recipients(make(given | {"mime": MIME}))] == ["a@example.com", "b@example.com"]


def test_an_address_is_no_name_of_a_field():
    given = {"MIME@example.com": {"Data": 1}, "mime@example.com": {}}
    assert recipients(make({"recipients": given, "mime": MIME})) == ["MIME@example.com", "mime@example.com"]


def test_only_recipients_decide_where_mail_goes():
    outgoing = make(LETTER | {"to": "a@example.com", "cc": "b@example.com", "bcc": ["c@example.com"]})
    assert recipients(outgoing) == ["joe@example.com"]
    assert b"c@example.com" not in octets(outgoing)


@pytest.mark.parametrize(
    "given", [1, True, [1], [["a@example.com"]], [{"email": "a@example.com"}], [None], {"": 1}, {}, [], ""]
)
def test_what_are_no_recipients(given):
    assert refusal({"recipients": given, "mime": MIME}).startswith("recipients")


def test_recipients_are_needed():
    for tree in ({}, {"mime": MIME}, {"recipients": None, "mime": MIME}):
        assert refusal(tree).startswith("recipients: ")


def test_there_may_only_be_so_many_recipients():
    assert "at most 5" in refusal({"recipients": [f"{each}@example.com" for each in range(6)], "mime": MIME})


# --- the envelope ---


@pytest.mark.parametrize("given", [{}, {"envelope": ""}, {"envelope": None}])
def test_no_envelope_is_the_null_path(given):
    assert make(LETTER | given).envelope.reverse_path == ""


def test_smtputf8_where_an_address_needs_it():
    assert not make(LETTER).envelope.smtputf8
    assert make(LETTER | {"recipients": "j\u00f6@example.com"}).envelope.smtputf8
    assert make(LETTER | {"envelope": "j\u00f6@example.com"}).envelope.smtputf8
    assert make(LETTER | {"from": "j\u00f6@example.com"}).envelope.smtputf8


def test_dsn():
    dsn = {"Notify": ["SUCCESS", "failure"], "RET": "full", "EnvId": 17, "orcpt": "jim@example.com"}
    envelope = make(LETTER | {"DSN": dsn}).envelope
    assert (envelope.ret, envelope.envid) == ("FULL", "17")
    assert [(each.notify, each.orcpt) for each in envelope.recipients] == [
        ("SUCCESS,FAILURE", "rfc822;jim@example.com")
    ]


@pytest.mark.parametrize(
    ("dsn", "field"),
    [
        ({"notify": "SOMETIMES"}, "dsn.notify"),
        ({"notify": {"x": 1}}, "dsn.notify"),
        ({"ret": "ALL"}, "dsn.ret"),
        ({"ret": ["FULL"]}, "dsn.ret"),
        ({"envid": "x" * 101}, "dsn.envid"),
        ({"orcpt": ";"}, "dsn.orcpt"),
        ("NEVER", "dsn"),
        (["NEVER"], "dsn"),
        (True, "dsn"),
    ],
)
def test_no_dsn(dsn, field):
    assert refusal(LETTER | {"dsn": dsn}).startswith(f"{field}: ")


# --- the message ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Subject: x\n\ny\n", b"Subject: x\r\n\r\ny\r\n"),
        ("Subject: x\r\n\r\ny\r\n.\r\nz", b"Subject: x\r\n\r\ny\r\n.\r\nz\r\n"),
        ("Subject: \u00e9\r\n\r\n", "Subject: \u00e9\r\n\r\n".encode()),
        ("a: b\r\rc\n\r\n", b"a: b\r\n\r\nc\r\n\r\n"),
    ],
)
def test_a_whole_message_has_the_line_ends_of_mail(text, expected):
    assert octets(make({"recipient": "a@example.com", "mime": text})) == expected


@pytest.mark.parametrize(
    "more",
    [
        {"from": "a@example.com"},
        {"to": "a@example.com"},
        {"cc": ["a@example.com"]},
        {"bcc": "x@example.com"},
        {"replyTo": "a@b.org"},
        {"subject": "x"},
        {"text": "x"},
        {"html": "x"},
        {"unsubscribe": {"url": "https://example.com"}},
        {"headers": {"X-A": "b"}},
        {"attachments": [{"data": "", "name": "x"}]},
    ],
)
def test_a_whole_message_and_parts_of_one_contradict_each_other(more):
    field = next(iter(more)).lower().replace("headers", "extra")
    assert refusal({"recipient": "a@example.com", "mime": MIME} | more).startswith(
        f"{field}: the whole message is in mime"
    )


def test_a_whole_message_and_empty_parts_do_not():
    empty = {
        "from": "",
        "to": [],
        "subject": "",
        "text": None,
        "html": "",
        "attachments": [],
        "extra": {},
        "unsubscribe": {},
    }
    assert octets(make({"recipient": "a@example.com", "mime": MIME} | empty)) == MIME.encode()


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"from": ""}, "from"),
        ({"from": "a@example.com, b@example.com"}, "from"),
        ({"from": "nobody"}, "from"),
        ({"from": {"a": 1}}, "from"),
        ({"to": "x y z"}, "to"),
        ({"cc": 1}, "cc"),
        ({"replyto": "<"}, "replyto"),
        ({"bcc": {}}, "bcc"),
        ({"subject": ["x"]}, "subject"),
        ({"subject": "x\ny"}, "subject"),
        ({"text": {}}, "text"),
        ({"html": ["x"]}, "html"),
        ({"unsubscribe": "https://example.org"}, "unsubscribe"),
        ({"unsubscribe": {"email": "x"}}, "unsubscribe.email"),
        ({"unsubscribe": {"email": "a@b.org,c@d.org"}}, "unsubscribe.email"),
        ({"unsubscribe": {"url": "javascript:x"}}, "unsubscribe.url"),
        ({"unsubscribe": {"oneclick": "maybe"}}, "unsubscribe.oneclick"),
        ({"extra": {"Received": "x"}}, "extra"),
        ({"extra": {"Bcc": "x"}}, "extra"),
        ({"extra": {"X-SMTPeter-Tags": "x"}}, "extra"),
        ({"extra": {"X-A": ["x"]}}, "extra"),
        ({"extra": ["x"]}, "extra"),
        ({"mime": 1}, "mime"),
        ({"mime": "a: b\r\n\r\n\0"}, "mime"),
        ({"mime": ["x"]}, "mime"),
        ({"envelope": "x"}, "envelope"),
        ({"attachments": [{"name": "x"}]}, "attachments.0.data"),
        ({"attachments": [{"data": "a"}]}, "attachments.0.data"),
        ({"attachments": [{"data": "YQ"}]}, "attachments.0.data"),
        ({"attachments": [{"data": "Y===", "name": "x"}]}, "attachments.0.data"),
        ({"attachments": [{"data": "data:text/plain;base64,YQ=="}]}, "attachments.0.data"),
        ({"attachments": [{"data": "\u00e9\u00e9"}]}, "attachments.0.data"),
        ({"attachments": [{"data": 1}]}, "attachments.0.data"),
        ({"attachments": [{"data": "YQ==", "type": "x"}]}, "attachments.type"),
        ({"attachments": [{"data": ""}, {"url": "https://example.org/a"}]}, "attachments.1.url"),
        ({"attachments": ["YQ=="]}, "attachments.0"),
        ({"attachments": [{"data": "YQ==", "name": "a\r\nb"}]}, "attachments.name"),
        ({"attachments": "x"}, "attachments"),
        ({"attachments": [{"data": "YQ==", "cid": "a b"}]}, "attachments.cid"),
        ({"attachments": [{"data": "YQ=="}] * (ATTACHMENTS + 1)}, "attachments"),
        ({"template": 17}, "template"),
        ({"data": {"name": "x"}}, "template"),
        ({"patch": [{}]}, "template"),
    ],
)
def test_every_refusal_names_its_field(more, field):
    text = refusal({"recipients": "a@example.com", **({} if "mime" in more else LETTER), **more})
    assert text.lower().startswith(field), text


def test_attachments_in_base64_with_lines():
    data = base64.encodebytes(bytes(range(256))).decode()
    outgoing = make(LETTER | {"Attachments": {"Data": data, "NAME": "a.bin", "cid": "x@example.org"}})
    (part,) = message(outgoing).iter_attachments()
    assert part.get_content() == bytes(range(256)) and part["content-id"] == "<x@example.org>"


def test_numbers_are_texts_too():
    assert message(make(LETTER | {"subject": 2030}))["subject"] == "2030"


def test_unknown_fields_do_not_matter():
    assert octets(make(LETTER | {"priority": 1, "x": {"y": []}, "from_": "z"})) == octets(make(LETTER))


# --- options ---


def test_options_of_all_features_by_all_their_names():
    given = {
        "INLINECSS": True,
        "clickTracking": False,
        "footer-text": "Bye",
        "trackbounces": None,
        "send-at": "2030-01-01 00:00:00",
    }
    assert make(LETTER | given | {"images": "default"}).options == {
        "INLINECSS": "true",
        "clickTracking": "false",
        "footer-text": "Bye",
        "send-at": "2030-01-01 00:00:00",
        "images": "default",
    }


@pytest.mark.parametrize("value", [["a", "b"], "a,b", "a;b", " a ; b ,", ["a;b"], ["a", " b ", ""], ["a,b"]])
def test_tags(value):
    assert make(LETTER | {"tags": value}).options == {"tags": "a,b"}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"trackclicks": ["true"]}, "trackclicks"),
        ({"trackclicks": 0.5}, "trackclicks"),
        ({"TrackClicks": {}}, "TrackClicks"),
        ({"tags": {"a": 1}}, "tags"),
        ({"tags": [["a"]]}, "tags"),
        ({"inlinecss": 1, "inlinizecss": 1}, "inlinizecss: given twice"),
        ({"sendat": "x", "send_at": "y"}, "send_at: given twice"),
    ],
)
def test_no_options(more, field):
    assert refusal(LETTER | more).startswith(field)


def test_the_key_of_a_request_is_no_option_of_it():
    assert make(LETTER | {"idempotency_key": "x", "Idempotency-Key": "y"}).options == {}


# --- the description ---


def test_every_field_is_described():
    schema = body_schema(CATALOG)
    properties = schema["properties"]
    assert {"recipients", "mime", "from", "dsn", "tags", "inlinecss", "footer_text", "send_at"} <= set(properties)
    assert properties["inlinecss"] == {"type": "boolean", "description": "Moves style sheets. Also `inlinizecss`."}
    for name, each in properties.items():
        assert each.get("description") or "$ref" in str(each), name
    assert schema["required"] == ["recipients"]
    json.dumps(schema)


def test_all_names_of_the_contract_are_known():
    names = set()
    for name, field in SendRequest.model_fields.items():
        alias = field.validation_alias
        names |= set(getattr(alias, "choices", [alias or name]))
    assert names >= {
        "recipient",
        "recipients",
        "envelope",
        "mime",
        "body",
        "from",
        "to",
        "cc",
        "bcc",
        "replyto",
        "subject",
        "text",
        "html",
        "unsubscribe",
        "extra",
        "headers",
        "attachments",
        "dsn",
        "template",
        "data",
        "patch",
    }


def test_forms_and_json_say_the_same():
    tree = LETTER | {"recipients": "joe@example.com", "trackclicks": "true"}
    assert octets(form(urlencode(tree))) == octets(make(tree))
    assert form(urlencode(tree))[::2] == make(tree)[::2]


# --- what is empty, and what programs send in odd ways ---


def test_what_is_empty_is_as_nothing():
    outgoing = form("recipients=&recipient=a@example.com&from=me@example.org&text=x&html=&unsubscribe%5Boneclick%5D=")
    assert [each.address for each in outgoing.envelope.recipients] == ["a@example.com"]
    assert make(LETTER | {"recipients": [], "recipient": "a@example.com"}).envelope.recipients
    assert "recipients: write at least one" in refusal(LETTER | {"recipients": ""})


@pytest.mark.parametrize("field", ["text", "html"])
def test_content_out_of_a_file(field):
    tree = LETTER | {"text": "", field: File("x.html", "text/html", b"\xef\xbb\xbfcaf\xc3\xa9")}
    assert message(make_outgoing(tree, RULES, ENTROPY)).get_content().strip() == "caf\u00e9"
    with pytest.raises(ApiError, match=f"^{field}: this file is not UTF-8$"):
        make_outgoing(LETTER | {field: File("x.html", "", b"\xff")}, RULES, ENTROPY)


def test_a_whole_message_out_of_a_file_is_as_one_in_a_text():
    octets_given = b"Subject: x\n\na\rb\r\nc"
    tree = {"recipients": "a@example.com", "mime": File("m.eml", "", octets_given)}
    assert octets(make_outgoing(tree, RULES, ENTROPY)) == b"Subject: x\r\n\r\na\r\nb\r\nc\r\n"
    with pytest.raises(ApiError, match=r"^mime: .*NUL"):
        make_outgoing(tree | {"mime": File("m.eml", "", b"a: b\n\n\0")}, RULES, ENTROPY)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"recipients": "nobody"}, "recipients"),
        ({"recipients": ["a@example.com", "nobody"]}, "recipients.1"),
        ({"recipients": "a@b@c"}, "recipients"),
        ({"envelope": "nobody"}, "envelope"),
        ({"from": "nobody"}, "from"),
        ({"to": "Joe <nobody>"}, "to"),
        ({"unsubscribe": {"email": "nobody"}}, "unsubscribe.email"),
    ],
)
def test_addresses_are_asked_for_as_they_are_written_here(more, field):
    assert refusal(LETTER | {"recipients": "a@example.com"} | more) == f"{field}: write it as name@example.com"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"dsn": "x"}, "dsn: write an object"),
        ({"attachments": ["x"]}, "attachments.0: write an object"),
        ({"subject": ["x"]}, "subject: write a text"),
        ({"unsubscribe": {"oneclick": "x"}}, "unsubscribe.oneclick: write true or false"),
    ],
)
def test_what_is_wrong_is_said_in_our_words(more, sentence):
    assert refusal(LETTER | {"recipients": "a@example.com"} | more) == sentence


def test_addresses_by_the_hundred_thousand_are_not_read():
    for more in ({"to": "x@b.example," * 100_000}, {"recipients": "x@b.example," * 1_000_000}):
        started = time.process_time()
        assert refusal(LETTER | {"recipients": "a@example.com"} | more).startswith(next(iter(more)))
        assert time.process_time() - started < 0.2


def test_commas_and_quotes_without_addresses_cost_little():
    for text in ("," * 200_000, ', "",' * 50_000, '"",' * 50_000, '""' * 100_000 + " <a@b.example>"):
        started = time.process_time()
        try:
            make(LETTER | {"recipients": "a@example.com", "to": text})
        except ApiError:
            pass
        assert time.process_time() - started < 0.5
