"""Guesses are slowed down, and owners are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smtpeter.auth.attempts import AT_ONCE, FORGIVEN_EVERY, FREE, LONGEST_DELAY, MOST, Attempts

HERE, THERE = "192.0.2.1", "198.51.100.1"


def fail(attempts, times, network=HERE, name="alice", now=0.0):
    return [attempts.failed(network, name, now).delay for _ in range(times)]


def test_a_few_failures_cost_nothing_and_then_each_doubles_the_delay_up_to_a_bound():
    assert fail(Attempts(), FREE + 6) == [0.0] * FREE + [1.0, 2.0, 4.0, 8.0, LONGEST_DELAY, LONGEST_DELAY]


def test_an_address_is_slowed_down_whatever_names_it_tries():
    attempts = Attempts()
    for number in range(FREE):
        assert fail(attempts, 1, name=f"name{number}") == [0.0]
    assert fail(attempts, 1, name="another") == [1.0]
    assert fail(attempts, 1, network=THERE, name="another") == [0.0]


def test_a_name_is_guessed_at_slowly_from_however_many_addresses():
    attempts = Attempts()
    for number in range(FREE + 3):
        fail(attempts, 1, network=f"192.0.2.{number}")
    assert fail(attempts, 1, network="192.0.2.99") == [8.0]


def test_the_owner_elsewhere_is_not_kept_waiting_however_hard_somebody_guesses():
    attempts = Attempts()
    fail(attempts, 1000)
    assert attempts.begin(THERE, "alice", 0.0)
    assert attempts.succeeded(THERE, "alice", 0.0) == 0.0


def test_who_got_in_from_an_address_before_gets_in_at_once_beside_somebody_who_guesses_there():
    attempts = Attempts()
    attempts.succeeded(HERE, "alice", 0.0)
    fail(attempts, 1000)
    for _ in range(AT_ONCE + 5):
        assert attempts.begin(HERE, "alice", 0.0)
    assert attempts.succeeded(HERE, "alice", 0.0) == 0.0
    # For that name only: with a login of one's own one does not get to guess at others.
    assert attempts.succeeded(HERE, "bob", 0.0) == LONGEST_DELAY
    assert not attempts.begin(HERE, "carol", 0.0)


def test_a_success_does_not_clear_the_record_of_an_address():
    attempts = Attempts()
    fail(attempts, FREE)
    attempts.succeeded(HERE, "mallory", 0.0)
    assert fail(attempts, 1, name="victim") == [1.0]


def test_from_an_address_with_a_bad_record_a_right_guess_is_told_no_sooner_than_a_wrong_one():
    attempts = Attempts()
    failed = fail(attempts, FREE + 2)[-1]
    assert attempts.succeeded(HERE, "alice", 0.0) == failed


def test_only_a_few_logins_are_under_way_from_an_address_with_a_bad_record():
    attempts = Attempts()
    assert all(attempts.begin(HERE, "alice", 0.0) for _ in range(AT_ONCE + 10))
    fail(attempts, FREE + 1)
    assert not attempts.begin(HERE, "alice", 0.0)
    assert attempts.begin(THERE, "alice", 0.0)
    for _ in range(11):
        attempts.end(HERE)
    assert attempts.begin(HERE, "alice", 0.0) and not attempts.begin(HERE, "alice", 0.0)


def test_failures_are_forgiven_in_time():
    attempts = Attempts()
    fail(attempts, 1000)
    assert fail(attempts, 1, now=(MOST - FREE) * FORGIVEN_EVERY) == [1.0]
    assert fail(attempts, 1, now=2 * MOST * FORGIVEN_EVERY) == [0.0]


def test_the_operator_is_told_each_time_that_the_failures_doubled():
    attempts = Attempts()
    alarms = [attempts.failed(HERE, f"name{number}", 0.0).alarm for number in range(100)]
    assert [alarm for alarm in alarms if alarm] == [8, 16, 32, 64]
    attempts = Attempts()
    alarms = [attempts.failed(f"192.0.2.{number}", "alice", 0.0).alarm for number in range(40)]
    assert [alarm for alarm in alarms if alarm] == [8, 16, 32]


def test_attack_memory_is_bounded():
    attempts = Attempts(capacity=10)
    for number in range(100):
        assert attempts.begin(f"192.0.2.{number}", "x" * 9000, 0.0)
        attempts.failed(f"192.0.2.{number}", f"{number}" * 9000, 0.0)
        attempts.succeeded(f"192.0.2.{number}", f"{number}", 0.0)
        attempts.end(f"192.0.2.{number}")
    assert len(attempts._networks) == len(attempts._names) == len(attempts._successes) == 10
    assert attempts._under_way == {}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.booleans(), st.floats(0, 600)), max_size=60))
def test_known_and_unknown_are_no_words_here_and_a_delay_is_never_long(steps):
    attempts, now = Attempts(), 0.0
    for network, name, right, passed in steps:
        now += passed
        delay = attempts.succeeded(network, name, now) if right else attempts.failed(network, name, now).delay
        assert 0.0 <= delay <= LONGEST_DELAY


def test_wrong_tokens_from_one_address_do_not_slow_down_others():
    attempts = Attempts()
    fail(attempts, 20, name="")
    assert fail(attempts, FREE + 1, network=THERE, name="") == [0.0] * FREE + [1.0]
