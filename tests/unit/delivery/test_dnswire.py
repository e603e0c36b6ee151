"""DNS messages, beside those that dnspython writes and reads."""

from __future__ import annotations

import struct
import time

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.delivery.dnswire import PAYLOAD, Query, Response, make_query, parse_response
from smtpeter.model.answer import Mx, Question, RecordType

MX = Question("example.com", RecordType.MX)


def response_to(query, *records, authority=(), code=dns.rcode.NOERROR, flags=0):
    """What dnspython answers, as octets; records as in a zone file."""
    response = dns.message.make_response(dns.message.from_wire(query.octets), recursion_available=True)
    response.set_rcode(code)
    response.flags |= flags
    for section, texts in ((response.answer, records), (response.authority, authority)):
        for text in texts:
            name, ttl, kind, value = text.split(" ", 3)
            section.append(dns.rrset.from_text(name, int(ttl), "IN", kind, value))
    return response.to_wire(max_size=65535)


def parsed(*records, question=MX, **keywords):
    query = make_query(question, 4711)
    return parse_response(response_to(query, *records, **keywords), query)


# --- queries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RecordType)
@pytest.mark.parametrize("edns", [True, False])
def test_a_query_is_what_dnspython_reads_in_it(kind, edns):
    message = dns.message.from_wire(make_query(Question("a-b.xn--4ca.example.com", kind), 4711, edns).octets)
    question = message.question[0]
    assert (message.id, message.flags, len(message.question)) == (4711, dns.flags.RD, 1)
    assert (question.name.to_text(), question.rdtype.name, question.rdclass.name) == (
        "a-b.xn--4ca.example.com.", kind, "IN",
    )  # fmt: skip
    assert (message.edns, message.payload) == ((0, PAYLOAD) if edns else (-1, 0))


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".a", "a..b", "x" * 64, ".".join(["x" * 49] * 5 + ["xxxx"]), "ä.example", "a\udcff"]
)
def test_a_name_that_cannot_be(name):
    with pytest.raises(ValueError):
        make_query(Question(name, RecordType.MX), 1)


def test_the_longest_name_can_be():
    assert dns.message.from_wire(make_query(Question(".".join(["x" * 49] * 5 + ["xxx"]), RecordType.A), 1).octets)


# --- responses ------------------------------------------------------------------------------------------------------


def test_records_of_each_type():
    assert parsed("example.com. 300 MX 10 A.Example.com.", "example.com. 300 MX 0 .") == Response(
        0, False, {"example.com": [(Mx(10, "a.example.com"), 300), (Mx(0, ""), 300)]}, {}
    )
    for kind, address in ((RecordType.A, "192.0.2.1"), (RecordType.AAAA, "2001:db8::1")):
        response = parsed(f"example.com. 60 {kind} {address}", question=Question("example.com", kind))
        assert response.records == {"example.com": [(address, 60)]}


def test_names_of_addresses():
    question = Question("1.2.0.192.in-addr.arpa", RecordType.PTR)
    response = parsed(f"{question.name}. 60 PTR Mail.Example.com.", question=question)
    assert response.records == {question.name: [("mail.example.com", 60)]}


def test_aliases_and_what_else_is_there():
    response = parsed("example.com. 5 CNAME Www.example.net.", "www.example.net. 7 MX 1 b.example.", "x. 1 TXT y")
    assert response.aliases == {"example.com": ("www.example.net", 5)}
    assert response.records == {"www.example.net": [(Mx(1, "b.example"), 7)]}


def test_how_long_there_is_nothing():
    soa = "example.com. 600 SOA ns.example.com. root.example.com. 1 2 3 4 {}"
    assert parsed(authority=[soa.format(30)], code=dns.rcode.NXDOMAIN)[:1] == (3,)
    assert parsed(authority=[soa.format(30)]).negative_ttl == 30
    assert parsed(authority=[soa.format(9000)]).negative_ttl == 600
    assert parsed().negative_ttl is None


def test_a_referral_has_servers_and_no_soa():
    servers, soa = ". 3600 NS a.root-servers.net.", ". 60 SOA a. b. 1 2 3 4 5"
    assert parsed(authority=[servers]).refers
    assert not parsed(authority=[servers, soa]).refers
    assert not parsed().refers


def test_codes_with_their_upper_bits():
    assert parsed(code=dns.rcode.SERVFAIL).code == 2
    assert parsed(code=dns.rcode.BADVERS).code == 16


def test_truncated_is_all_that_is_read_of_a_truncated_one():
    response = parsed("example.com. 300 MX 10 a.example.com.", flags=dns.flags.TC)
    assert response.truncated and not response.records


def test_a_server_may_leave_out_the_question_where_it_does_not_answer_it():
    query = make_query(MX, 4711)
    assert parse_response(struct.pack("!6H", 4711, 0x8005, 0, 0, 0, 0), query).code == 5
    assert parse_response(struct.pack("!6H", 4711, 0x8000, 0, 0, 0, 0), query) is None


def test_a_time_to_live_beyond_what_there_is_counts_as_nothing():
    assert parsed("example.com. 2147483648 MX 10 a.").records["example.com"][0].ttl == 0


# --- attacks --------------------------------------------------------------------------------------------------------


def test_attack_what_is_no_response_to_the_query():
    query = make_query(MX, 4711)
    right = response_to(query, "example.com. 300 MX 10 a.example.com.")
    assert parse_response(right, query)
    other_query = make_query(Question("example.net", RecordType.MX), 4711)
    other_type = make_query(Question("example.com", RecordType.A), 4711)
    for octets in (
        b"",
        right[:11],
        right[:-1],
        b"\0\0" + right[2:],
        query.octets,
        response_to(other_query, "example.net. 300 MX 1 a."),
        response_to(other_type, "example.com. 300 A 192.0.2.1"),
    ):
        assert parse_response(octets, query) is None


def hostile(*names, kind=15, rdata=b"\0\1\0"):
    """A response with these octets as the names of its records."""
    query = make_query(MX, 4711)
    octets = struct.pack("!6H", 4711, 0x8180, 1, len(names), 0, 0) + query.octets[12:29]
    for name in names:
        octets += name + struct.pack("!HHIH", kind, 1, 300, len(rdata)) + rdata
    return octets, query


@pytest.mark.parametrize(
    "name", [b"\xc0\x1d", b"\xc0\xff", b"\xff\xff", b"\x01a\xc0\x1d", b"\x40", b"\x80a", b"\x05ab", b"\x3f" + b"a" * 63]
)
def test_attack_names_that_go_in_circles_or_out_of_the_message(name):
    octets, query = hostile(name, rdata=b"")
    assert parse_response(octets, query) is None


def test_attack_names_longer_than_there_are():
    label = b"\x3f" + b"a" * 63
    octets, query = hostile(label * 3 + b"\x3d" + b"a" * 61 + b"\0")
    assert len(next(iter(parse_response(octets, query).records))) == 253
    octets, query = hostile(label * 3 + b"\x3e" + b"a" * 62 + b"\0")
    assert parse_response(octets, query) is None


def test_attack_names_that_grow_by_way_of_pointers():
    names = [b"\x3f" + b"a" * 63 + b"\0"]
    for _ in range(100):
        octets, query = hostile(*names)
        start = len(hostile(*names[:-1])[0]) if len(names) > 1 else 29
        names.append(b"\x3f" + b"a" * 63 + struct.pack("!H", 0xC000 | start))
    assert parse_response(octets, query) is None


@pytest.mark.parametrize(("kind", "rdata"), [(15, b"\0"), (15, b""), (5, b""), (15, b"\0\1\x05ab")])
def test_attack_records_that_hold_less_than_they_should(kind, rdata):
    octets, query = hostile(b"\0", kind=kind, rdata=rdata)
    assert parse_response(octets, query) is None


def test_attack_odd_octets_in_names_are_no_part_of_any_host_name():
    octets, query = hostile(b"\0", rdata=b"\0\1\x05A.b\n\\\x02\xffc\0")
    assert parse_response(octets, query).records == {"": [(Mx(1, "a\\046b\\010\\092.\\255c"), 300)]}


def test_attack_a_message_that_is_made_to_be_much_work():
    """A name of 110 labels in each of thousands of records: seconds, for who spells each out."""
    query = make_query(MX, 4711)
    body = query.octets[12:29] + b"\x01a" * 110 + b"\0" + struct.pack("!HHIH", 15, 1, 300, 4) + b"\0\1\xc0\x0c"
    count = 1
    while len(body) < 65_000:
        body += b"\xc0\x1d" + struct.pack("!HHIHH", 15, 1, 300, 6, count) + b"\x01b\xc0\x1d"
        count += 1
    octets = struct.pack("!6H", 4711, 0x8180, 1, count, 0, 0) + body
    begin = time.process_time()
    records = parse_response(octets, query).records
    assert time.process_time() - begin < 2
    assert sum(map(len, records.values())) == count > 3500


@given(st.data())
def test_attack_octets_of_any_kind_are_a_response_or_none(data):
    query = make_query(MX, 4711)
    octets = bytearray(
        response_to(
            query,
            "example.com. 5 CNAME www.example.net.",
            "www.example.net. 7 MX 1 b.example.",
            authority=[". 60 SOA a. b. 1 2 3 4 5"],
        )
    )
    for _ in range(data.draw(st.integers(0, 8))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    del octets[data.draw(st.integers(0, len(octets))) :]
    response = parse_response(bytes(octets), query)
    assert response is None or isinstance(response, Response)


_LABEL = st.text("abcdefghijkl-_xyz019", min_size=1, max_size=12)
_NAME = st.lists(_LABEL, min_size=1, max_size=5).map(".".join)


@given(
    _NAME, st.lists(st.tuples(st.integers(0, 65535), _NAME), min_size=1, max_size=20, unique=True), st.integers(0, 9000)
)
def test_what_dnspython_writes_is_read_as_it_was(name, hosts, ttl):
    query = make_query(Question(name, RecordType.MX), 1)
    octets = response_to(query, *(f"{name}. {ttl} MX {preference} {host}." for preference, host in hosts))
    response = parse_response(octets, Query(query.question, 1, b""))
    assert [record.value for record in response.records[name]] == [Mx(*host) for host in hosts]
