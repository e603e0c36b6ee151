"""Many sites at once: what may be claimed for which, what is left alone until when, and what goes where."""

from __future__ import annotations

import gc
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from twisted.internet.defer import fail
from twisted.internet.error import ConnectionLost, ConnectionRefusedError

from smtpeter.delivery.agent import AT_LEAST, BUSY, SOME, UNROUTED, UNUSED
from smtpeter.delivery.plan import Parked, Plan
from smtpeter.delivery.pool import AT_ONCE, GAP, LOOK, TURN
from smtpeter.delivery.standing import BARRED
from smtpeter.delivery.throttle import Rate, Shape, Throttle
from smtpeter.model.delivery import Job, Lane, Outcome, OutcomeKind
from smtpeter.model.route import Target, TlsPolicy
from smtpeter.settings import SourceAddress
from tests.fakes.agent import Bench, kinds
from tests.fakes.delivery import DeliveryBench, alarms, logged
from tests.fakes.jobs import make_job, make_recipient
from tests.fakes.receiver import EHLO, FakeReceiver
from tests.fakes.router import FakeRouter, way
from tests.unit.delivery.test_hostile_receiver import TLS_EHLO

DELIVERED, DEFERRED = OutcomeKind.DELIVERED, OutcomeKind.DEFERRED
NO_WAY = Outcome(OutcomeKind.DEFERRED, 0, "4.4.3", "The name servers do not answer", stage="route")
NOWHERE = Outcome(OutcomeKind.FAILED, 0, "5.1.10", "The domain takes no mail", stage="route")
SHAPE = Shape("site", connections=4, start=4, first_pause=100.0, longest_pause=3600.0)
A, B, C = (Lane(f"{letter}.example", 1) for letter in "abc")


class World(Bench):
    """``down`` are the hosts that nobody reaches, ``receivers`` the last one at each host; others are silent to their
    final dots while they are in ``slow``."""

    def __init__(self, ways: dict[str, Any] | None = None, *, known: bool = True, **options: Any) -> None:
        self.down: set[str] = set()
        self.slow: set[str] = set()
        self.scripts: dict[str, dict[str, Any]] = {}
        self.router = FakeRouter(ways, known=known)
        self.rooms = 0
        super().__init__(self.connect, router=self.router, **{"shape": SHAPE, **options})
        self.agent.on_room(self.count_room)

    def connect(self, target: Target) -> FakeReceiver:
        if target.host in self.down:
            raise ConnectionRefusedError
        script = dict(self.scripts.get(target.host, {}))
        if target.host in self.slow:
            script["end"] = b""
        return FakeReceiver(**script)

    def count_room(self) -> None:
        self.rooms += 1

    def plan(self, *lanes: Lane, limit: int = 1000, crowded: bool = False) -> Plan:
        return self.agent.plan(lanes, limit, crowded)

    def shares(self, *lanes: Lane, limit: int = 1000) -> dict[Lane, int]:
        return dict(self.plan(*lanes, limit=limit).shares)

    def fill(self, lane: Lane, count: int = 4) -> list[list[Any]]:
        return self.start(*(mail(lane, submission=f"{lane.domain}-{number}") for number in range(count)))

    def throttles(self) -> list[Throttle]:
        return [each.throttle for limits in self.agent._limits.values() for each in limits.allotments]

    def hosts(self) -> list[str]:
        return [target.host for target in self.network.targets]

    def say(self, octets: bytes = b"250 ok\r\n") -> None:
        """Every receiver that owes an answer gives it."""
        for wire in self.network.wires:
            if not wire.lost and wire.protocol.awaits_end:
                wire.push(octets)
        self.network.move()


def mail(lane: Lane, count: int = 1, **changes: Any) -> Job:
    recipients = tuple(make_recipient(n, f"r{n}@{lane.domain}") for n in range(1, count + 1))
    return make_job(recipients=recipients, account=lane.account, **changes)


def provider(*domains: str) -> dict[str, Any]:
    return {domain: way("provider") for domain in domains}


# --- room, and whose it is ---


def test_lanes_of_one_provider_share_its_room() -> None:
    world = World(provider("a.example", "b.example"))
    assert world.shares(A, B) == {A: 2, B: 2}
    world.fill(A, 2)
    world.fill(B, 2)
    assert set(world.hosts()) == {"provider"}
    assert len(list(world.agent.pools())) == 1


def test_each_site_has_room_of_its_own() -> None:
    world = World()
    world.slow = {"a.example"}
    assert world.shares(A, B) == {A: 4, B: 4}
    world.fill(A)
    assert world.shares(A, B) == {B: 4}


def test_accounts_share_a_site_however_many_domains_they_write_to() -> None:
    lanes = [Lane(f"d{number}.example", 1) for number in range(9)]
    world = World(provider("a.example", *(lane.domain for lane in lanes)))
    shares = world.shares(*lanes, Lane("a.example", 2))
    assert shares.pop(Lane("a.example", 2)) == 2
    assert sum(shares.values()) == 2


def test_sites_share_what_may_be_claimed_altogether() -> None:
    lanes = [Lane(f"d{number}.example", 1) for number in range(10)]
    world = World()
    served: Counter[Lane] = Counter()
    for _ in range(20):
        shares = world.shares(*lanes, limit=5)
        assert sum(shares.values()) == 5
        served += Counter(shares)
    assert max(served.values()) - min(served.values()) <= 4


def test_a_site_gets_at_once_what_makes_its_connection_worth_while_and_others_come_next() -> None:
    lanes = [Lane(f"d{number}.example", 1) for number in range(10)]
    world = World(shape=SHAPE._replace(connections=100, start=100))
    assert world.shares(*lanes, limit=AT_LEAST + 1) == {lanes[0]: AT_LEAST, lanes[1]: 1}
    assert world.shares(*lanes, limit=2 * AT_LEAST) == {lanes[1]: AT_LEAST, lanes[2]: AT_LEAST}


def test_whoever_got_nothing_comes_first_the_next_time() -> None:
    world = World()
    assert [world.shares(A, B, C, limit=1) for _ in range(4)] == [{A: 1}, {B: 1}, {C: 1}, {A: 1}]


def test_what_was_told_once_counts_until_it_is_exhausted() -> None:
    world = World()
    assert world.shares(A) == {A: 4}
    assert world.shares() == {A: 4}
    world.agent.exhausted([A, B])
    assert world.shares() == {}


# --- lanes that are left alone ---


def test_lanes_of_a_busy_site_are_left_alone_for_a_while_and_the_site_tells_of_room() -> None:
    world = World()
    world.slow = {"a.example"}
    world.shares(A)
    world.fill(A)
    assert world.plan(A, B).parked == [Parked("a.example", [A], BUSY)]
    assert not world.rooms
    ((waiting, _, paused),) = world.agent.waiting()
    assert (waiting, paused) == ([A], False)
    world.say()
    assert world.rooms == 1
    assert A in world.shares()


def test_all_lanes_of_a_dead_site_are_told_to_wait_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpeter.delivery.agent.TOGETHER", 3)
    lanes = [Lane(f"d{number}.example", 1) for number in range(8)]
    lost = [Lane(f"lost{number}.example", 1) for number in range(4)]
    world = World(provider(*(lane.domain for lane in lanes)) | {lane.domain: NO_WAY for lane in lost})
    world.down = {"provider"}
    world.shares(*lanes, *lost)
    world.deliver(mail(lanes[0]))
    world.plan(*lanes)
    told = [list(each) for each, _, _ in world.agent.waiting()]
    assert [len(each) for each in told] == [3, 3, 2, 3, 1]
    assert sorted(lane for each in told for lane in each) == sorted(lanes + lost)


def test_lanes_of_a_dead_site_are_left_alone_until_its_pause_is_over() -> None:
    world = World()
    world.down = {"a.example"}
    world.shares(A, B)
    (outcomes,) = world.deliver(mail(A))
    assert kinds(outcomes) == [DEFERRED]
    plan = world.plan(A, B)
    ((site, lanes, seconds),) = plan.parked
    assert (site, list(lanes)) == ("a.example", [A])
    assert 90 <= seconds <= 110
    assert list(dict(plan.shares)) == [B]
    ((waiting, reason, paused),) = world.agent.waiting()
    assert (waiting, reason.kind, paused) == ([A], DEFERRED, True)
    assert "refused" in reason.text
    world.down.clear()
    world.advance(seconds)
    assert world.rooms == 1
    assert world.shares()[A] == 1  # one goes ahead
    assert list(world.agent.waiting()) == []


def test_a_lane_that_is_exhausted_before_its_time_is_told_again() -> None:
    world = World()
    world.slow = {"a.example"}
    world.shares(A)
    world.fill(A)
    world.plan(A)
    world.say()
    world.shares()
    world.agent.exhausted([A])
    assert world.plan().parked == [Parked("a.example", [A], 0.0)]
    assert not world.plan().parked


def test_a_lane_whose_time_has_come_needs_no_word_of_it() -> None:
    world = World()
    world.slow = {"a.example"}
    world.shares(A)
    world.fill(A)
    world.plan(A)
    world.advance(BUSY)
    world.agent.exhausted([A])
    assert not world.plan().parked


def test_where_there_are_more_lanes_than_were_told_all_are_left_alone_so_that_the_others_are_told() -> None:
    world = World()
    plan = world.plan(A, B, crowded=True)
    assert dict(plan.shares) == {A: 4, B: 4}
    assert [(each.lanes, each.seconds) for each in plan.parked] == [([A], BUSY), ([B], BUSY)]
    world.agent.exhausted([A])
    assert [(each.lanes, each.seconds) for each in world.plan().parked] == [([A], 0.0)]


def test_more_sites_than_are_looked_at_together_all_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpeter.delivery.agent.LOOK", 3)
    world = World()
    lanes = [Lane(f"d{number}.example", 1) for number in range(8)]
    served = set(world.shares(*lanes))
    for _ in range(3):
        assert world.rooms  # there is more to look at
        served |= set(world.shares())
    assert served == set(lanes)


# --- ways ---


def test_an_unknown_way_is_looked_up_once_and_its_mail_goes_on_at_once() -> None:
    world = World(known=False)
    world.router.slow = True
    other = Lane("a.example", 2)
    assert world.plan(A, other) == Plan([], [Parked("", [A, other], UNROUTED)])
    assert world.plan(A).shares == []
    assert world.router.asked == ["a.example"]
    world.router.answer()
    assert world.rooms == 1
    assert world.shares() == {A: 2, other: 2}
    # The store would leave it alone for longer than there is a reason to.
    world.agent.exhausted([A])
    assert world.plan().parked == [Parked("a.example", [A], 0.0)]


def test_that_there_is_no_way_is_told_at_once_and_then_not_too_often() -> None:
    world = World({"a.example": NO_WAY}, known=False)
    world.router.slow = True
    world.plan(A)
    world.router.answer()
    assert world.rooms == 1
    assert world.plan() == Plan([], [Parked("", [A], 0.0)])
    assert world.plan(A) == Plan([(A, SOME)], [Parked("", [A], UNROUTED)])
    (outcomes,) = world.deliver(mail(A, 2))
    assert outcomes == {1: NO_WAY, 2: NO_WAY}
    # More of it than was told so has to end in its time.
    assert list(world.agent.waiting()) == [([A], NO_WAY, True)]
    world.router.ways["a.example"] = way("a.example")
    assert world.shares(A) == {A: 4}
    assert list(world.agent.waiting()) == []


def test_that_there_will_never_be_a_way_is_told_to_all() -> None:
    world = World({"a.example": NOWHERE})
    assert world.plan(A) == Plan([(A, SOME)], [])
    (outcomes,) = world.deliver(mail(A, 2))
    assert outcomes == {1: NOWHERE, 2: NOWHERE}
    assert not world.network.tried


def test_lanes_without_a_way_take_no_more_than_may_be_claimed() -> None:
    lanes = [Lane(f"d{number}.example", 1) for number in range(10)]
    world = World({lane.domain: NO_WAY for lane in lanes})
    plan = world.plan(*lanes, A, limit=50)
    assert [count for _, count in plan.shares] == [20, 20, 10]
    # The others were told nothing, and are not left alone.
    assert [list(each.lanes) for each in plan.parked if each.seconds == UNROUTED] == [lanes[:3]]


def test_a_way_that_changes_takes_its_lane_along() -> None:
    world = World({"a.example": way("old")})
    world.slow = {"old"}
    world.shares(A)
    world.fill(A)
    world.plan(A)  # nothing more goes there
    world.router.ways["a.example"] = way("new")
    assert world.shares(A) == {A: 4}
    world.start(mail(A))
    assert world.hosts()[-1] == "new"
    world.say()
    assert world.shares() == {A: 4}
    assert list(world.agent.waiting()) == []
    world.agent.exhausted([A])
    assert (world.shares(), world.plan().parked) == ({}, [])


def test_a_way_that_is_lost_leaves_nobody_in_the_turns_of_its_site() -> None:
    world = World()
    world.shares(A)
    world.router.ways["a.example"] = NO_WAY
    assert world.shares(A) == {A: SOME}
    assert world.shares() == {}


def test_a_router_that_fails_is_not_asked_again_and_again() -> None:
    world = World(known=False)
    world.router.route = lambda domain: fail(ValueError("a bug"))  # type: ignore[method-assign]
    with logged() as events:
        assert world.plan(A).parked == [Parked("", [A], UNROUTED)]
    assert len(alarms(events)) == 1
    assert (world.rooms, world.plan()) == (0, Plan([], []))
    del world.router.route  # type: ignore[method-assign]
    world.plan(A)
    assert world.shares() == {A: 4}


# --- jobs ---


def mixed(*domains: str, **changes: Any) -> Job:
    recipients = [make_recipient(number, f"r@{domain}") for number, domain in enumerate(domains)]
    return make_job(recipients=tuple(recipients), **changes)


def numbers(jobs: Any) -> list[list[int]]:
    return [[recipient.number for recipient in job.recipients] for job in jobs]


def test_a_job_is_divided_by_where_its_recipients_go() -> None:
    world = World({**provider("a.example", "b.example"), "lost.example": NO_WAY, "gone.example": NOWHERE})
    job = mixed("a.example", "c.example", "b.example", "lost.example", "c.example", "gone.example")
    assert numbers(world.agent.parts(job)) == [[0, 2], [1, 4], [3], [5]]
    assert world.agent.parts(mixed("a.example", "b.example")) == (mixed("a.example", "b.example"),)


def test_a_job_is_divided_by_the_hosts_of_a_site_too() -> None:
    hosts = {"a.example": "mx1", "b.example": "mx2", "c.example": "mx1"}
    world = World({domain: way("provider", host) for domain, host in hosts.items()})
    jobs = world.agent.parts(mixed("a.example", "b.example", "c.example"))
    assert numbers(jobs) == [[0, 2], [1]]
    world.deliver(*jobs)
    assert world.hosts() == ["mx1", "mx2"]


def test_a_job_is_divided_by_how_strictly_it_is_to_be_encrypted() -> None:
    def policies(job: Job, domain: str) -> TlsPolicy:
        return TlsPolicy.REQUIRE if domain == "b.example" else TlsPolicy.MAY

    world = World(provider("a.example", "b.example", "c.example"), policies=policies)
    assert numbers(world.agent.parts(mixed("a.example", "b.example", "c.example"))) == [[0, 2], [1]]


def test_many_recipients_of_one_site_go_in_one_transaction() -> None:
    domains = [f"d{number}.example" for number in range(30)]
    world = World(provider(*domains))
    (job,) = world.agent.parts(mixed(*domains))
    (outcomes,) = world.deliver(job)
    assert kinds(outcomes) == [DELIVERED] * 30
    ((_, recipients, _),) = world.network.messages
    assert len(recipients) == 30


def test_a_job_whose_way_is_not_known_any_more_waits_for_it() -> None:
    world = World(known=False)
    world.router.slow = True
    (fired,) = world.start(mail(A))
    assert not fired
    world.router.answer()
    world.network.move()
    assert kinds(fired[0]) == [DELIVERED]


# --- hosts of one site ---


def test_hosts_of_a_site_that_are_dead_do_no_harm_to_others_of_it() -> None:
    world = World({"a.example": way("provider", "mx1"), "b.example": way("provider", "mx2")})
    world.down = {"mx1"}
    world.shares(A, B)
    world.deliver(mail(A))
    plan = world.plan(A, B)
    assert [(each.site, list(each.lanes)) for each in plan.parked] == [("mx1", [A])]
    assert kinds(world.deliver(mail(B))[0]) == [DELIVERED]


def test_hosts_of_a_site_share_its_connections() -> None:
    shape = SHAPE._replace(connections=2)
    ways = {f"d{number}.example": way("provider", f"mx{number}") for number in range(5)}
    world = World(ways, shape=shape)
    world.slow = {f"mx{number}" for number in range(5)}
    jobs = [mail(Lane(domain, 1), submission=domain) for domain in ways]
    fired = world.start(*jobs)
    assert world.network.open == 2
    for _ in range(10):
        assert world.network.open <= 2
        world.say()
        world.advance(1.0)
    assert [kinds(each[0]) for each in fired] == [[DELIVERED]] * 5


def test_hosts_that_nobody_tells_of_room_look_themselves() -> None:
    ways = {"a.example": way("provider", "mx1"), "b.example": way("provider", "mx2")}
    world = World(ways, shape=SHAPE._replace(connections=1, start=1, message_rate=Rate(1, 1.0, 1)))
    world.slow = {"mx1"}
    world.shares(A)
    world.fill(A, 10)
    assert not world.shares(B)
    world.agent.exhausted([A])
    for limits in world.agent._limits.values():
        limits.starved.clear()
    for _ in range(12):
        world.say()
        world.advance(1.0)
    assert len(world.network.messages) == 10
    assert not world.rooms
    world.advance(LOOK)
    assert world.rooms == 1
    assert B in world.shares()


def test_the_last_that_ends_lets_all_know_that_there_is_room() -> None:
    """Nobody else would, and their mail would wait for ever."""
    shape = SHAPE._replace(connections=1, start=1, message_rate=Rate(1, 1.0, 2))
    lanes = [Lane(f"d{number}.example", 1) for number in range(3)]
    world = World({lane.domain: way("provider", f"mx{n}") for n, lane in enumerate(lanes)}, shape=shape)
    world.slow = {"mx0"}
    world.shares(*lanes)
    world.fill(lanes[0], 10)
    assert not world.shares(*lanes)
    for _ in range(60):
        world.say()
        world.advance(1.0)
    assert set(world.shares()) == set(lanes)


# --- pauses and paces ---


def test_a_site_with_a_rate_tells_when_it_takes_more() -> None:
    shape = SHAPE._replace(message_rate=Rate(1, 10.0, 1))
    world = World(shape=shape)
    went = 0
    for _ in range(600):
        for lane, count in world.shares(A).items():
            for fired in world.fill(lane, count):
                fired.append(None)
        world.advance(1.0)
        went = len(world.network.messages)
    assert 59 <= went <= 63


def test_a_pause_that_an_operator_ends_does_not_delay_what_waits_for_its_pace() -> None:
    """What was set to be looked at in an hour is looked at as soon as there is a reason."""
    world = World(shape=SHAPE._replace(message_rate=Rate(1, 10.0, 1), first_pause=3600.0))
    world.down = {"a.example"}
    world.shares(A)
    world.deliver(mail(A))
    world.advance(1.0)
    assert not world.shares(A)
    world.down.clear()
    world.agent.resume("a.example")
    assert world.shares() == {A: 2}
    fired = world.start(*(mail(A, submission=f"s{number}") for number in range(4)))
    world.advance(*[1.0] * 22)
    assert [kinds(each[0]) for each in fired] == [[DELIVERED]] * 4


def test_all_that_was_claimed_is_told_when_its_site_is_paused_though_a_connection_is_open() -> None:
    world = World()
    world.slow = {"a.example"}
    fired = world.fill(A, 10)
    (pool,) = world.agent.pools()
    for throttle in world.throttles():
        throttle.pause(0.0, 600.0, "too much")
    world.say()
    assert sum(bool(each) for each in fired) == 10
    assert world.network.open
    assert pool.room() == 0


def test_tls_that_is_good_enough_for_others_is_no_reason_to_pause_a_site() -> None:
    """Whoever asks for more than a site has must not stop everybody's mail to it."""

    def policies(job: Job, domain: str) -> TlsPolicy:
        return TlsPolicy.REQUIRE if job.submission.startswith("strict") else TlsPolicy.MAY

    world = World(policy=TlsPolicy.MAY, policies=policies)
    strict = [kinds(each) for each in world.deliver(*(mail(A, submission=f"strict{n}") for n in range(5)))]
    assert strict == [[DEFERRED]] * 5
    assert world.network.tried < 5
    assert kinds(world.deliver(mail(A))[0]) == [DELIVERED]
    assert world.shares(A)[A] >= 4
    tried = world.network.tried
    assert kinds(world.deliver(mail(A, submission="strict again"))[0]) == [DEFERRED]
    assert world.network.tried == tried
    world.scripts["a.example"] = {"ehlo": ["250-r\r\n250 STARTTLS", "250 r"]}
    world.advance(BARRED)
    assert kinds(world.deliver(mail(A, submission="strict and well"))[0]) == [DELIVERED]


def test_mail_that_may_go_in_clear_does_not_wait_for_mail_to_the_same_hosts_that_may_not() -> None:
    """Also where that is the exception: ``tls`` says require, and ``tls_domains`` may for one domain."""

    def policies(job: Job, domain: str) -> TlsPolicy:
        return TlsPolicy.MAY if domain == "b.example" else TlsPolicy.REQUIRE

    world = World(provider("a.example", "b.example"), policy=TlsPolicy.MAY, policies=policies)
    world.shares(A)
    for number in range(5):
        assert kinds(world.deliver(mail(A, submission=f"strict{number}"))[0]) == [DEFERRED]
    assert B in world.shares(B)
    assert kinds(world.deliver(mail(B))[0]) == [DELIVERED]


def test_tls_that_is_good_enough_for_nobody_pauses_the_site() -> None:
    world = World(policy=TlsPolicy.REQUIRE)
    world.shares(A)
    assert kinds(world.deliver(mail(A))[0]) == [DEFERRED]
    assert not world.shares(A)


# --- over days ---


def test_sites_that_nobody_uses_are_forgotten() -> None:
    world = World()
    for day in range(5):
        for number in range(100):
            lane = Lane(f"d{day}-{number}.example", 1)
            world.shares(lane)
            world.deliver(mail(lane))
            world.agent.exhausted([lane])
        world.advance(*[UNUSED / 4] * 5)
    assert len(list(world.agent.pools())) <= 200
    agent = world.agent
    for what in (agent._where, agent._wanting, agent._resting, agent._routing, agent._unrouted, agent._unpark):
        assert not what
    world.network.wires.clear()
    gc.collect()
    assert len(agent._limits) <= 200
    assert not any(group.turns.parked for group in agent._groups.values())


def test_a_site_that_is_paused_or_waited_for_is_not_forgotten() -> None:
    world = World(shape=SHAPE._replace(first_pause=3600.0))
    world.down = {"a.example"}
    world.deliver(mail(A))
    world.shares(B)
    world.advance(2 * UNUSED)
    for number in range(200):
        lane = Lane(f"d{number}.example", 1)
        world.shares(lane)
        world.agent.exhausted([lane])
    assert {"a.example", "b.example"} <= {pool.route.site for pool in world.agent.pools()}


def unused_for_long(world: World) -> None:
    """Time passes, and so many others are used that those which nobody uses are looked for."""
    world.advance(*[UNUSED / 4] * 5)
    for number in range(200):
        lane = Lane(f"d{number}.example", 1)
        world.shares(lane)
        world.agent.exhausted([lane])
    world.network.wires.clear()
    gc.collect()


def test_a_site_that_is_slowed_is_not_forgotten_before_that_is_over() -> None:
    world = World()
    world.deliver(mail(A))
    for throttle in world.throttles():
        throttle.slow(0.0, 2 * UNUSED, 10.0, "too fast")
    unused_for_long(world)
    assert world.shares(A) == {A: 1}
    world.agent.exhausted([A])
    unused_for_long(world)
    assert "a.example" not in world.agent._groups


def test_nor_is_one_of_which_only_one_of_our_addresses_is_paused() -> None:
    world = World(sources=(SourceAddress("192.0.2.1"), SourceAddress("192.0.2.2")))
    world.deliver(mail(A))
    (paused, _) = world.throttles()
    paused.pause(0.0, 4 * UNUSED, "this address is listed")
    unused_for_long(world)
    assert paused in world.throttles()


# --- the end ---


def test_nothing_is_planned_and_nothing_delivered_once_it_stops() -> None:
    world = World(known=False)
    world.router.slow = True
    world.plan(A)
    stopped: list[None] = []
    world.agent.stop().addCallback(stopped.append)
    assert stopped == [None]
    world.router.answer()
    assert world.plan(A, B) == Plan((), ())
    assert kinds(world.deliver(mail(A))[0]) == [OutcomeKind.NOT_TRIED]
    assert not world.network.tried


def test_when_a_site_goes_away_what_waits_for_it_ends_some_at_a_time() -> None:
    world = World()
    world.scripts["a.example"] = {"greeting": None}
    results = world.fill(A, 5 * AT_ONCE)
    for wire in world.network.wires:
        wire.lose(ConnectionLost())
    ended = [sum(map(len, results))]
    while ended[-1] < len(results):
        world.clock.advance(GAP)
        ended.append(sum(map(len, results)))
    # Two of its events, at most, tell us of that in one turn.
    assert [after - before for before, after in pairwise([0, *ended])] == [2 * AT_ONCE, *[AT_ONCE] * 3]
    assert {outcome.kind for [outcomes] in results for outcome in outcomes.values()} == {DEFERRED}


def test_nobody_makes_way_for_a_second_connection_of_a_site() -> None:
    world = World(places=2)
    world.deliver(mail(A))
    world.slow = {"b.example"}
    world.fill(B, 20)
    world.clock.advance(5.0)
    assert world.hosts() == ["a.example", "b.example"]
    world.start(mail(C))
    assert world.hosts() == ["a.example", "b.example", "c.example"]


def test_where_only_some_machines_of_a_host_have_tls_strict_mail_goes_over_those_that_do() -> None:
    made: list[bool] = []

    def receive(target: Target) -> FakeReceiver:
        made.append(len(made) % 2 == 1)
        return FakeReceiver(ehlo=[TLS_EHLO, EHLO] if made[-1] else EHLO)

    bench = DeliveryBench(
        receive,
        {"relay": False},
        router=FakeRouter({"example.net": way("example.net", "", "mx1")}),
        policy=TlsPolicy.MAY,
        policies=lambda job, domain: TlsPolicy.ENCRYPT,
        shape=SHAPE,
    )
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(40)))
    bench.run(30.0, step=0.01)
    delivered = {job.submission for job in bench.queue.settled for each in job.settlements if each.event is not None}
    assert len(delivered) == 40
    assert bench.queue.settle_calls < 100
    assert len(made) < 10


def test_who_waits_for_a_place_gets_one_of_a_site_with_very_much_to_do() -> None:
    world = World(places=2)
    world.slow = {"a.example"}
    busy = world.fill(A, 20 * TURN)
    (waiting,) = world.start(mail(B))
    while not waiting:
        world.say()
    assert kinds(waiting[0]) == [DELIVERED]
    assert sum(map(len, busy)) <= 3 * TURN
