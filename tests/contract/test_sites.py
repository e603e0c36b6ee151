"""What is known of sites, and operators' word that it is enough."""

from __future__ import annotations

from smtpeter.model.delivery import Lane
from smtpeter.model.route import SiteCondition, SiteState
from tests.contract.engines import START, Direct, Engine, due, enqueue

SLOW = SiteState("mx.example", "", SiteCondition.SLOWED, "it said 421: too fast", START - 20, START + 60.5)
DEAD = SiteState("mx.example", "192.0.2.1", SiteCondition.PAUSED, "no answer", START - 30, START + 600)
OTHER = SiteState("other.example", "", SiteCondition.PAUSED, "no answer – noch immer", START - 10, START + 600)


def write(engine: Engine, *states: SiteState) -> None:
    engine.wait(engine.store.sites.write(states))


def states(engine: Engine) -> list[SiteState]:
    return list(engine.wait(engine.store.sites.states()))


def resume(engine: Engine, site: str = "mx.example") -> int:
    return engine.wait(engine.store.sites.resume(site))


def generation(engine: Engine) -> int:
    return engine.wait(engine.store.queue.generation())


def test_all_are_told_longest_first(engine: Engine) -> None:
    assert states(engine) == []
    write(engine, SLOW, OTHER, DEAD)
    assert states(engine) == [DEAD, SLOW, OTHER]


def test_what_is_not_written_again_is_over(engine: Engine) -> None:
    write(engine, SLOW, DEAD)
    again = DEAD._replace(reason="refused", until=START + 1200)
    write(engine, again, OTHER)
    assert states(engine) == [again, OTHER]
    write(engine)
    assert states(engine) == []


def test_they_outlast_a_restart(engine: Engine) -> None:
    write(engine, SLOW)
    resume(engine)
    engine.reopen()
    assert states(engine) == [SLOW._replace(resumed=True)]


def test_an_operator_resumes_one_site_or_all(engine: Engine) -> None:
    write(engine, SLOW, DEAD, OTHER)
    assert resume(engine) == 2
    assert [state.resumed for state in states(engine)] == [True, True, False]
    assert resume(engine, "nobody.example") == 0
    assert resume(engine, "") == 3


def test_the_server_is_told_that_there_is_something_to_read(engine: Engine) -> None:
    write(engine, SLOW)
    before = generation(engine)
    resume(engine, "nobody.example")
    write(engine, SLOW)
    assert generation(engine) == before
    resume(engine)
    assert generation(engine) > before


def test_a_word_that_was_read_is_dealt_with_by_the_next_write(engine: Engine) -> None:
    write(engine, SLOW, OTHER)
    resume(engine)
    assert states(engine)[0].resumed
    write(engine, SLOW)  # trouble again
    assert states(engine) == [SLOW]


def test_a_word_that_was_not_read_yet_stays(engine: Engine) -> None:
    write(engine, SLOW, OTHER)
    states(engine)
    resume(engine)
    later = SLOW._replace(until=START + 999)
    write(engine, later)
    assert states(engine) == [later._replace(resumed=True)]
    write(engine)
    assert states(engine) == []


def test_it_stays_though_the_server_thinks_that_it_is_over(engine: Engine) -> None:
    write(engine, SLOW)
    resume(engine)
    write(engine)
    assert states(engine) == [SLOW._replace(resumed=True)]


def test_a_second_word_is_not_taken_for_the_first(engine: Engine) -> None:
    write(engine, SLOW)
    resume(engine)
    states(engine)
    resume(engine)
    write(engine, SLOW)
    assert states(engine) == [SLOW._replace(resumed=True)]


def test_what_an_operator_reads_is_not_read_by_the_server(engine: Engine) -> None:
    write(engine, SLOW)
    resume(engine)
    command = Direct(engine.directory)
    assert states(command) == [SLOW._replace(resumed=True)]
    command.wait(command.store.close())
    write(engine, SLOW)
    assert states(engine) == [SLOW._replace(resumed=True)]


def test_what_is_parked_for_a_site_may_be_so_no_more(engine: Engine) -> None:
    enqueue(engine, "a@example.net", "b@example.org", "c@example.com")
    net, org, com = (Lane(f"example.{top}", 0) for top in ("net", "org", "com"))
    engine.wait(engine.store.queue.park([net, com], SLOW.site, START + 3600))
    engine.wait(engine.store.queue.park([org], "elsewhere", START + 3600))
    sites = engine.store.sites
    assert sorted(engine.wait(sites.parked(""))) == [com, net, org]
    assert sorted(engine.wait(sites.parked(SLOW.site))) == [com, net]
    before = generation(engine)
    engine.wait(sites.unpark([net]))
    assert generation(engine) > before
    assert due(engine)[0] == [net]
    assert engine.wait(sites.parked(SLOW.site)) == [com]
