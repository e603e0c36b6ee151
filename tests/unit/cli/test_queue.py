import pytest

from smtpeter.cli import queue, steps
from smtpeter.cli.installation import result_of
from smtpeter.model.delivery import Lane, RecipientState, SettledJob, Settlement
from tests.unit.cli.conftest import START


def states(gateway):
    return {row["recipient"]: row["state"] for row in gateway.json("message", "list", "--limit", "10000")}


def test_list_leaves_out_what_is_final(gateway):
    gateway.enqueue("x@example.net", "y@example.net")
    gateway.json("queue", "cancel", "--recipient", "x@example.net", "--yes")
    assert [row["recipient"] for row in gateway.json("queue", "list")] == ["y@example.net"]
    assert gateway.json("queue", "list", "--state", "cancelled") == []
    assert gateway.json("queue", "list", "--state", "cancelled", "--state", "held") == []
    assert gateway.run("queue", "list", "--state", "held").stdout == "(none)\n"


def test_hold_release_cancel(gateway):
    gateway.enqueue("x@example.net", "y@example.org")
    assert gateway.json("queue", "hold", "--domain", "example.net", "--yes") == {"count": 1}
    assert states(gateway) == {"x@example.net": "held", "y@example.org": "due"}
    assert gateway.json("queue", "release", "--yes") == {"count": 1}
    assert states(gateway) == {"x@example.net": "due", "y@example.org": "due"}
    result = gateway.run("queue", "cancel", "--yes")
    assert (result.exit_code, result.stdout) == (0, "2 recipients cancelled\n")
    assert set(states(gateway).values()) == {"cancelled"}


def leave_attempted(gateway, domain):
    """Claims what is due in a domain and ends it as deferred."""
    with gateway.open() as store:
        for job in result_of(store.queue.claim_due([(Lane(domain, 0), 100)], START, START + 900)):
            settlements = tuple(
                Settlement(recipient.number, RecipientState.DUE, 1, START + 60, None) for recipient in job.recipients
            )
            result_of(store.queue.settle([SettledJob(job.submission, job.lease, settlements)]))


def test_deferred_is_what_is_due_and_was_attempted(gateway):
    gateway.enqueue("x@example.net", "y@example.org")
    gateway.enqueue("z@example.com", number=1)
    leave_attempted(gateway, "example.net")
    gateway.json("queue", "hold", "--recipient", "z@example.com", "--yes")

    def listed(*names):
        options = [option for name in names for option in ("--state", name)]
        return [row["recipient"] for row in gateway.json("queue", "list", *options)]

    assert listed("deferred") == ["x@example.net"]
    assert listed("due") == listed("due", "deferred") == ["x@example.net", "y@example.org"]
    assert listed("deferred", "held") == ["z@example.com", "x@example.net"]
    assert gateway.json("queue", "cancel", "--state", "deferred", "--yes") == {"count": 1}
    assert states(gateway) == {"x@example.net": "cancelled", "y@example.org": "due", "z@example.com": "held"}


@pytest.mark.parametrize("verb", ["hold", "cancel"])
def test_what_is_being_attempted_is_left_alone_and_told(gateway, verb):
    gateway.enqueue("x@example.net", "y@example.org")
    with gateway.open() as store:
        result_of(store.queue.claim_due([(Lane("example.net", 0), 100)], START, START + 900))
    result = gateway.run("queue", verb, "--yes")
    assert result.exit_code == 0
    assert result.stderr == "being attempted just now, and left alone: 1 recipient\n"
    assert states(gateway)["x@example.net"] == "leased"
    assert gateway.run("queue", verb, "--state", "due", "--yes").stderr == ""
    assert gateway.json("queue", verb, "--yes") == {"count": 0}


def test_a_running_server_gets_its_turn_between_the_steps(gateway, monkeypatch):
    monkeypatch.setattr(steps, "STEP", 10)
    pauses = []
    monkeypatch.setattr(steps.time, "sleep", pauses.append)
    gateway.enqueue(*(f"u{number}@example.net" for number in range(35)))
    assert gateway.json("queue", "hold", "--yes") == {"count": 35}
    assert len(pauses) == 3 and min(pauses) >= steps.PAUSE


def test_retry_makes_due_what_waits(gateway):
    id = gateway.enqueue("x@example.net", time=4_000_000_000.0)
    assert gateway.json("queue", "retry", "--yes") == {"count": 1}
    assert gateway.json("message", "show", id)["next_attempt"] < "2090"
    assert gateway.json("queue", "retry", "--yes") == {"count": 0}


def test_one_recipient_or_one_submission_by_its_id(gateway):
    first = gateway.enqueue("x@example.net", "y@example.net")
    gateway.enqueue("z@example.net", number=1)
    assert gateway.json("queue", "hold", f"{first}-2", "--yes") == {"count": 1}
    assert states(gateway) == {"x@example.net": "due", "y@example.net": "held", "z@example.net": "due"}
    assert gateway.json("queue", "cancel", first, "--yes") == {"count": 2}
    assert gateway.json("queue", "cancel", first, "--state", "held", "--yes") == {"count": 0}
    assert "is not the id of a message" in gateway.refused("queue", "hold", "everything", "--yes")
    assert f"there is no message {first}-3" in gateway.refused("queue", "cancel", f"{first}-3", "--yes")


@pytest.mark.parametrize("verb", ["retry", "hold", "release", "cancel"])
def test_nothing_to_do_is_success(gateway, verb):
    result = gateway.run("queue", verb)
    assert (result.exit_code, result.stdout) == (0, "nothing to do\n")
    assert gateway.json("queue", verb) == {"count": 0}


def test_elsewhere_than_at_a_terminal_yes_is_needed(gateway):
    gateway.enqueue("x@example.net", "y@example.net")
    refused = gateway.refused("queue", "cancel")
    assert "2 recipients" in refused
    assert "--yes" in refused
    assert set(states(gateway).values()) == {"due"}


@pytest.mark.parametrize(("answer", "code", "state"), [("y\n", 0, "cancelled"), ("n\n", 1, "due"), ("", 1, "due")])
def test_at_a_terminal_one_is_asked(gateway, monkeypatch, answer, code, state):
    gateway.enqueue("x@example.net")
    monkeypatch.setattr(queue, "_at_terminal", lambda: True)
    result = gateway.run("queue", "cancel", "--json", stdin=answer)
    assert result.exit_code == code
    assert "cancel 1 recipient?" in result.stderr
    assert states(gateway) == {"x@example.net": state}


def test_large_counts_go_in_steps_and_never_beyond_the_count(gateway, monkeypatch):
    monkeypatch.setattr(steps, "STEP", 10)
    gateway.enqueue(*(f"u{number}@example.net" for number in range(35)))
    assert gateway.json("queue", "hold", "--limit", "14", "--yes") == {"count": 14}
    assert list(states(gateway).values()).count("held") == 14
    assert gateway.json("queue", "hold", "--yes") == {"count": 21}
    assert gateway.json("queue", "retry", "--yes") == {"count": 0}


def park(gateway, *domains):
    with gateway.open() as store:
        result_of(store.queue.park([Lane(domain, 0) for domain in domains], "mx.example", 4_000_000_000.0))


def test_retry_of_what_waits_for_a_site_tells_all_that_goes(gateway, monkeypatch):
    """The first step already ends the waiting of a whole lane."""
    monkeypatch.setattr(steps, "STEP", 10)
    gateway.enqueue(*(f"u{number}@example.net" for number in range(35)), *(f"u{n}@example.org" for n in range(12)))
    park(gateway, "example.net", "example.org")
    assert gateway.run("queue", "retry", "--domain", "example.net", "--yes").stdout == "35 recipients due now\n"
    assert gateway.json("queue", "retry", "--yes") == {"count": 12}
    assert gateway.json("queue", "retry", "--yes") == {"count": 0}


def test_so_it_does_where_fewer_were_wanted(gateway):
    gateway.enqueue(*(f"u{number}@example.net" for number in range(12)), "x@example.org")
    park(gateway, "example.net", "example.org")
    assert gateway.json("queue", "retry", "--domain", "example.net", "--limit", "5", "--yes") == {"count": 12}
    assert gateway.json("queue", "retry", "--yes") == {"count": 1}


def test_pause_and_resume(gateway):
    def paused():
        with gateway.open() as store:
            return result_of(store.queue.paused())

    assert gateway.json("queue", "pause") == {"paused": True}
    assert paused()
    assert gateway.json("queue", "resume") == {"paused": False}
    assert not paused()
