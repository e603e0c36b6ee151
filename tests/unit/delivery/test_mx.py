"""Hosts from MX records, by RFC 5321 section 5.1 and RFC 7505."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.delivery.mx import MOST_HOSTS, MOST_TARGETS, find_hosts, interleaved, share_of, site_name
from smtpeter.model.answer import Answer, AnswerKind, Mx, Question, RecordType, trouble
from smtpeter.model.delivery import FailureKind, OutcomeKind

DOMAIN = "example.com"


def found(*hosts):
    return Answer(AnswerKind.FOUND, DOMAIN, 300, tuple(Mx(*host) for host in hosts))


def nothing(kind, name=DOMAIN):
    return Answer(kind, name, 60)


def hosts_of(answer, own_names=(), random=lambda: 0.5):
    return find_hosts(DOMAIN, answer, own_names, random)


def test_hosts_are_in_the_order_of_their_preference():
    result = hosts_of(found((30, "c.example"), (10, "a.example"), (20, "b.example")))
    assert result.hosts == (Mx(10, "a.example"), Mx(20, "b.example"), Mx(30, "c.example"))
    assert result.site == "a.example,b.example,c.example"


def test_hosts_of_one_preference_are_shuffled_and_others_are_not():
    numbers = itertools.cycle([0.9, 0.1, 0.5])
    answer = found((10, "a.example"), (10, "b.example"), (10, "c.example"), (5, "d.example"))
    orders = {hosts_of(answer, random=lambda: next(numbers)).hosts for _ in range(20)}
    assert len(orders) == 3
    assert {order[0].host for order in orders} == {"d.example"}
    assert len({hosts_of(answer).site}) == 1


def test_a_domain_without_mx_is_its_own_host():
    assert hosts_of(nothing(AnswerKind.NODATA)).hosts == (Mx(0, DOMAIN),)
    # RFC 5321 section 5.1: what an alias leads to is dealt with as if it had been the name.
    found = hosts_of(nothing(AnswerKind.NODATA, "www.example.net"))
    assert (found.site, found.hosts) == ("www.example.net", (Mx(0, "www.example.net"),))


def test_there_is_no_implicit_mx_where_there_is_any_other():
    result = hosts_of(found((10, "192.0.2.1")))
    assert (result.kind, result.enhanced) == (OutcomeKind.FAILED, "5.1.2")


def test_a_null_mx_takes_no_mail():
    result = hosts_of(found((0, "")))
    assert (result.kind, result.code, result.enhanced, result.stage, result.failure) == (
        OutcomeKind.FAILED, 556, "5.1.10", "route", FailureKind.RECIPIENT_HARD,
    )  # fmt: skip


def test_a_null_mx_beside_others_counts_for_nothing():
    assert hosts_of(found((0, ""), (10, "a.example"))).hosts == (Mx(10, "a.example"),)


def test_no_such_domain():
    result = hosts_of(nothing(AnswerKind.NXDOMAIN))
    assert (result.kind, result.enhanced, result.stage, result.failure) == (
        OutcomeKind.FAILED, "5.1.2", "route", FailureKind.RECIPIENT_HARD,
    )  # fmt: skip
    assert result.text == "The domain example.com does not exist"


def test_trouble_is_temporary():
    result = hosts_of(trouble(Question(DOMAIN, RecordType.MX), "the name server 192.0.2.53 answered SERVFAIL"))
    assert (result.kind, result.enhanced, result.stage, result.failure) == (
        OutcomeKind.DEFERRED, "4.4.3", "route", FailureKind.NETWORK,
    )  # fmt: skip
    assert result.text.endswith("now: the name server 192.0.2.53 answered SERVFAIL")


OURS = {"us.example"}


def test_of_ourselves_and_what_is_not_preferred_to_us_nothing_remains():
    answer = found((10, "a.example"), (20, "b.example"), (20, "us.example"), (30, "c.example"))
    assert hosts_of(answer, OURS).hosts == (Mx(10, "a.example"),)
    # The site is that of whoever has the same hosts.
    assert hosts_of(answer, OURS).site == hosts_of(answer).site


def test_attack_mail_that_would_come_back_to_us():
    for answer in (found((10, "us.example"), (20, "b.example")), found((10, "us.example"), (10, "b.example"))):
        result = hosts_of(answer, OURS)
        assert (result.kind, result.enhanced, result.failure) == (
            OutcomeKind.FAILED, "5.4.6", FailureKind.CONFIGURATION,
        )  # fmt: skip
    assert find_hosts("us.example", nothing(AnswerKind.NODATA, "us.example"), OURS, lambda: 0.0).enhanced == "5.4.6"


def test_attack_a_hundred_hosts():
    result = hosts_of(found(*((number, f"mx{number}.example") for number in range(100, 0, -1))))
    assert [host.preference for host in result.hosts] == list(range(1, MOST_HOSTS + 1))
    assert len(result.site) <= 80


@pytest.mark.parametrize(
    "name",
    ["", "192.0.2.1", "a b.example", "a,b.example", "a\\000.example", "-a.example", "a..b", "10", "a." * 126 + "ab"],
)
def test_attack_a_host_that_no_host_can_be_called(name):
    assert hosts_of(found((10, name), (20, "b.example"))).hosts == (Mx(20, "b.example"),)


def test_underscores_occur_and_a_host_twice_counts_once():
    assert hosts_of(found((20, "mx_1.example"), (10, "mx_1.example"))).hosts == (Mx(10, "mx_1.example"),)


def test_a_provider_names_the_site_of_all_its_hosts():
    def provider(hosts):
        return "big" if all(host.endswith("big.example") for host in hosts) else None

    def site(*hosts):
        return find_hosts(DOMAIN, found(*hosts), (), lambda: 0.0, provider).site

    assert site((1, "a.big.example"), (2, "b.big.example")) == "big"
    assert site((1, "a.big.example"), (2, "b.example")) == "a.big.example,b.example"


# --- names of sites -------------------------------------------------------------------------------------------------


def test_the_name_of_a_long_list_is_short_and_tells_how_long_it_is():
    hosts = [f"mx{number}.mail.provider.example" for number in range(9)]
    name = site_name(hosts)
    assert name.startswith("mx0.mail.provider.example+8~") and len(name) < 50
    assert name == site_name(reversed(hosts)) != site_name([*hosts[:-1], "mx9.mail.provider.example"])


_NAMES = st.text("ab.-x", min_size=1, max_size=30)


@given(st.frozensets(_NAMES, min_size=1), st.frozensets(_NAMES, min_size=1))
def test_sites_have_the_same_name_when_they_have_the_same_hosts(one, other):
    assert (site_name(one) == site_name(other)) is (one == other)


# --- how many addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hosts", range(1, MOST_HOSTS + 1))
def test_every_host_has_two_addresses_and_all_together_not_too_many(hosts):
    assert share_of(hosts) >= 2 and hosts * share_of(hosts) <= MOST_TARGETS


def test_families_take_turns():
    assert interleaved([["6a", "6b", "6c"], ["4a"]], 10) == ["6a", "4a", "6b", "6c"]
    assert interleaved([["6a", "6b", "6c"], ["4a", "4b"]], 3) == ["6a", "4a", "6b"]
    assert interleaved([], 3) == interleaved([[], []], 3) == []
