"""The way to a domain, by answers in memory."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from random import Random

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from smtpeter.delivery.networks import Networks
from smtpeter.delivery.router import JUDGED, LONGEST, LONGEST_REFUSAL, SHORTEST, UNCERTAIN, Relays, Router
from smtpeter.interfaces import IRouter
from smtpeter.model.answer import Answer, AnswerKind, Mx, RecordType, trouble
from smtpeter.model.delivery import FailureKind, Outcome, OutcomeKind
from smtpeter.model.route import Route, Target

TROUBLE = "trouble"
SIX, FOUR = "2a00:1450::", "8.8.8."


class World:
    """The DNS: names with their records, TROUBLE instead of them where nobody knows.  ``asked`` are all questions."""

    def __init__(self, **names):
        self.names = {name.replace("_", "."): records for name, records in names.items()}
        self.asked = []
        self.held = None
        self.ttl = 300.0

    def ask(self, question):
        self.asked.append(question)
        answer = self._answer(question)
        if self.held is None:
            return succeed(answer)
        waiting = Deferred()
        self.held.append((waiting, answer))
        return waiting

    def _answer(self, question):
        records = self.names.get(question.name)
        if records is None:
            return Answer(AnswerKind.NXDOMAIN, question.name, self.ttl)
        found = TROUBLE if records == TROUBLE else records.get(question.type.value)
        if found == TROUBLE:
            return trouble(question, "the name server 192.0.2.53 answered SERVFAIL")
        if found is None:
            return Answer(AnswerKind.NODATA, question.name, self.ttl)
        ttl = records.get("ttl", self.ttl)
        if question.type is RecordType.MX:
            return Answer(AnswerKind.FOUND, question.name, ttl, hosts=tuple(Mx(*each) for each in found))
        return Answer(AnswerKind.FOUND, question.name, ttl, addresses=tuple(found))


def host(*numbers, six=()):
    records = {}
    if numbers:
        records["A"] = [f"{FOUR}{number}" if isinstance(number, int) else number for number in numbers]
    if six:
        records["AAAA"] = [f"{SIX}{number}" if isinstance(number, int) else number for number in six]
    return records


def build(world, *, families=(4, 6), own=(), allowed=(), listening=(), clock=None, random=lambda: 0.5, room=1000):
    own = {ip_address(address) for address in own}
    networks = Networks([ip_network(each) for each in allowed], own.__contains__, lambda: listening)
    return Router(
        world.ask,
        networks,
        port=25,
        own_names=["us.example"],
        families=lambda: families,
        seconds=(clock or Clock()).seconds,
        random=random,
        room=room,
    )


def way(world, domain="example.com", **keywords):
    results = []
    build(world, **keywords).route(domain).addBoth(results.append)
    return results[0]


def addresses(route):
    assert isinstance(route, Route), route
    return [target.address for target in route.targets]


def check(outcome, kind, enhanced, failure, code=0):
    assert isinstance(outcome, Outcome), outcome
    assert (outcome.kind, outcome.code, outcome.enhanced, outcome.stage, outcome.failure) == (
        kind, code, enhanced, "route", failure,
    )  # fmt: skip


DEFERRED, FAILED = OutcomeKind.DEFERRED, OutcomeKind.FAILED
HARD, NETWORK, CONFIGURATION = FailureKind.RECIPIENT_HARD, FailureKind.NETWORK, FailureKind.CONFIGURATION


# --- the way --------------------------------------------------------------------------------------------------------


def test_it_is_a_router():
    assert verifyObject(IRouter, build(World()))
    assert verifyObject(IRouter, Relays(build(World()), {}))


def test_hosts_by_preference_with_their_addresses_ipv6_first():
    world = World(
        example_com={"MX": [(20, "b.example"), (10, "a.example")]}, a_example=host(1, six=[1]), b_example=host(2)
    )
    assert way(world) == Route(
        "a.example,b.example",
        (
            Target("a.example", f"{SIX}1", 25, 10),
            Target("a.example", f"{FOUR}1", 25, 10),
            Target("b.example", f"{FOUR}2", 25, 20),
        ),
    )


def test_families_take_turns_within_a_host():
    world = World(example_com=host(1, 2, six=[1, 2, 3]))
    assert addresses(way(world)) == [f"{SIX}1", f"{FOUR}1", f"{SIX}2", f"{FOUR}2", f"{SIX}3"]


def test_without_mx_the_domain_is_its_own_host():
    assert way(World(example_com=host(1))) == Route("example.com", (Target("example.com", f"{FOUR}1", 25),))


def test_domains_with_the_same_hosts_are_one_site():
    world = World(
        one={"MX": [(1, "a.ex"), (2, "b.ex")]}, two={"MX": [(5, "b.ex"), (5, "a.ex")]}, a_ex=host(1), b_ex=host(2)
    )
    assert way(world, "one").site == way(world, "two").site == "a.ex,b.ex"


def test_equal_hosts_and_addresses_are_shuffled():
    world = World(example_com={"MX": [(1, "a.ex"), (1, "b.ex")]}, a_ex=host(1, 2, 3), b_ex=host(4))
    numbers = Random(1)
    orders = {tuple(addresses(way(world, random=numbers.random))) for _ in range(50)}
    assert len(orders) > 5
    assert {order[0] for order in orders} == {f"{FOUR}{number}" for number in (1, 2, 3, 4)}


def test_an_address_that_several_hosts_have_is_tried_once():
    world = World(example_com={"MX": [(1, "a.ex"), (2, "b.ex")]}, a_ex=host(1), b_ex=host(1, 2))
    assert [(target.host, target.address) for target in way(world).targets] == [
        ("a.ex", f"{FOUR}1"), ("b.ex", f"{FOUR}2"),
    ]  # fmt: skip


# --- families -------------------------------------------------------------------------------------------------------


def test_only_families_that_can_be_used_are_tried():
    world = World(example_com=host(1, six=[1]))
    assert addresses(way(world, families={4})) == [f"{FOUR}1"]
    assert addresses(way(world, families={6})) == [f"{SIX}1"]


def test_a_receiver_of_another_family_is_waited_for():
    check(way(World(example_com=host(six=[1])), families={4}), DEFERRED, "4.4.4", NETWORK)


# --- trouble --------------------------------------------------------------------------------------------------------


def test_trouble_with_the_domain_is_temporary():
    check(way(World(example_com=TROUBLE)), DEFERRED, "4.4.3", NETWORK)


def test_no_such_domain_is_permanent():
    check(way(World()), FAILED, "5.1.2", HARD)


def test_a_null_mx_is_permanent():
    check(way(World(example_com={"MX": [(0, "")], **host(1)})), FAILED, "5.1.10", HARD, 556)


@pytest.mark.parametrize("hosts", [{}, {"a_ex": {}}, {"a_ex": {"TXT": []}}])
def test_hosts_without_addresses_are_permanent(hosts):
    # Its own addresses do not count: there is an MX.
    check(way(World(example_com={"MX": [(1, "a.ex")], **host(1)}, **hosts)), FAILED, "5.1.2", HARD)
    check(way(World(example_com={})), FAILED, "5.1.2", HARD)


def test_hosts_of_which_nobody_knows_now_are_temporary():
    world = World(example_com={"MX": [(1, "a.ex"), (2, "b.ex")]}, a_ex=TROUBLE, b_ex={})
    check(way(world), DEFERRED, "4.4.3", NETWORK)
    assert "a.ex, the name server 192.0.2.53 answered SERVFAIL" in way(world).text
    check(way(World(example_com={"AAAA": TROUBLE})), DEFERRED, "4.4.3", NETWORK)


def test_where_some_hosts_are_known_they_will_do():
    world = World(example_com={"MX": [(1, "a.ex"), (2, "b.ex")]}, a_ex=TROUBLE, b_ex=host(2))
    assert addresses(way(world)) == [f"{FOUR}2"]


# --- attacks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "10.0.0.1", "169.254.169.254"])
def test_attack_an_mx_that_is_not_public(address):
    world = World(example_com={"MX": [(1, "a.ex"), (2, "b.ex")]}, a_ex=host(address), b_ex=host(six=["::1"]))
    check(way(world), FAILED, "5.4.6", HARD)
    world.names["b.ex"] = host(2)
    assert addresses(way(world)) == [f"{FOUR}2"]


def test_attack_addresses_that_are_not_public_beside_others():
    assert addresses(way(World(example_com=host(1, "127.0.0.1", six=["::ffff:10.0.0.1"])))) == [f"{FOUR}1"]


def test_addresses_that_are_allowed_but_never_our_own_ports():
    world = World(example_com=host("127.0.0.1"))
    assert addresses(way(world, allowed=["127.0.0.0/8"])) == ["127.0.0.1"]
    outcome = way(world, allowed=["127.0.0.0/8"], listening=[("127.0.0.1", 25)])
    check(outcome, FAILED, "5.4.6", CONFIGURATION)


def test_attack_an_mx_at_our_own_address():
    world = World(
        example_com={"MX": [(1, "a.ex"), (2, "b.ex"), (2, "c.ex"), (3, "d.ex")]},
        a_ex=host(1), b_ex=host(2, 99), c_ex=host(3), d_ex=host(4),
    )  # fmt: skip
    assert addresses(way(world, own=[f"{FOUR}99"])) == [f"{FOUR}1"]
    world.names["a.ex"] = host(99)
    check(way(world, own=[f"{FOUR}99"]), FAILED, "5.4.6", CONFIGURATION)
    # The host that is preferred to us may have an address yet.
    world.names["a.ex"] = TROUBLE
    check(way(world, own=[f"{FOUR}99"]), DEFERRED, "4.4.3", NETWORK)


def test_attack_an_mx_with_our_own_name():
    world = World(example_com={"MX": [(1, "a.ex"), (2, "us.example")]}, a_ex=host(1), us_example=host(2))
    assert addresses(way(world)) == [f"{FOUR}1"]
    check(way(World(example_com={"MX": [(2, "us.example")]}, us_example=host(2))), FAILED, "5.4.6", CONFIGURATION)


def test_attack_a_thousand_addresses_and_a_hundred_hosts():
    many = [f"8.8.{number >> 8}.{number & 255}" for number in range(1000)]
    assert len(addresses(way(World(example_com=host(*many))))) == 40
    world = World(example_com={"MX": [(number, f"mx{number}.ex") for number in range(100)]})
    world.names.update({f"mx{number}.ex": host(*many[number * 3 : number * 3 + 3]) for number in range(100)})
    route = way(world)
    assert len(route.targets) == 40 and len({target.host for target in route.targets}) == 20
    assert len(world.asked) == 1 + 2 * 20


# --- address literals -----------------------------------------------------------------------------------------------


def test_an_address_literal_is_not_looked_up():
    world = World()
    assert way(world, "[8.8.8.8]") == Route("[8.8.8.8]", (Target("[8.8.8.8]", "8.8.8.8", 25),))
    assert addresses(way(world, f"[ipv6:{SIX}1]")) == [f"{SIX}1"]
    assert not world.asked


def test_attack_an_address_literal_that_is_not_public_or_ours():
    check(way(World(), "[127.0.0.1]"), FAILED, "5.4.6", HARD)
    check(way(World(), "[ipv6:::ffff:10.0.0.1]"), FAILED, "5.4.6", HARD)
    check(way(World(), "[8.8.8.8]", own=["8.8.8.8"]), FAILED, "5.4.6", CONFIGURATION)
    check(way(World(), "[8.8.8.8]", families={6}), DEFERRED, "4.4.4", NETWORK)
    check(way(World(), "[nonsense]"), FAILED, "5.1.2", HARD)


# --- what is known --------------------------------------------------------------------------------------------------


def held_for(world, random=lambda: 0.0):
    """How many seconds the way to example.com is known."""
    clock = Clock()
    router = build(world, clock=clock, random=random)
    assert router.known("example.com") is None
    router.route("example.com")
    assert router.known("example.com") is not None
    seconds = 0
    while router.known("example.com") is not None:
        clock.advance(1)
        seconds += 1
    return seconds


def test_a_way_is_known_for_as_long_as_all_of_it_holds():
    world = World(example_com={"MX": [(1, "a.ex")], "ttl": 200.0}, a_ex={**host(1), "ttl": 100.0})
    assert held_for(world) == 100
    world.names["a.ex"]["ttl"] = 250.0
    assert held_for(world) == 200


def test_attack_answers_that_hold_for_no_time_or_for_ages():
    assert held_for(World(example_com={**host(1), "ttl": 0.0})) == SHORTEST
    world = World(example_com={**host(1, six=[1]), "ttl": 1e9})
    world.ttl = 1e9
    assert held_for(world) == LONGEST


def test_trouble_is_forgotten_soon_and_not_everywhere_at_once():
    assert held_for(World(example_com=TROUBLE)) == UNCERTAIN / 2
    assert held_for(World(example_com=TROUBLE), lambda: 0.99) == UNCERTAIN
    world = World(example_com={"MX": [(1, "a.ex"), (2, "b.ex")]}, a_ex=TROUBLE, b_ex=host(2))
    world.ttl = 900.0
    assert held_for(world) <= UNCERTAIN


def test_that_there_is_no_way_is_known_for_some_minutes():
    world = World()
    world.ttl = 3600.0
    assert held_for(world) == LONGEST_REFUSAL


def test_what_is_known_is_not_asked_again():
    world = World(example_com=host(1))
    router = build(world)
    told = []
    for _ in range(3):
        router.route("example.com").addCallback(told.append)
    assert len(world.asked) == 3 and told == [told[0]] * 3 == [router.known("example.com")] * 3


def test_a_way_is_looked_for_once_for_all_who_want_it():
    world = World(example_com=host(1))
    world.held = []
    router = build(world)
    told = []
    first = router.route("example.com").addErrback(lambda failure: failure.trap(CancelledError))
    for _ in range(3):
        router.route("example.com").addCallback(told.append)
    first.cancel()
    while world.held:
        waiting, answer = world.held.pop()
        waiting.callback(answer)
    assert [len(route.targets) for route in told] == [1, 1, 1] and len(world.asked) == 3


def test_addresses_of_all_hosts_are_asked_for_together():
    world = World(example_com={"MX": [(1, "a.ex"), (2, "b.ex")]}, a_ex=host(1), b_ex=host(2))
    world.held = []
    build(world).route("example.com")
    world.held.pop()[0].callback(world._answer(world.asked[0]))
    assert [(question.name, question.type.value) for question in world.asked[1:]] == [
        ("a.ex", "AAAA"), ("a.ex", "A"), ("b.ex", "AAAA"), ("b.ex", "A"),
    ]  # fmt: skip


def test_an_address_that_became_ours_is_noticed():
    clock, own = Clock(), set()
    networks = Networks([], own.__contains__, list)
    router = Router(
        World(one=host(1), two=host(1), three=host(1)).ask,
        networks,
        port=25,
        own_names=[],
        families=lambda: {4},
        seconds=clock.seconds,
        random=lambda: 0.5,
    )
    told = []
    for domain in ("one", "two", "three"):
        router.route(domain).addCallback(told.append)
        own.add(ip_address(f"{FOUR}1"))
        clock.advance(JUDGED / 2)
    assert [isinstance(each, Route) for each in told] == [True, True, False]


def test_attack_ways_to_ever_more_domains_do_not_fill_the_memory():
    world = World()
    world.names = {f"d{number}.ex": host(1, 2, 3) for number in range(100)}
    router = build(world, room=30)
    for number in range(100):
        router.route(f"d{number}.ex")
    assert len(router._ways) == 10 and len(router._verdicts) <= 30 and not router._waiting


# --- relays ---------------------------------------------------------------------------------------------------------

INNER, EXACT, NEAR, FAR = (Route(name, (Target(name, "", 25),)) for name in ("inner", "exact", "near", "far"))


class Inner:
    def known(self, domain):
        return INNER

    def route(self, domain):
        return succeed(INNER)


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("a.example.com", EXACT), ("b.example.com", FAR), ("x.b.example.com", NEAR), ("x.y.b.example.com", NEAR),
        ("x.a.example.com", FAR), ("example.com", INNER), ("notexample.com", INNER), ("com", INNER),
        ("[8.8.8.8]", INNER),
    ],
)  # fmt: skip
def test_a_domain_may_have_a_relay_of_its_own(domain, expected):
    table = {"a.example.com": EXACT, "*.example.com": FAR, "*.b.example.com": NEAR}
    router = Relays(Inner(), table)
    told = []
    router.route(domain).addCallback(told.append)
    assert told == [expected] == [router.known(domain)]
