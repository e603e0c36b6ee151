import os

import pytest

from smtpeter.cli import steps
from smtpeter.cli.installation import result_of
from smtpeter.clock import WallClock
from smtpeter.model.delivery import Lane
from smtpeter.model.event import format_time
from smtpeter.model.route import SiteCondition, SiteState
from smtpeter.store.opening import take_lock

NOW = float(int(WallClock().time()))
DEAD = SiteState("mx.example.net", "192.0.2.1", SiteCondition.PAUSED, "No connection", NOW - 60, NOW + 36_000)
SLOW = SiteState("big", "", SiteCondition.SLOWED, "it said 421", NOW - 30, NOW + 36_000)
OTHER = DEAD._replace(site="mx.example.org")
OVER = SiteState("old", "", SiteCondition.PAUSED, "it was dead", NOW - 600, NOW - 1)


def write(gateway, *states):
    with gateway.open() as store:
        result_of(store.sites.write(states))


def parked(gateway, *lanes):
    with gateway.open() as store:
        return [result_of(store.queue.parking(lane)) is not None for lane in lanes]


def test_what_is_out_of_the_ordinary_as_json(gateway):
    write(gateway, SLOW, DEAD, OVER)
    assert gateway.json("queue", "sites") == [
        {
            "site": "mx.example.net",
            "source": "192.0.2.1",
            "condition": "paused",
            "reason": "No connection",
            "since": format_time(NOW - 60),
            "until": format_time(NOW + 36_000),
        },
        {
            "site": "big",
            "source": "",
            "condition": "slowed",
            "reason": "it said 421",
            "since": format_time(NOW - 30),
            "until": format_time(NOW + 36_000),
        },
    ]


def test_a_table_for_people(gateway):
    write(gateway, DEAD, SLOW._replace(reason="\x1b[2J"))
    lines = gateway.run("queue", "sites").stdout.splitlines()
    assert lines[0].split() == ["SITE", "SOURCE", "CONDITION", "SINCE", "UNTIL", "REASON"]
    assert lines[1].split()[:3] == ["mx.example.net", "192.0.2.1", "paused"] and lines[1].endswith("No connection")
    assert lines[2].split()[:3] == ["big", "any", "slowed"] and lines[2].endswith(r"\x1b[2J")
    assert "--resume SITE" in lines[-1]


def test_nothing_is_out_of_the_ordinary(gateway):
    assert gateway.json("queue", "sites") == []
    result = gateway.run("queue", "sites")
    assert (result.exit_code, result.stdout) == (0, "no site is slowed or paused\n")
    assert gateway.json("queue", "sites", "--resume-all") == {"count": 0}
    assert gateway.run("queue", "sites", "--resume-all").stdout == "nothing to do\n"


def test_without_a_server_it_is_said_that_this_is_how_it_was(gateway):
    write(gateway, DEAD)
    assert "no server seems to be running" in gateway.run("queue", "sites").stderr
    lock = take_lock(gateway.data_dir / "smtpeter.db")
    try:
        assert gateway.run("queue", "sites").stderr == ""
    finally:
        os.close(lock)


def test_one_site_is_resumed_or_all(gateway):
    write(gateway, DEAD, DEAD._replace(source="192.0.2.2"), SLOW)
    assert gateway.json("queue", "sites", "--resume", "mx.example.net") == {"count": 1}
    assert [each["site"] for each in gateway.json("queue", "sites")] == ["big"]
    write(gateway, OTHER, SLOW)
    assert gateway.run("queue", "sites", "--resume-all").stdout == "2 sites resumed\n"
    with gateway.open() as store:
        assert all(state.resumed for state in result_of(store.sites.states()))


def test_what_waits_for_a_site_that_is_resumed_is_looked_at_again(gateway):
    lanes = [Lane(f"d{number}.example", 0) for number in range(5)]
    other = Lane("other.example", 0)
    gateway.enqueue(*(f"x@{lane.domain}" for lane in (*lanes, other)))
    with gateway.open() as store:
        result_of(store.queue.park(lanes, "mx.example.net", NOW + 36_000))
        result_of(store.queue.park([other], "big", NOW + 36_000))
    write(gateway, DEAD, SLOW)
    gateway.json("queue", "sites", "--resume", "mx.example.net")
    assert parked(gateway, *lanes, other) == [*[False] * 5, True]
    gateway.json("queue", "sites", "--resume-all")
    assert parked(gateway, other) == [False]


def test_very_much_that_waits_for_a_site_is_looked_at_again_in_steps(gateway, monkeypatch):
    monkeypatch.setattr(steps, "STEP", 10)
    pauses, left = [], []
    lanes = [Lane(f"d{number}.example", 0) for number in range(35)]

    def pause(seconds):
        pauses.append(seconds)
        left.append(parked(gateway, *lanes).count(True))

    monkeypatch.setattr(steps.time, "sleep", pause)
    gateway.enqueue(*(f"x@{lane.domain}" for lane in lanes))
    with gateway.open() as store:
        result_of(store.queue.park(lanes, "mx.example.net", NOW + 36_000))
    write(gateway, DEAD)
    gateway.json("queue", "sites", "--resume", "mx.example.net")
    assert (left, parked(gateway, *lanes).count(True)) == ([25, 15, 5], 0)
    assert min(pauses) >= steps.PAUSE


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mx.exmaple.net", "did you mean mx.example.net?"),
        ("example.net", "did you mean mx.example.net?"),
        ("nobody.invalid", "not of its domains"),
        ("old", "nothing is slowed or paused at old"),
    ],
)
def test_a_site_of_which_nothing_is_known(gateway, name, said):
    write(gateway, DEAD, OVER)
    assert said in gateway.refused("queue", "sites", "--resume", name)


def test_nothing_anywhere(gateway):
    assert "nor anywhere else" in gateway.refused("queue", "sites", "--resume", "mx.example.net")


def test_wrong_usage(gateway):
    gateway.refused("queue", "sites", "--resume", "a", "--resume-all", code=2)
    gateway.refused("queue", "sites", "--resume", "", code=2)
