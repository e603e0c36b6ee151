"""Look-ups over real sockets, from a name server that lies."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from smtpeter.delivery.nameservers import MOST_ADDRESSES, MOST_HOPS, MOST_HOSTS, NameServers, Silence
from smtpeter.delivery.networks import Networks
from smtpeter.delivery.resolver import AT_ONCE, Resolver
from smtpeter.delivery.router import Router
from smtpeter.locations import parse_network
from smtpeter.model.answer import AnswerKind, Mx, Question, RecordType
from smtpeter.model.delivery import OutcomeKind
from smtpeter.model.route import Route, Target
from tests.fakes.nameserver import LyingNameServer
from tests.fakes.reactor import FakeReactor

FOUND, NODATA, NXDOMAIN, TROUBLE = AnswerKind.FOUND, AnswerKind.NODATA, AnswerKind.NXDOMAIN, AnswerKind.TROUBLE
LONG = 20.0  # far more than an answer on this machine takes

ZONE = {
    "example.com": {"MX": [(20, "b.Example.com"), (10, "a.example.com")], "TXT": ['"x"']},
    "a.example.com": {"A": ["192.0.2.1", "192.0.2.2"], "AAAA": ["2001:db8::1"]},
    "null.example": {"MX": [(0, "")]},
    "alias.example": {"CNAME": "example.com"},
    "loop1.example": {"CNAME": "loop2.example"},
    "loop2.example": {"CNAME": "loop1.example"},
    "astray.example": {"CNAME": "nowhere.example"},
    "crowd.example": {"MX": [(number, f"mx{number}.crowd.example") for number in range(120, 0, -1)]},
    "thousand.example": {"A": [f"10.{number >> 8}.{number & 255}.1" for number in range(1000)]},
    **{f"chain{number}.example": {"CNAME": f"chain{number + 1}.example"} for number in range(40)},
    "chain40.example": {"A": ["192.0.2.40"]},
    "*.many.example": lambda name: {"MX": [(1, f"mx.{name}")]},
}


@pytest.fixture
def server():
    with LyingNameServer(dict(ZONE)) as running:
        yield running


def look_up(server, name, kind=RecordType.MX, limit=LONG, patience=LONG):
    return NameServers(server.address).look_up(Question(name, kind), limit, patience)


def addresses(server, name):
    return look_up(server, name, RecordType.A)


# --- the truth ------------------------------------------------------------------------------------------------------


def test_mx_records_come_in_order_and_in_lower_case(server):
    answer = look_up(server, "example.com")
    assert answer.kind is FOUND and answer.hosts == (Mx(10, "a.example.com"), Mx(20, "b.example.com"))
    assert (answer.name, answer.ttl, server.transports) == ("example.com", 300, {"udp": 1})


def test_addresses_of_both_families(server):
    assert set(addresses(server, "a.example.com").addresses) == {"192.0.2.1", "192.0.2.2"}
    assert look_up(server, "a.example.com", RecordType.AAAA).addresses == ("2001:db8::1",)


def test_nothing_there_and_no_such_name_hold_for_as_long_as_the_zone_says(server):
    assert addresses(server, "example.com") == (NODATA, "example.com", 60, (), (), "")
    assert addresses(server, "no.such.example") == (NXDOMAIN, "no.such.example", 60, (), (), "")


def test_the_null_mx_is_an_empty_host(server):
    assert look_up(server, "null.example").hosts == (Mx(0, ""),)


def test_an_alias_is_followed_and_told(server):
    answer = look_up(server, "alias.example")
    assert (answer.name, answer.hosts[0]) == ("example.com", Mx(10, "a.example.com"))
    assert addresses(server, "alias.example")[:2] == (NODATA, "example.com")
    assert look_up(server, "astray.example").kind is NXDOMAIN


def test_ten_aliases_are_followed_and_not_one_more(server):
    assert addresses(server, f"chain{40 - MOST_HOPS}.example").addresses == ("192.0.2.40",)
    answer = addresses(server, f"chain{39 - MOST_HOPS}.example")
    assert answer.kind is TROUBLE and "aliases" in answer.text


def test_aliases_that_are_told_one_by_one_are_asked_for_one_by_one(server):
    server.lies = {f"chain{number}.example": "partial" for number in range(40)}
    answer = addresses(server, f"chain{40 - MOST_HOPS}.example")
    assert answer[:2] == (FOUND, "chain40.example") and answer.addresses == ("192.0.2.40",)
    server.queries.clear()
    assert addresses(server, "chain0.example").kind is TROUBLE
    assert server.count == MOST_HOPS + 1


@pytest.mark.parametrize("lie", ["", "partial"])
def test_attack_aliases_in_a_circle(server, lie):
    server.lies = dict.fromkeys(("loop1.example", "loop2.example"), lie)
    assert addresses(server, "loop1.example").kind is TROUBLE


def test_wildcards_make_as_many_domains_as_one_likes(server):
    for number in range(50):
        assert look_up(server, f"d{number}.many.example").hosts == (Mx(1, f"mx.d{number}.many.example"),)
    assert server.count == 50


@pytest.mark.parametrize("name", ["x" * 64 + ".example", ".".join(["x" * 60] * 5), "a..example", "ä.example"])
def test_a_name_that_nobody_can_have_is_not_asked_for(server, name):
    assert look_up(server, name).kind is NXDOMAIN
    assert server.count == 0


# --- lies -----------------------------------------------------------------------------------------------------------


def test_silence_takes_as_long_as_it_may_and_no_longer(server):
    server.lies = {"example.com": "timeout"}
    begin = time.monotonic()
    with pytest.raises(Silence):
        look_up(server, "example.com", limit=0.5, patience=0.2)
    assert time.monotonic() - begin < 5
    assert server.count == 3


def test_a_lost_packet_is_sent_again(server):
    server.lies = {"example.com": ["timeout", "timeout"]}
    assert look_up(server, "example.com", patience=0.3).kind is FOUND
    assert server.count == 3


@pytest.mark.parametrize("lie", ["servfail", "refused", "notimp"])
def test_a_server_that_does_not_want_to_is_not_asked_again(server, lie):
    server.lies = {"example.com": lie}
    answer = look_up(server, "example.com")
    assert answer.kind is TROUBLE
    assert answer.text == f"the name server 127.0.0.1 answered {lie.upper()}"
    assert server.count == (2 if lie == "notimp" else 1)


def test_a_server_from_before_edns_is_asked_without(server):
    server.lies = {"example.com": "no edns"}
    assert look_up(server, "example.com").kind is FOUND


def test_a_referral_is_no_answer(server):
    server.lies = {"example.com": "lame"}
    assert look_up(server, "example.com").kind is TROUBLE


def test_a_truncated_answer_is_fetched_over_tcp(server):
    server.lies = {"example.com": "truncated"}
    assert look_up(server, "example.com").kind is FOUND
    assert server.transports == {"udp": 1, "tcp": 1}


@pytest.mark.parametrize("lie", ["truncated always", "no tcp"])
def test_a_truncated_answer_that_tcp_does_not_give_either(server, lie):
    server.lies = {"example.com": lie}
    assert look_up(server, "example.com").kind is TROUBLE


@pytest.mark.parametrize("lie", ["silent tcp", "drip"])
def test_attack_tcp_that_gives_nothing_or_an_octet_now_and_then(server, lie):
    server.lies = {"example.com": lie}
    begin = time.monotonic()
    with pytest.raises(Silence):
        look_up(server, "example.com", limit=0.7, patience=0.5)
    assert time.monotonic() - begin < 5


def test_attack_ten_megabytes(server):
    server.lies = {"example.com": "huge"}
    assert look_up(server, "example.com").kind is TROUBLE


def test_attack_a_hundred_and_twenty_hosts_and_a_thousand_addresses(server):
    hosts = look_up(server, "crowd.example").hosts
    assert [host.preference for host in hosts] == list(range(1, MOST_HOSTS + 1))
    found = addresses(server, "thousand.example").addresses
    assert len(set(found)) == MOST_ADDRESSES
    assert server.transports["tcp"] == 2


@pytest.mark.parametrize("lie", ["garbage", "wrong id", "wrong question"])
def test_attack_an_answer_that_is_none(server, lie):
    server.lies = {"example.com": lie}
    assert look_up(server, "example.com").kind is TROUBLE
    # What came over UDP might be anybody's, so it is asked again where nobody else can answer.
    server.lies = {"example.com": [lie]}
    assert look_up(server, "example.com").kind is FOUND


def test_attack_a_forged_answer_before_the_true_one(server):
    server.lies = {"example.com": ["forged first"]}
    assert look_up(server, "example.com").kind is FOUND


def test_names_in_upper_case_are_the_same_names(server):
    server.lies = {"example.com": "case", "a.example.com": "case"}
    answer = look_up(server, "example.com")
    assert (answer.name, answer.hosts[0]) == ("example.com", Mx(10, "a.example.com"))
    assert len(addresses(server, "a.example.com").addresses) == 2


def test_a_ttl_of_0_is_told_as_it_is(server):
    server.lies = {"example.com": "ttl 0"}
    assert look_up(server, "example.com").ttl == 0


# --- several servers ------------------------------------------------------------------------------------------------


def test_nobody_listens():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    answer = NameServers(f"127.0.0.1:{port}").look_up(Question("example.com", RecordType.MX), LONG, LONG)
    assert answer.kind is TROUBLE and answer.text.startswith("the name server 127.0.0.1 cannot be reached")


def test_the_servers_of_the_system_are_read_again_when_they_change(tmp_path):
    file = tmp_path / "resolv.conf"
    servers = NameServers("system", file)
    assert servers.servers() == (("127.0.0.1", 53),)
    file.write_text("search example.com\n# nameserver 192.0.2.9\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 \n")
    assert servers.servers() == (("192.0.2.1", 53), ("2001:db8::1", 53))
    file.write_text("nameserver 192.0.2.1\n" * 5)
    assert len(servers.servers()) == 3
    file.unlink()
    assert len(servers.servers()) == 3


def test_the_next_server_answers_for_one_that_is_silent_and_is_then_asked_first(server, tmp_path):
    with LyingNameServer({}, lies={"example.com": "timeout"}) as silent:
        servers = NameServers(server.address)
        servers._servers = (("127.0.0.1", silent.port), ("localhost", 53), ("127.0.0.1", server.port))
        assert servers.look_up(Question("example.com", RecordType.MX), LONG, 0.3).kind is FOUND
        assert servers.look_up(Question("a.example.com", RecordType.A), LONG, 0.3).kind is FOUND
        assert (silent.count, server.count) == (1, 2)


def test_many_threads_at_once(server):
    servers = NameServers(server.address)
    with ThreadPoolExecutor(20) as pool:
        questions = [Question(f"d{number}.many.example", RecordType.MX) for number in range(300)]
        answers = list(pool.map(lambda question: servers.look_up(question, 60, 20), questions))
    assert [answer.hosts[0].host for answer in answers] == [f"mx.{question.name}" for question in questions]
    assert server.count >= 300


# --- the whole way --------------------------------------------------------------------------------------------------


@pytest.fixture
def reactor():
    return FakeReactor()


@pytest.fixture
def pool():
    pool = ThreadPool(0, AT_ONCE)
    pool.start()
    yield pool
    pool.stop()


@pytest.fixture
def router(server, reactor, pool):
    def in_thread(function):
        return deferToThreadPool(reactor, pool, function)

    return Router(
        Resolver(reactor, in_thread, NameServers(server.address).look_up).ask,
        Networks([parse_network("192.0.2.0/24"), parse_network("2001:db8::/32")], lambda address: False, list),
        port=25,
        own_names=["us.example"],
        families=lambda: {4, 6},
        seconds=reactor.seconds,
        random=lambda: 0.5,
    )


def test_the_way_to_a_domain(server, reactor, router):
    route = reactor.wait_for(router.route("example.com"))
    assert isinstance(route, Route) and route.site == "a.example.com,b.example.com"
    assert set(route.targets) == {
        Target("a.example.com", address, 25, 10) for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1")
    }
    assert router.known("example.com") is route
    assert server.count == 5  # MX, and both families of both hosts


@pytest.mark.parametrize(
    ("domain", "kind", "enhanced"),
    [
        ("no.such.example", OutcomeKind.FAILED, "5.1.2"),
        ("null.example", OutcomeKind.FAILED, "5.1.10"),
        ("thousand.example", OutcomeKind.FAILED, "5.4.6"),
        ("d1.many.example", OutcomeKind.FAILED, "5.1.2"),
        ("loop1.example", OutcomeKind.DEFERRED, "4.4.3"),
        ("broken.example", OutcomeKind.DEFERRED, "4.4.3"),
    ],
)
def test_what_becomes_of_mail_where_there_is_none(server, reactor, router, domain, kind, enhanced):
    server.lies = {"broken.example": "servfail"}
    outcome = reactor.wait_for(router.route(domain))
    assert (outcome.kind, outcome.enhanced, outcome.stage) == (kind, enhanced, "route")
    assert router.known(domain) is outcome
